package receive_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"contactmirror/internal/inbox"
	"contactmirror/internal/receive"
	"contactmirror/internal/signature"
)

// The contract's table, line by line, for deliveries that are answered 200.
func TestKept(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		key    string
		body   []byte
		result inbox.Result
		tenant string
		vouch  string // who does for a body whose tenant can't be read
	}{
		{"changed", secret, sample(t, "2018-changed.json"), inbox.Accepted, "Cust1234", ""},
		{"created", secret, sample(t, "2018-created.json"), inbox.Accepted, "Cust1234", ""},
		{"deleted", secret, sample(t, "2018-deleted.json"), inbox.Accepted, "Cust1234", ""},
		{"with values", secret, sample(t, "v11-changed.json"), inbox.Accepted, "", ""},
		{"a tenant's own secret", ownSecret, changed("Own"), inbox.Accepted, "Own", ""},
		{"onsite", secret, bytes.Replace(changed("x"), []byte(`"ContextIdentifier":"x",`), nil, 1), inbox.Accepted, "", ""},
		{"test event", secret, sample(t, "test-event.json"), inbox.Ignored, "", ""},
		{"another event", secret, []byte(`{"Event":"sale.created","ContextIdentifier":"A"}`), inbox.Ignored, "A", ""},
		{"another event, malformed", otherSecret, []byte(`{"Event":"sale.created","ContextIdentifier":null,"PrimaryKey":{}}`), "", "", ""},
		{"malformed as published", secret, sample(t, "2018-created-as-published.json"), inbox.Quarantined, "", "* but Other, Over, Own"},
		{"not JSON", otherSecret, []byte("Event=contact.changed"), inbox.Quarantined, "", "Other"},
		{"not JSON, of a tenant without its own secret", secret, []byte("Event=contact.changed"), inbox.Quarantined, "", "* but Other, Over, Own"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			k := &kept{}
			address, r := serve(t, config(k))
			got := do(t, address, "POST", "/webhook", signed(test.key, test.body), test.body)
			if test.result == "" { // signed by a tenant that the body does not name
				checkProblem(t, got, http.StatusUnauthorized)
				return
			}
			want := reply{200, got.header, `{"result":"` + string(test.result) + `"}`}
			if diff := cmp.Diff(want, got, cmp.AllowUnexported(reply{})); diff != "" {
				t.Fatalf("answer (-want +got):\n%s", diff)
			}
			if mime := got.header.Get("Content-Type"); mime != "application/json" {
				t.Errorf("Content-Type is %q", mime)
			}
			all := k.all()
			if len(all) != 1 {
				t.Fatalf("%d deliveries are kept, want 1", len(all))
			}
			d := all[0]
			if !bytes.Equal(d.Body, test.body) {
				t.Errorf("kept %q, want %q", d.Body, test.body)
			}
			if test.tenant != "" && d.Event.Tenant != test.tenant {
				t.Errorf("tenant is %q, want %q", d.Event.Tenant, test.tenant)
			}
			vouch := strings.Join(d.Vouchers.Tenants, ", ")
			if d.Vouchers.Except != nil {
				vouch += " but " + strings.Join(d.Vouchers.Except, ", ")
			}
			if vouch != test.vouch {
				t.Errorf("vouched for by %q, want %q", vouch, test.vouch)
			}
			if want := now.Truncate(time.Microsecond); !d.ReceivedAt.Equal(want) {
				t.Errorf("received at %v, want %v", d.ReceivedAt, want)
			}
			if n := r.Counts()[receive.Outcome(test.result)]; n != 1 {
				t.Errorf("counted %d times, want once: %v", n, r.Counts())
			}
		})
	}
}

// What the inbox says is the answer, whatever the word.
func TestAnswerIsTheResult(t *testing.T) {
	t.Parallel()
	for _, result := range []inbox.Result{inbox.Duplicate, "spooled"} {
		c := config(&kept{})
		c.Put = func(context.Context, inbox.Delivery) (inbox.Result, error) { return result, nil }
		address, r := serve(t, c)
		body := changed("Cust1")
		got := do(t, address, "POST", "/webhook", signed(secret, body), body)
		if want := `{"result":"` + string(result) + `"}`; got.status != 200 || got.body != want {
			t.Errorf("got %d %s, want 200 %s", got.status, got.body, want)
		}
		if r.Counts()[receive.Outcome(result)] != 1 {
			t.Errorf("%s is not counted: %v", result, r.Counts())
		}
	}
}

