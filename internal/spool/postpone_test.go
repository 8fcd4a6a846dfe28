package spool_test

import (
	"slices"
	"testing"

	"contactmirror/internal/spool"
)

// A postponed record is handed out again after all others, those appended since
// too, and what was taken meanwhile is not.
func TestSpool_postpone(t *testing.T) {
	t.Parallel()
	for name, open64 := range map[string]int{"open": 64, "not open": 0} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			s := open(t, dir, roomy)
			s.KeepOpen(open64)
			stop := run(t, s)
			appendAll(t, s, "Cust1", "first", "late", "third", "later", "refused")
			next := func(want string) {
				t.Helper()
				batch, err := s.Peek(t.Context())
				if err != nil || string(batch[0].Payload) != want {
					t.Fatalf("peeked %d, %v, want %q", len(batch), err, want)
				}
			}
			next("first")
			s.Taken(1)
			next("late")
			s.Postpone()
			appendAll(t, s, "Cust2", "fourth")
			next("third")
			s.Taken(1)
			next("later")
			s.Postpone()
			next("refused")
			s.Refused("for a reason")
			if state := s.State(); state.Records != 3 || state.MovedAside.Records != 1 {
				t.Errorf("%+v, want two that are postponed and another one", state)
			}
			until(t, "what is still written to has its turn", func() bool {
				batch, err := s.Peek(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				if string(batch[0].Payload) == "fourth" {
					s.Taken(1)
					return true
				}
				s.Postpone()
				return false
			})
			for range 3 {
				for _, payload := range []string{"late", "later"} {
					next(payload)
					s.Postpone()
				}
			}
			next("late")
			s.Taken(1)
			next("later")
			s.Postpone()
			if state := s.State(); state.Records != 1 || state.MovedAside != (spool.MovedAside{Files: 1, Records: 1, Bytes: state.MovedAside.Bytes, Oldest: state.MovedAside.Oldest}) {
				t.Errorf("%+v, want one record", state)
			}
			stop()
			s = open(t, dir, roomy)
			run(t, s)
			if state := s.State(); state.Records != 1 {
				t.Errorf("after another start: %+v", state)
			}
			if got := take(t, s, 1); !slices.Equal(got, []string{"later"}) {
				t.Errorf("took %q", got)
			}
			if state := s.State(); state.Records != 0 || state.Bytes != 0 {
				t.Errorf("%+v of an empty spool", state)
			}
		})
	}
}
