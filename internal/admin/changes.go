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

// changes answers a consumer with what has happened after its cursor. Where that is
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
	case errors.Is(err, feed.ErrLost):
		return echo.NewHTTPError(http.StatusConflict, lost)
	case err != nil:
		a.config.Log.Warn("can't answer /changes", "error", err)
		return unavailable(c, "The database can't be asked now.")
	}
	return c.JSON(http.StatusOK, answer)
}

// lost is what a consumer has to know whose cursor is refused.
const lost = "This log does not hold all rows that the cursor proves: the database was restored from a backup, " +
	"or failed over to a server that had not received its last commits, or it is another database, or the cursor is not a next of this API. " +
	"Changes that you have read may not have happened here, and others have taken their numbers. " +
	"Start over: in one REPEATABLE READ transaction, run select changes_cursor() and copy contacts; replace your copy, and send that cursor as after."

func unavailable(c echo.Context, detail string) error {
	c.Response().Header().Set(echo.HeaderRetryAfter, "1")
	return echo.NewHTTPError(http.StatusServiceUnavailable, detail)
}

// query is what a consumer asks for.
type query struct {
	after feed.Cursor
	now   bool // from now on
	limit int
	wait  time.Duration
}

func parseQuery(c echo.Context) (query, error) {
	q := query{limit: feed.MaxChanges}
	if text := c.QueryParam("after"); text == "now" {
		q.now = true
	} else if text != "" {
		after, err := feed.ParseCursor(text)
		if err != nil {
			return q, echo.NewHTTPError(http.StatusBadRequest, "after: send the next of the last answer, 0 for the beginning, or now.")
		}
		q.after = after
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

// follow reads, and waits where there is nothing. Each reading checks the cursor
// again: the database may be restored during the wait. A consumer that disconnects,
// or whose request ends because the process does, gets nothing, and comes back.
func (a *Admin) follow(ctx context.Context, q query) (page, error) {
	if q.now {
		now, err := a.config.Feed.Now(ctx)
		if err != nil {
			return page{}, err
		}
		q.after = now
	}
	waiting, cancel := context.WithTimeout(ctx, q.wait)
	defer cancel()
	for {
		found, next, err := a.config.Feed.Read(ctx, q.after, q.limit)
		switch {
		case ctx.Err() != nil:
			return pageOf(nil, q.after), nil
		case err != nil:
			return page{}, err
		case len(found) > 0 || waiting.Err() != nil:
			return pageOf(found, next), nil
		}
		q.after = next
		a.config.Feed.Wait(waiting, q.after)
	}
}

func pageOf(found []feed.Change, next feed.Cursor) page {
	if len(found) == 0 {
		found = []feed.Change{} // and not null
	}
	return page{Changes: found, Next: next.String()}
}
