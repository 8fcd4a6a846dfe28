package signature_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"contactmirror/internal/signature"
)

var now = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

// Vectors made by the documented algorithm with another implementation of it.
var vectors = []struct{ name, secret, body, signature string }{
	{
		"contact.changed", "Something Super Secret",
		`{"EventId":"8337ae4a-1dd6-40fd-8dc7-a050664a0af7","Event":"contact.changed","PrimaryKey":994863,"Entity":"contact"}`,
		"pAkpJfsK3FC5gK5e1Bi5upwGQOspNnOq9QXESOFIFag=",
	},
	{
		"UTF-8", "hemmelighet-æøå",
		`{"WebhookName":"Bjørge æøå"}`,
		"YLxKUHoaI4+xFCnHq9eloZXohmAJh5Ei+DkijDamJoA=",
	},
}

func TestSign(t *testing.T) {
	t.Parallel()
	for _, v := range vectors {
		if got := signature.Sign(v.secret, []byte(v.body)); got != v.signature {
			t.Errorf("%s: got %s, want %s", v.name, got, v.signature)
		}
	}
}

func TestSamples(t *testing.T) {
	t.Parallel()
	dir := filepath.Join("..", "..", "testdata", "deliveries")
	table, err := os.ReadFile(filepath.Join(dir, "signatures.tsv"))
	if err != nil {
		t.Fatal(err)
	}
	rows := strings.Split(strings.TrimSpace(string(table)), "\n")[1:]
	if len(rows) < 8 {
		t.Fatalf("signatures.tsv has %d rows, want 8 or more", len(rows))
	}
	for _, row := range rows {
		cells := strings.Split(row, "\t")
		file, secret, want := cells[0], cells[2], cells[3]
		body, err := os.ReadFile(filepath.Join(dir, file))
		if err != nil {
			t.Fatal(err)
		}
		if got := signature.Sign(secret, body); got != want {
			t.Errorf("%s: got %s, want %s", file, got, want)
		}
		k := signature.NewKeyring([]signature.Secret{{Key: "another"}, {Key: secret}}, nil)
		if err := k.Verify("Cust1", true, want, body, now); err != nil {
			t.Errorf("%s: %v", file, err)
		}
		if err := k.Verify("Cust1", true, want, append(body, '\n'), now); !errors.Is(err, signature.ErrMismatch) {
			t.Errorf("%s with a newline more: got %v, want ErrMismatch", file, err)
		}
	}
}

func TestVerify(t *testing.T) {
	t.Parallel()
	ring := signature.NewKeyring(
		[]signature.Secret{{Key: "shared"}},
		map[string][]signature.Secret{
			"Own":  {{Key: "own-old", NotAfter: now.Add(-time.Second)}, {Key: "own"}, {Key: "own-next", NotBefore: now.Add(time.Second)}},
			"Over": {{Key: "over", NotAfter: now.Add(-time.Hour)}},
			"Edge": {{Key: "edge", NotBefore: now, NotAfter: now}},
			"None": {},
			"Open": {{Key: ""}},
			"":     {{Key: "onsite"}},
			"*":    {{Key: "star"}},
		})
	const anyone = "\x00" // stands for a body whose tenant can't be read
	tests := []struct {
		tenant, key string
		want        error
	}{
		{"Other", "shared", nil},
		{"Other", "star", nil},
		{"Other", "own", signature.ErrMismatch},
		{"Other", "over", signature.ErrMismatch},
		{"Own", "own", nil},
		{"Own", "own-old", signature.ErrMismatch},
		{"Own", "own-next", signature.ErrMismatch},
		{"Own", "shared", signature.ErrMismatch},
		{"Own", "star", signature.ErrMismatch},
		{"own", "own", signature.ErrMismatch}, // another tenant: names match exactly
		{"Over", "over", signature.ErrNoSecret},
		{"Over", "shared", signature.ErrNoSecret},
		{"Edge", "edge", nil},
		{"None", "shared", signature.ErrNoSecret},
		{"Open", "", signature.ErrNoSecret},
		{"", "onsite", nil},
		{"", "shared", signature.ErrMismatch},
		{"*", "star", nil},
		{"*", "shared", nil},
		{anyone, "shared", nil},
		{anyone, "star", nil},
		{anyone, "own", nil},
		{anyone, "onsite", nil},
		{anyone, "own-old", signature.ErrMismatch},
		{anyone, "over", signature.ErrMismatch},
		{anyone, "", signature.ErrMismatch},
	}
	body := []byte(`{"ContextIdentifier":"whoever"}`)
	for _, test := range tests {
		tenant := strings.TrimPrefix(test.tenant, anyone)
		got := ring.Verify(tenant, test.tenant != anyone, signature.Sign(test.key, body), body, now)
		if !errors.Is(got, test.want) {
			t.Errorf("tenant %q, signed with %q: got %v, want %v", test.tenant, test.key, got, test.want)
		}
	}
}

