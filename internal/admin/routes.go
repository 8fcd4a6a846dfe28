package admin

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/pprof"
	runtime "runtime/pprof"
	"strings"

	"github.com/labstack/echo/v4"
)

// routes are all paths, for reading only. pprof's command line is not among
// them: a database URL may stand there, with its password.
func (a *Admin) routes() {
	a.route("/healthz", http.HandlerFunc(health))
	a.route("/metrics", a.config.Metrics.handler(a.config.Log))
	if a.config.Feed != nil {
		a.echo.GET(feedPath, a.changes)
		a.forbidOptions(feedPath)
	}
	a.route(profiles, http.HandlerFunc(pprof.Index))
	for _, p := range runtime.Profiles() { // heap, goroutine, …
		a.route(profiles+p.Name(), http.HandlerFunc(pprof.Index))
	}
	a.route(profiles+"profile", http.HandlerFunc(pprof.Profile))
	a.route(profiles+"symbol", http.HandlerFunc(pprof.Symbol))
	a.route(profiles+"trace", http.HandlerFunc(pprof.Trace))
}

func (a *Admin) route(path string, handler http.Handler) {
	for method := range strings.SplitSeq(allowed(path), ", ") {
		a.echo.Add(method, path, echo.WrapHandler(handler))
	}
	a.forbidOptions(path)
}

// forbidOptions refuses what Echo would answer with 204.
func (a *Admin) forbidOptions(path string) {
	a.echo.OPTIONS(path, func(echo.Context) error { return echo.ErrMethodNotAllowed })
}

const (
	profiles = "/debug/pprof/"
	feedPath = "/changes"
)

// allowed are the methods of path. A HEAD of a profile, or of changes that are
// waited for, would take as long, and show nothing.
func allowed(path string) string {
	if strings.HasPrefix(path, profiles) || path == feedPath {
		return "GET"
	}
	return "GET, HEAD"
}

// health says that the process lives, whatever it can do.
func health(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write([]byte(`{"status":"ok"}`)) // fails only when the client has gone
}

// refuse answers a request that ends in an error; Echo calls it.
func refuse(err error, c echo.Context) {
	if c.Response().Committed {
		return
	}
	status, detail := http.StatusInternalServerError, "Something went wrong here."
	if refused, ok := errors.AsType[*echo.HTTPError](err); ok {
		status = refused.Code
		detail, _ = refused.Message.(string)
	}
	h := c.Response().Header()
	switch status {
	case http.StatusUnauthorized:
		h.Set(echo.HeaderWWWAuthenticate, "Bearer")
	case http.StatusNotFound:
		detail = "There is nothing here. There are /metrics, /changes, /healthz and /debug/pprof/."
	case http.StatusMethodNotAllowed:
		detail = "This is only for reading."
		h.Set(echo.HeaderAllow, allowed(c.Request().URL.Path))
	}
	document, err := json.Marshal(struct {
		Type   string `json:"type"`
		Title  string `json:"title"`
		Status int    `json:"status"`
		Detail string `json:"detail"`
	}{"about:blank", http.StatusText(status), status, detail})
	if err != nil {
		panic(err) // strings and a number
	}
	_ = c.Blob(status, "application/problem+json", document) // fails only when the client has gone
}