// The contract's table for what is refused: nothing of it is kept.
func TestRefused(t *testing.T) {
	t.Parallel()
	body := changed("Cust1")
	large := append(body[:len(body):len(body)], bytes.Repeat([]byte(" "), maxBody)...)
	withHeader := func(value string) http.Header {
		h := http.Header{}
		h.Set(signature.Header, value)
		return h
	}
	tests := []struct {
		name    string
		header  http.Header
		body    []byte
		status  int
		outcome receive.Outcome
	}{
		{"no signature", http.Header{}, body, 401, receive.MissingSignature},
		{"empty signature", withHeader(""), body, 401, receive.MissingSignature},
		{"wrong secret", signed("guessed", body), body, 401, receive.WrongSignature},
		{"wrong body", signed(secret, body), append(body, ' '), 401, receive.WrongSignature},
		{"no base64", withHeader("sha256=0123"), body, 401, receive.MalformedSignature},
		{"another tenant's secret", signed(otherSecret, changed("Own")), changed("Own"), 401, receive.WrongSignature},
		{"shared secret, own tenant", signed(secret, changed("Own")), changed("Own"), 401, receive.WrongSignature},
		{"own secret, shared tenant", signed(ownSecret, body), body, 401, receive.WrongSignature},
		{"expired", signed("expired", changed("Over")), changed("Over"), 401, receive.WrongSignature},
		{"expired, shared secret", signed(secret, changed("Over")), changed("Over"), 401, receive.WrongSignature},
		{"expired, tenant unread", signed("expired", []byte("{")), []byte("{"), 401, receive.WrongSignature},
		{"onsite with a tenant's secret", signed(ownSecret, []byte("{}")), []byte("{}"), 401, receive.WrongSignature},
		{"too large", signed(secret, large), large, 413, receive.TooLarge},
		{"empty body", withHeader(signature.Sign("", nil)), nil, 401, receive.WrongSignature},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			k, log := &kept{}, &lines{}
			c := config(k)
			c.Log = log.logger(slog.LevelDebug)
			address, r := serve(t, c)
			got := do(t, address, "POST", "/webhook", test.header, test.body)
			checkProblem(t, got, test.status)
			if (got.header.Get("WWW-Authenticate") == "") == (test.status == 401) {
				t.Errorf("WWW-Authenticate is %q", got.header.Get("WWW-Authenticate"))
			}
			if n := len(k.all()); n != 0 {
				t.Errorf("%d deliveries are kept", n)
			}
			if r.Counts()[test.outcome] != 1 {
				t.Errorf("%s is not counted: %v", test.outcome, r.Counts())
			}
			if text := strings.Join(log.all(), "\n"); !strings.Contains(text, string(test.outcome)) ||
				strings.Contains(text, secret) || strings.Contains(text, ownSecret) {
				t.Errorf("log is %s", text)
			}
		})
	}
}

// The largest body that fits is taken, declared or chunked.
func TestLargestBody(t *testing.T) {
	t.Parallel()
	for _, size := range []int{16<<10 - 1, 16 << 10, 16<<10 + 1, maxBody - 1, maxBody} {
		k := &kept{}
		address, _ := serve(t, config(k))
		body := changed("Cust1")
		body = append(body, bytes.Repeat([]byte(" "), size-len(body))...)
		got := do(t, address, "POST", "/webhook", signed(secret, body), body)
		if got.status != 200 || !bytes.Equal(k.all()[0].Body, body) {
			t.Errorf("%d bytes: got %d %s", size, got.status, got.body)
		}
	}
}

func TestNotKept(t *testing.T) {
	t.Parallel()
	log := &lines{}
	c := config(&kept{})
	c.Log = log.logger(slog.LevelInfo)
	c.Put = func(context.Context, inbox.Delivery) (inbox.Result, error) { return "", errAway }
	address, r := serve(t, c)
	body := changed("Cust1")
	got := do(t, address, "POST", "/webhook", signed(secret, body), body)
	checkProblem(t, got, http.StatusServiceUnavailable)
	if strings.Contains(got.body, errAway.Error()) {
		t.Errorf("the answer tells what is wrong in here: %s", got.body)
	}
	if all := log.all(); len(all) != 1 || !strings.Contains(all[0], errAway.Error()) {
		t.Errorf("log is %q", all)
	}
	if r.Counts()[receive.Unavailable] != 1 {
		t.Errorf("not counted: %v", r.Counts())
	}
}

