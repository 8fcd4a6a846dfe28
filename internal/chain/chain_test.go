package chain_test

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"contactmirror/internal/chain"
)

// values are JSON values, nil for NULL.
type values [3][]byte

func commitTo(salt []byte, v values) (chain.Commitment, error) {
	var e chain.Encoder
	for _, doc := range v {
		if err := e.JSON(doc); err != nil {
			return chain.Commitment{}, err
		}
	}
	return chain.NewLinker(nil).Commit(salt, e.Bytes()), nil
}

func commit(t testing.TB, v values) chain.Commitment {
	t.Helper()
	c, err := commitTo(make([]byte, chain.SaltSize), v)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func fields(doc string) values { return values{[]byte(doc)} }

// What jsonb does to a document changes nothing, and nor does any other way to
// write the same.
func TestOneMeaningOneCommitment(t *testing.T) {
	t.Parallel()
	for _, same := range [][]string{
		{`{}`, ` { } `},
		{`{"name":"a","b":1}`, `{"b": 1, "name": "a"}`},
		{`{"n":100}`, `{"n":1e2}`, `{"n":100.0}`, `{"n":1.00E+2}`, `{"n":1000e-1}`, `{"n":0.001e5}`},
		{`{"n":0}`, `{"n":-0}`, `{"n":0.000}`, `{"n":0e7}`, `{"n":-0.0e-3}`},
		{`{"n":-0.05}`, `{"n":-5e-2}`, `{"n":-0.0500}`},
		{`{"n":9223372036854775807}`, `{"n":9223372036854775807.0}`},
		{`{"s":"\u00e5<\/"}`, `{"s":"å</"}`, `{"\u0073":"å\u003c/"}`},
		{`{"a":["x",{"c":null,"b":[true]}]}`, `{ "a" : [ "x" , {"b":[true],"c":null} ] }`},
	} {
		for _, doc := range same[1:] {
			if commit(t, fields(doc)) != commit(t, fields(same[0])) {
				t.Errorf("%s and %s have different commitments", same[0], doc)
			}
		}
	}
}

func TestOtherMeaningOtherCommitment(t *testing.T) {
	t.Parallel()
	seen := map[chain.Commitment]values{}
	for _, v := range []values{
		{},
		fields(`null`), fields(`{}`), fields(`[]`), fields(`""`), fields(`[{}]`), fields(`[[]]`),
		{1: []byte(`{}`)},
		{2: []byte(`{}`)},
		{0: []byte(`{}`), 1: []byte(`{}`)},
		fields(`{"a":1}`), fields(`{"a":"1"}`), fields(`{"a":true}`), fields(`{"a":"true"}`), fields(`{"a":false}`), fields(`{"a":null}`),
		fields(`{"a":-1}`), fields(`{"a":10}`), fields(`{"a":0.1}`), fields(`{"a":0}`), fields(`{"a":1.1}`), fields(`{"a":11}`), fields(`{"a":1e-20}`),
		fields(`{"A":1}`), fields(`{"a":{"a":1}}`), fields(`{"a":[1]}`), fields(`{"a":[1,1]}`), fields(`{"a":[[1],1]}`), fields(`{"a":[11]}`),
		fields(`{"a":"","b":""}`), fields(`{"a":"b"}`), fields(`{"ab":""}`), fields(`{"a":{"b":1},"c":2}`), fields(`{"a":{"b":1,"c":2}}`),
	} {
		c := commit(t, v)
		if other, ok := seen[c]; ok {
			t.Errorf("%q and %q have one commitment", v, other)
		}
		seen[c] = v
	}
	salted, err := commitTo([]byte("0123456789abcdef"), fields(`{}`))
	if _, ok := seen[salted]; ok || err != nil {
		t.Errorf("the salt makes no difference, %v", err)
	}
}

func TestNoJSON(t *testing.T) {
	t.Parallel()
	for _, doc := range []string{``, `{`, `{"a"}`, `{"a":1,}`, `{} {}`, `{"a":1,"a":1}`, `{"a":{"b":1,"b":2}}`, `{"a":01}`, `{"a":"\ud800"}`} {
		if _, err := commitTo(nil, fields(doc)); err == nil {
			t.Errorf("%q: no error", doc)
		}
	}
	// An error leaves nothing behind.
	var used, fresh chain.Encoder
	_ = used.JSON([]byte(`{"z":{"y":1,`))
	used.Reset()
	err := errors.Join(used.JSON([]byte(`{"b":1,"a":2}`)), fresh.JSON([]byte(`{"a":2,"b":1}`)))
	if err != nil || !bytes.Equal(used.Bytes(), fresh.Bytes()) {
		t.Errorf("after an error: %x, want %x, %v", used.Bytes(), fresh.Bytes(), err)
	}
}

// Numbers in any spelling, against arithmetic on their digits.
func TestNumbers(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		digits := rapid.StringMatching(`[1-9][0-9]{0,20}`).Draw(t, "digits")
		shift := rapid.IntRange(0, 25).Draw(t, "shift")
		sign := rapid.SampledFrom([]string{"", "-"}).Draw(t, "sign")
		plain := sign + digits + strings.Repeat("0", shift)
		scaled := fmt.Sprintf("%s%se%d", sign, digits, shift)
		point := rapid.IntRange(1, len(digits)).Draw(t, "point")
		pointed := fmt.Sprintf("%s%s.%s0E+%d", sign, digits[:point], digits[point:], shift+len(digits)-point)
		a, errA := commitTo(nil, fields(plain))
		b, errB := commitTo(nil, fields(scaled))
		c, errC := commitTo(nil, fields(pointed))
		if a != b || b != c || errA != nil || errB != nil || errC != nil {
			t.Fatalf("%s, %s and %s differ: %v %v %v", plain, scaled, pointed, errA, errB, errC)
		}
	})
}

