package admin

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/labstack/echo/v4"

	"contactmirror/internal/feed"
)

const (
	// maxFollowers is how many may ask for changes at a time, waiting or not.
	maxFollowers = 64
	// maxWait is the longest that a follower may wait for changes, in seconds. The
	// server ends an answer that takes longer than a half more.
	maxWait = 20
)

// page is the answer of /changes.
type page struct {
	Changes []feed.Change `json:"changes"`
	// Next is what to send as after the next time.
	Next string `json:"next"`
}

// changes answers a follower with what has happened after a place. Where that is
// nothing it waits, as long as it was asked to.
func (a *Admin) changes(c echo.Context) error {
	select {
	case a.followers <- struct{}{}:
		defer func() { <-a.followers }()
	default:
		return unavailable(c, "Too many ask for changes at once.")
	}
	q, err := parseQuery(c)
	if err != nil {
		return err
	}
	answer, err := a.follow(c.Request().Context(), q)
	switch {
	case errors.Is(err, feed.ErrAhead):
		return echo.NewHTTPError(http.StatusConflict,
			"There is no such place yet: it is of another database, or this one has lost its last commits in a failover. Start over, from a copy of contacts.")
	case err != nil:
		a.config.Log.Warn("can't answer /changes", "error", err)
		return unavailable(c, "The database can't be asked now.")
	}
	return c.JSON(http.StatusOK, answer)
}

func unavailable(c echo.Context, detail string) error {
	c.Response().Header().Set(echo.HeaderRetryAfter, "1")
	return echo.NewHTTPError(http.StatusServiceUnavailable, detail)
}

// query is what a follower asks for.
type query struct {
	after feed.Place
	now   bool // from now on
	limit int
	wait  time.Duration
}

func parseQuery(c echo.Context) (query, error) {
	q := query{limit: feed.MaxChanges}
	if text := c.QueryParam("after"); text == "now" {
		q.now = true
	} else if text != "" {
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil || n < 0 {
			return q, echo.NewHTTPError(http.StatusBadRequest, "after: send the next of the last answer, 0 for the beginning, or now.")
		}
		q.after = feed.Place(n)
	}
	if text := c.QueryParam("limit"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > feed.MaxChanges {
			return q, echo.NewHTTPError(http.StatusBadRequest, "limit: from 1 to 1000.")
		}
		q.limit = n
	}
	if text := c.QueryParam("wait"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 0 || n > maxWait {
			return q, echo.NewHTTPError(http.StatusBadRequest, "wait: seconds, from 0 to 20.")
		}
		q.wait = time.Duration(n) * time.Second
	}
	return q, nil
}

// follow reads, and waits where there is nothing. A follower that is cut off, or
// let go because the process ends, has nothing, and comes back.
func (a *Admin) follow(ctx context.Context, q query) (page, error) {
	if q.now {
		end, err := a.config.Feed.End(ctx)
		if err != nil {
			return page{}, err
		}
		q.after = end
	}
	waiting, cancel := context.WithTimeout(ctx, q.wait)
	defer cancel()
	for {
		found, err := a.config.Feed.Read(ctx, q.after, q.limit)
		switch {
		case ctx.Err() != nil:
			return pageOf(q.after, nil), nil
		case err != nil:
			return page{}, err
		case len(found) > 0 || waiting.Err() != nil:
			return pageOf(q.after, found), nil
		}
		a.config.Feed.Wait(waiting, q.after)
	}
}

func pageOf(after feed.Place, found []feed.Change) page {
	if len(found) == 0 {
		found = []feed.Change{} // and not null
	} else {
		after = found[len(found)-1].AuditSeq
	}
	return page{Changes: found, Next: strconv.FormatInt(int64(after), 10)}
}
