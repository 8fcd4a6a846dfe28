package admin

import (
	"io"
	"log/slog"
	"net/http"

	"github.com/labstack/echo/v4"

	"contactmirror/internal/feed"
)

// Config is what an [Admin] needs. Metrics must be set.
type Config struct {
	// Token is what every request must bear. Without one, requests must be meant
	// for this machine by a loopback name, and [Admin.Serve] takes no listener
	// that others reach.
	Token   string
	Metrics *Metrics
	// Feed is what /changes hands out; nil where there is no such path.
	Feed *feed.Feed
	// Log may be nil.
	Log *slog.Logger
}

// Admin is the admin listener's handler.
type Admin struct {
	config    Config
	echo      *echo.Echo
	followers chan struct{}
}

// New makes an admin listener's handler.
func New(c Config) *Admin {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	a := &Admin{config: c, echo: echo.New(), followers: make(chan struct{}, maxFollowers)}
	a.echo.Logger.SetOutput(io.Discard) // Echo's own log has nothing that ours lacks
	a.echo.HTTPErrorHandler = refuse
	a.echo.Use(a.guard)
	a.routes()
	return a
}

// ServeHTTP answers one request.
func (a *Admin) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	a.echo.ServeHTTP(w, req)
}
