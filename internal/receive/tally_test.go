package receive_test

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"contactmirror/internal/receive"
)

// A flood is one line a minute, and every delivery of it is counted.
func TestFloodIsLoggedOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := &lines{}
		c := config(&kept{})
		c.Log = log.logger(slog.LevelInfo)
		r := receive.New(c)
		flood := func() {
			for range 1000 {
				req := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/webhook", strings.NewReader("{}"))
				r.ServeHTTP(httptest.NewRecorder(), req)
			}
		}
		flood()
		if all := log.all(); len(all) != 1 {
			t.Errorf("at once: %q", all)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if all := log.all(); len(all) != 2 || !strings.Contains(all[1], "times=999") {
			t.Errorf("after a minute: %q", all)
		}
		flood()
		time.Sleep(time.Hour)
		synctest.Wait()
		if all := log.all(); len(all) != 3 || !strings.Contains(all[2], "times=1000") {
			t.Errorf("after an hour: %q", all)
		}
		flood() // a new one begins with a line again
		time.Sleep(time.Hour)
		synctest.Wait()
		if all := log.all(); len(all) != 5 || r.Counts()[receive.MissingSignature] != 3000 {
			t.Errorf("after a new one: %q, %v", all, r.Counts())
		}
	})
}
