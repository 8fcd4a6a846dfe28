package receive_test

import (
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"

	"contactmirror/internal/signature"
)

func TestQuarantinedHeaders(t *testing.T) {
	t.Parallel()
	k := &kept{}
	address, _ := serve(t, config(k))
	body := []byte(`{"Event":"contact.changed","ContextIdentifier":"Own"}`)
	header := signed(ownSecret, body)
	for name, value := range map[string]string{
		"Authorization": "Bearer s3cret", "Proxy-Authorization": "Basic s3cret", "Cookie": "a=s3cret",
		"X-Api-Key": "s3cret", "Ocp-Apim-Subscription-Key": "s3cret", "X-Auth-Token": "s3cret",
		"X-Shared-Secret": "s3cret", "X-Password": "s3cret", "X-SuperOffice-Event": "contact.changed", "X-Odd": "\xe6",
	} {
		header.Set(name, value)
	}
	header.Add("Cookie", "b=s3cret")
	if got := do(t, address, "POST", "/webhook", header, body); got.body != `{"result":"quarantined"}` {
		t.Fatalf("got %d %s", got.status, got.body)
	}
	d := k.all()[0]
	if d.Tenant == nil || *d.Tenant != "Own" {
		t.Errorf("tenant is %v", d.Tenant)
	}
	for _, name := range []string{"Content-Length", "Accept-Encoding", "User-Agent"} { // the client's own
		d.Headers.Del(name)
	}
	masked := []string{"[masked]"}
	want := http.Header{
		"Authorization": masked, "Proxy-Authorization": masked, "Cookie": {"[masked]", "[masked]"},
		"X-Api-Key": masked, "Ocp-Apim-Subscription-Key": masked, "X-Auth-Token": masked,
		"X-Shared-Secret": masked, "X-Password": masked,
		"X-Superoffice-Event": {"contact.changed"}, "X-Odd": {"\ufffd"},
		"X-Superoffice-Signature": {signature.Sign(ownSecret, body)}, "Content-Type": {"application/json; charset=utf-8"},
	}
	if diff := cmp.Diff(want, d.Headers); diff != "" {
		t.Errorf("headers (-want +got):\n%s", diff)
	}
}

func TestRetryHeader(t *testing.T) {
	t.Parallel()
	k := &kept{}
	address, r := serve(t, config(k))
	body := changed("Cust1")
	number := func(n int32) *int32 { return &n }
	tests := []struct {
		values []string
		want   *int32
	}{
		{nil, number(0)},
		{[]string{"0"}, number(0)},
		{[]string{" 2 "}, number(2)},
		{[]string{"-1"}, number(-1)},
		{[]string{""}, nil},
		{[]string{"two"}, nil},
		{[]string{"2147483648"}, nil},
		{[]string{"1", "2"}, number(1)},
	}
	for _, test := range tests {
		header := signed(secret, body)
		header["X-Superoffice-Retry"] = test.values
		do(t, address, "POST", "/webhook", header, body)
		all := k.all()
		if diff := cmp.Diff(test.want, all[len(all)-1].Retry); diff != "" {
			t.Errorf("%q (-want +got):\n%s", test.values, diff)
		}
	}
	header := signed("guessed", body)
	do(t, address, "POST", "/webhook", header, body) // anybody may send such a number
	want := map[string]uint64{"0": 2, "1": 1, "2": 1, "more": 0, "unreadable": 4}
	if diff := cmp.Diff(want, r.Retries()); diff != "" {
		t.Errorf("counts (-want +got):\n%s", diff)
	}
}

// Unsigned headers decide nothing: tenant, event and id come from the body.
func TestHeadersDecideNothing(t *testing.T) {
	t.Parallel()
	k := &kept{}
	address, _ := serve(t, config(k))
	body := changed("Cust1")
	header := signed(secret, body)
	header.Set("Content-Type", "text/xml; charset=utf-16")
	header.Set("Content-Encoding", "gzip")
	header.Set("X-SuperOffice-Event", "contact.deleted")
	header.Set("X-SuperOffice-EventId", "00000000-0000-0000-0000-000000000000")
	header.Set("X-HTTP-Method-Override", "GET")
	got := do(t, address, "POST", "/webhook?tenant=Other", header, body)
	if got.body != `{"result":"accepted"}` {
		t.Fatalf("got %d %s", got.status, got.body)
	}
	if e := k.all()[0].Event; e.Name != "contact.changed" || e.Tenant != "Cust1" || e.ID.String() != "8337ae4a-1dd6-40fd-8dc7-a050664a0af7" {
		t.Errorf("event is %s %s of %q", e.Name, e.ID, e.Tenant)
	}
}
