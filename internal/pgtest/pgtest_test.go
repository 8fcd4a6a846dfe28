package pgtest

import (
	"testing"
)

func TestMain(m *testing.M) { Main(m) }

func TestDatabasesAreMigratedAndApart(t *testing.T) {
	t.Parallel()
	a, b := New(t), New(t)
	if _, err := a.Pool.Exec(t.Context(), "insert into webhook_events (context_identifier, event, received_at, ignored, keyless_sha256) values ('t', 'test', now(), true, '\\x00')"); err != nil {
		t.Fatal(err)
	}
	var n int
	if err := b.Pool.QueryRow(t.Context(), "select count(*) from webhook_events").Scan(&n); err != nil {
		t.Fatal(err)
	}
	if n != 0 {
		t.Errorf("the second database holds %d events of the first", n)
	}
}
