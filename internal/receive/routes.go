package receive

import (
	"context"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"
)

// readyTimeout bounds how long /readyz takes; probes give up early.
const readyTimeout = 2 * time.Second

// allow lists the public paths, all of them, with their methods.
var allow = map[string]string{
	"/webhook": "POST",
	"/healthz": "GET, HEAD",
	"/readyz":  "GET, HEAD",
}

func (r *Receiver) routes() {
	r.echo.POST("/webhook", r.webhook, r.timed)
	r.echo.GET("/healthz", health)
	r.echo.HEAD("/healthz", health)
	r.echo.GET("/readyz", r.ready)
	r.echo.HEAD("/readyz", r.ready)
	for path := range allow {
		// Echo would answer OPTIONS with 204, and nothing here is 2xx but 200.
		r.echo.OPTIONS(path, func(echo.Context) error { return echo.ErrMethodNotAllowed })
	}
}

// timed tells [Config.Answered] of each answer. It has errors answered, so that
// refusals have their time too; only panics pass it by.
func (r *Receiver) timed(next echo.HandlerFunc) echo.HandlerFunc {
	if r.config.Answered == nil {
		return next
	}
	return func(c echo.Context) error {
		began := time.Now()
		if err := next(c); err != nil {
			c.Error(err)
		}
		r.config.Answered(c.Response().Status, time.Since(began))
		return nil
	}
}

// health says that the process lives, whatever it can do.
func health(c echo.Context) error {
	return c.JSONBlob(http.StatusOK, []byte(`{"status":"ok"}`))
}

// ready says whether a delivery can be made durable.
func (r *Receiver) ready(c echo.Context) error {
	ctx, cancel := context.WithTimeout(c.Request().Context(), readyTimeout)
	defer cancel()
	state := r.config.Ready(ctx)
	state.Ready = state.Ready && !r.leaving.Load()
	status := http.StatusOK
	if !state.Ready {
		status = http.StatusServiceUnavailable
	}
	c.Response().Header().Set(echo.HeaderCacheControl, "no-store")
	return c.JSON(status, state)
}