// Each tenant's secret is tried for each tenant: it serves its own and no other.
func TestTenantsApart(t *testing.T) {
	t.Parallel()
	tenants := make(map[string][]signature.Secret)
	for i := range 10 {
		tenant := fmt.Sprintf("Cust%d", i)
		tenants[tenant] = []signature.Secret{{Key: "first of " + tenant}, {Key: "second of " + tenant}}
	}
	ring := signature.NewKeyring([]signature.Secret{{Key: "shared"}}, tenants)
	body := []byte(`{"Event":"contact.changed"}`)
	for owner, secrets := range tenants {
		for _, s := range secrets {
			header := signature.Sign(s.Key, body)
			for tenant := range tenants {
				if err := ring.Verify(tenant, true, header, body, now); (err == nil) != (tenant == owner) {
					t.Errorf("%s, signed by %s: %v", tenant, owner, err)
				}
			}
			if ring.Verify("Cust99", true, header, body, now) == nil {
				t.Errorf("a secret of %s vouches for a tenant without secrets", owner)
			}
		}
	}
}

func TestMalformedHeader(t *testing.T) {
	t.Parallel()
	ring := signature.NewKeyring([]signature.Secret{{Key: "s"}}, nil)
	body := []byte("{}")
	good := signature.Sign("s", body)
	raw, err := base64.StdEncoding.DecodeString(good)
	if err != nil {
		t.Fatal(err)
	}
	loose := []byte(good)
	loose[42]++ // the same bytes to a lenient decoder
	for _, header := range []string{
		"", "=", "sha256=" + good, good + good, good[:43], good + "\n", string(loose),
		base64.URLEncoding.EncodeToString(raw)[:43] + "_", base64.RawStdEncoding.EncodeToString(raw),
		fmt.Sprintf("%x", raw), strings.Repeat("A", 44), strings.Repeat("=", 44), "\r\n" + good[:42],
	} {
		if err := ring.Verify("", true, header, body, now); !errors.Is(err, signature.ErrMalformed) {
			t.Errorf("%q: got %v, want ErrMalformed", header, err)
		}
	}
}

func TestEmptyKeyring(t *testing.T) {
	t.Parallel()
	var none *signature.Keyring
	for _, ring := range []*signature.Keyring{none, signature.NewKeyring(nil, nil)} {
		if !ring.Empty() {
			t.Error("a keyring without secrets is not empty")
		}
		for _, known := range []bool{true, false} {
			if err := ring.Verify("", known, signature.Sign("", nil), nil, now); !errors.Is(err, signature.ErrNoSecret) {
				t.Errorf("got %v, want ErrNoSecret", err)
			}
		}
	}
	if signature.NewKeyring(nil, map[string][]signature.Secret{"A": {{Key: "a"}}}).Empty() {
		t.Error("a keyring with a tenant's secret is empty")
	}
}

func TestKeyringIsItsOwnCopy(t *testing.T) {
	t.Parallel()
	shared := []signature.Secret{{Key: "shared"}}
	tenants := map[string][]signature.Secret{"A": {{Key: "a"}}}
	ring := signature.NewKeyring(shared, tenants)
	shared[0].Key, tenants["A"][0].Key, tenants["B"] = "x", "x", nil
	body := []byte("{}")
	for tenant, key := range map[string]string{"A": "a", "B": "shared"} {
		if err := ring.Verify(tenant, true, signature.Sign(key, body), body, now); err != nil {
			t.Errorf("%s: %v", tenant, err)
		}
	}
}

func TestSecretIsMasked(t *testing.T) {
	t.Parallel()
	s := signature.Secret{Key: "hemmelig", NotAfter: now}
	asJSON, err := json.Marshal(map[string][]signature.Secret{"A": {s}})
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{
		fmt.Sprint(s), fmt.Sprintf("%v %+v %#v %s", s, s, s, s), fmt.Sprintf("%+v", []signature.Secret{s}),
		fmt.Sprintf("%#v", &s), string(asJSON),
	} {
		if strings.Contains(text, s.Key) {
			t.Errorf("%s shows the secret", text)
		}
	}
}

func BenchmarkVerify(b *testing.B) {
	body := []byte(vectors[0].body)
	header := signature.Sign(vectors[0].secret, body)
	for _, n := range []int{1, 2, 100} {
		b.Run(fmt.Sprintf("secrets=%d", n), func(b *testing.B) {
			secrets := make([]signature.Secret, n)
			for i := range secrets {
				secrets[i].Key = fmt.Sprintf("secret %d", i)
			}
			secrets[0].Key = vectors[0].secret
			ring := signature.NewKeyring(secrets, nil)
			b.ReportAllocs()
			for b.Loop() {
				if err := ring.Verify("", true, header, body, now); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