// A poisoned delivery costs an answer, not the process.
func TestPanic(t *testing.T) {
	t.Parallel()
	log := &lines{}
	c := config(&kept{})
	c.Log = log.logger(slog.LevelInfo)
	c.Put = func(context.Context, inbox.Delivery) (inbox.Result, error) { panic("poisoned") }
	address, r := serve(t, c)
	body := changed("Cust1")
	for range 2 {
		got := do(t, address, "POST", "/webhook", signed(secret, body), body)
		checkProblem(t, got, http.StatusServiceUnavailable)
	}
	if all := log.all(); len(all) != 1 || !strings.Contains(all[0], "poisoned") || !strings.Contains(all[0], "webhook_test.go") {
		t.Errorf("log is %q", all)
	}
	if r.Counts()[receive.Panicked] != 2 {
		t.Errorf("not counted: %v", r.Counts())
	}
}

// Whatever a signed body holds, it is kept byte for byte and answered 200.
func TestNasty(t *testing.T) {
	t.Parallel()
	set := func(key, value string) string {
		var members map[string]json.RawMessage
		if err := json.Unmarshal(changed("Cust1"), &members); err != nil {
			t.Fatal(err)
		}
		delete(members, key)
		text, err := json.Marshal(members)
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprintf(`{%q:%s,%s`, key, value, text[1:])
	}
	nasty := map[string]string{
		"nothing":              "",
		"NULs":                 "\x00\x00",
		"list":                 "[" + string(changed("Cust1")) + "]",
		"two objects":          string(changed("Cust1")) + string(changed("Cust1")),
		"deep":                 strings.Repeat("[", 10_000) + strings.Repeat("]", 10_000),
		"deep and open":        strings.Repeat(`{"a":`, 10_000),
		"deep member":          set("Changes", strings.Repeat("[", 10_000)+strings.Repeat("]", 10_000)),
		"deep tenant":          set("ContextIdentifier", strings.Repeat("[", 10_000)+strings.Repeat("]", 10_000)),
		"invalid UTF-8":        set("WebhookName", "\"\xff\xfe\""),
		"invalid UTF-8 tenant": set("ContextIdentifier", "\"\xff\""),
		"half a surrogate":     set("WebhookName", `"\ud800"`),
		"NUL in tenant":        set("ContextIdentifier", `"Cust\u0000"`),
		"NUL in a change":      set("Changes", `["\u0000"]`),
		"huge tenant":          set("ContextIdentifier", `"`+strings.Repeat("x", 10<<10)+`"`),
		"huge event name":      set("Event", `"`+strings.Repeat("x", 10<<10)+`"`),
		"tenant is a number":   set("ContextIdentifier", `7`),
		"two tenants":          set("ContextIdentifier", `"Cust2","ContextIdentifier":"Own"`),
		"1e400":                set("PrimaryKey", `1e400`),
		"above bigint":         set("PrimaryKey", `9223372036854775808`),
		"contact 0":            set("PrimaryKey", `0`),
		"year 1":               set("Timestamp", `"0001-01-01T00:00:00Z"`),
		"year 9999":            set("Timestamp", `"9999-12-31T23:59:59Z"`),
		"no EventId":           set("EventId", `null`),
	}
	k := &kept{}
	address, _ := serve(t, config(k))
	for name, text := range nasty {
		body := []byte(text)
		got := do(t, address, "POST", "/webhook", signed(secret, body), body)
		if got.status != 200 || got.body != `{"result":"quarantined"}` {
			t.Errorf("%s: got %d %s", name, got.status, got.body)
			continue
		}
		all := k.all()
		d := all[len(all)-1]
		if !bytes.Equal(d.Body, body) || d.Body == nil {
			t.Errorf("%s: kept other bytes", name)
		}
		if d.Event != nil || d.Reason == "" || len(d.Reason) > 1000 || strings.Contains(d.Reason, "\x00") {
			t.Errorf("%s: event %v, reason %.2000q", name, d.Event, d.Reason)
		}
		if d.Tenant != nil && (len(*d.Tenant) > 255 || strings.Contains(*d.Tenant, "\x00")) {
			t.Errorf("%s: tenant %.300q can't be stored", name, *d.Tenant)
		}
	}
}