func testKey(t testing.TB, secret string) *chain.Key {
	t.Helper()
	key, err := chain.NewKey([]byte(secret))
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// Links name their key. Heads are signed with all keys, and one in common is enough.
func TestLinker_keys(t *testing.T) {
	t.Parallel()
	if _, err := chain.NewKey([]byte("0123456789abcde")); err == nil {
		t.Error("15 bytes are a key")
	}
	one, two := testKey(t, "0123456789abcdef"), testKey(t, "fedcba9876543210")
	if one.ID() == two.ID() || one.ID() == (chain.KeyID{}) {
		t.Fatal(one.ID(), two.ID())
	}
	plain, first, both, second := chain.NewLinker(nil), chain.NewLinker(chain.Keys{one}), chain.NewLinker(chain.Keys{two, one}), chain.NewLinker(chain.Keys{two})
	const shard = 3
	row := []byte("the fields of a row")
	open := plain.Next(chain.Head{}, row)
	if open != first.NextUnkeyed(chain.Head{}, row) || open.Link.Key() != (chain.KeyID{}) {
		t.Errorf("without a key: %v", open)
	}
	keyed := first.Next(open, row)
	if keyed.Link.Key() != one.ID() || keyed.Count != 2 || keyed == both.Next(open, row) || both.Next(open, row) != second.Next(open, row) {
		t.Errorf("with the key: %v", keyed)
	}
	for l, want := range map[*chain.Linker][2]bool{plain: {false, false}, first: {true, true}, both: {true, true}, second: {false, false}} {
		if follows, known := l.Follows(open, row, keyed.Link); follows != want[0] || known != want[1] {
			t.Errorf("it follows: %t, known: %t, want %v", follows, known, want)
		}
		if l.Signed(shard, keyed, first.Sign(shard, keyed)) != want[0] || !l.Signed(shard, keyed, both.Sign(shard, keyed)) && l != plain {
			t.Error("a head signed by a key in common is not signed, or one without is")
		}
	}
	signatures := first.Sign(shard, keyed)
	for name, signed := range map[string]bool{
		"of another shard":  first.Signed(shard+1, keyed, signatures),
		"of another count":  first.Signed(shard, chain.Head{Count: 3, Link: keyed.Link}, signatures),
		"of another link":   first.Signed(shard, chain.Head{Count: 2, Link: open.Link}, signatures),
		"by nobody":         first.Signed(shard, keyed, nil),
		"by a plain hash":   first.Signed(shard, keyed, make([]byte, chain.LinkSize)),
		"by the row's link": first.Signed(shard, keyed, keyed.Link[:]),
		"cut":               first.Signed(shard, keyed, signatures[:35]),
	} {
		if signed {
			t.Errorf("a signature %s is one", name)
		}
	}
	if ids := chain.Signers(both.Sign(shard, keyed)); !slices.Equal(ids, []chain.KeyID{two.ID(), one.ID()}) || plain.Sign(shard, keyed) != nil {
		t.Errorf("signers: %v", ids)
	}
	if link, ok := chain.ParseLink(signatures); !ok || link.Key() != one.ID() {
		t.Errorf("read back %v, %v", link, ok)
	}
	if _, ok := chain.ParseLink(signatures[:32]); ok {
		t.Error("32 bytes are a link")
	}
}

// Whatever an adoption says is covered by its link.
func TestLinker_adoption(t *testing.T) {
	t.Parallel()
	key := testKey(t, "0123456789abcdef")
	l, other := chain.NewLinker(chain.Keys{key}), chain.NewLinker(chain.Keys{testKey(t, "fedcba9876543210")})
	digest := chain.NewDigest()
	digest.Add([]byte("a row"))
	a := chain.Adoption{Shard: 1, Ordinal: 2, Through: 3, Rows: 4, Digest: digest.Sum(), Head: chain.Head{Count: 5}, At: time.UnixMicro(6), Actor: "me@here", Reason: "why"}
	link := l.Adopt(&a)
	if made, known := l.Adopted(&a, link); !made || !known {
		t.Errorf("made: %t, known: %t", made, known)
	}
	if made, known := other.Adopted(&a, link); made || known {
		t.Errorf("by another key: made: %t, known: %t", made, known)
	}
	if made, known := l.Adopted(&a, chain.Link{}); made || !known {
		t.Errorf("without a key: made: %t, known: %t", made, known)
	}
	for name, change := range map[string]func(*chain.Adoption){
		"shard": func(a *chain.Adoption) { a.Shard++ }, "ordinal": func(a *chain.Adoption) { a.Ordinal++ },
		"through": func(a *chain.Adoption) { a.Through++ }, "rows": func(a *chain.Adoption) { a.Rows++ },
		"digest": func(a *chain.Adoption) { a.Digest[31]++ }, "count": func(a *chain.Adoption) { a.Head.Count++ },
		"link": func(a *chain.Adoption) { a.Head.Link[35]++ }, "at": func(a *chain.Adoption) { a.At = a.At.Add(time.Microsecond) },
		"actor": func(a *chain.Adoption) { a.Actor = "me@herew"; a.Reason = "hy" }, "reason": func(a *chain.Adoption) { a.Reason = "" },
	} {
		changed := a
		change(&changed)
		if made, _ := l.Adopted(&changed, link); made {
			t.Errorf("%s is not covered", name)
		}
	}
	before := digest.Sum()
	if digest.Add(nil); digest.Sum() == before {
		t.Error("an empty row is not in the digest")
	}
}

func TestParseKeys(t *testing.T) {
	t.Parallel()
	const one, two = "0123456789abcdef", "fedcba9876543210"
	for text, want := range map[string]int{one: 1, one + "\r\n" + two: 2, "\n" + one + "\n\n" + two + "\n": 2} {
		if keys, err := chain.ParseKeys(text); err != nil || len(keys) != want || keys[0].ID() != testKey(t, one).ID() {
			t.Errorf("%q: %v, %v", text, keys, err)
		}
	}
	var many strings.Builder
	for i := range 17 {
		fmt.Fprintf(&many, "a key of the log, number %d\n", i)
	}
	for text, want := range map[string]string{
		"short": "is too short: 5 bytes", one + "\nshort": "key 2 is too short", "\n": "holds no key", one + "\n" + one: "key 2 has the id of key 1", many.String(): "more than 16",
	} {
		if _, err := chain.ParseKeys(text); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), one) {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
}

func BenchmarkLinker_head(b *testing.B) {
	l := chain.NewLinker(chain.Keys{testKey(b, "0123456789abcdef")})
	head := l.Next(chain.Head{}, []byte("the fields of a row"))
	signatures := l.Sign(3, head)
	for b.Loop() { // what a batch adds for each shard
		if !l.Signed(3, head, signatures) {
			b.Fatal("not signed")
		}
		signatures = l.Sign(3, head)
	}
}
