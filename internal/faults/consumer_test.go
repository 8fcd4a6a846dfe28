//go:build linux

package faults

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

// consumer keeps a copy of contacts by GET /changes, and starts over when its cursor
// is refused.
type consumer struct {
	lab      *lab
	url      string // of /changes
	database string // where to copy contacts from

	mu       sync.Mutex
	copied   map[contactKey]contactRow
	seen     int64 // the greatest audit_seq since the last start
	restarts int
}

type contactKey struct {
	Tenant string `json:"context_identifier"`
	ID     int64  `json:"contact_id"`
}

// contactRow is what is compared of a contact.
type contactRow struct {
	LastEventID string `json:"last_event_id"`
	CountryID   *int64 `json:"country_id"`
	SoftDeleted bool   `json:"soft_deleted"`
}

var errRefused = errors.New("answered 409")

// consume follows the changes at address, of the mirror in database, until the test
// ends.
func (l *lab) consume(address, database string) *consumer {
	l.Helper()
	c := &consumer{lab: l, url: "http://" + address + "/changes", database: database, copied: map[contactKey]contactRow{}}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		c.run(ctx)
	}()
	l.Cleanup(func() {
		cancel()
		<-ended
	})
	return c
}

// run reads on until ctx ends. During an outage nothing is answered.
func (c *consumer) run(ctx context.Context) {
	after := "0"
	for ctx.Err() == nil {
		next, err := c.read(ctx, after)
		if errors.Is(err, errRefused) {
			next, err = c.startOver(ctx)
		}
		if err != nil {
			select {
			case <-ctx.Done():
			case <-time.After(50 * time.Millisecond):
			}
			continue
		}
		after = next
	}
}

// get asks for changes once.
func (c *consumer) get(ctx context.Context, query url.Values, answer any) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, c.url+"?"+query.Encode(), http.NoBody)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	switch response.StatusCode {
	case http.StatusOK:
		return json.NewDecoder(response.Body).Decode(answer)
	case http.StatusConflict:
		return errRefused
	}
	return fmt.Errorf("answered %s", response.Status)
}

// read applies a page of changes to the copy, and returns the next cursor.
func (c *consumer) read(ctx context.Context, after string) (next string, err error) {
	var page struct {
		Changes []struct {
			contactKey
			AuditSeq int64       `json:"audit_seq"`
			Contact  *contactRow `json:"contact"`
		} `json:"changes"`
		Next string `json:"next"`
	}
	if err := c.get(ctx, url.Values{"after": {after}, "wait": {"1"}}, &page); err != nil {
		return "", err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, change := range page.Changes {
		c.seen = change.AuditSeq
		if change.Contact == nil {
			delete(c.copied, change.contactKey)
		} else {
			c.copied[change.contactKey] = *change.Contact
		}
	}
	return page.Next, nil
}

// startOver replaces the copy by a new one.
func (c *consumer) startOver(ctx context.Context) (next string, err error) {
	var now struct{ Next string }
	if err := c.get(ctx, url.Values{"after": {"now"}}, &now); err != nil {
		return "", err
	}
	copied, err := copyContacts(ctx, c.database)
	if err != nil {
		return "", err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.copied, c.seen = copied, 0
	c.restarts++
	return now.Next, nil
}

// copyContacts reads contacts.
func copyContacts(ctx context.Context, database string) (map[contactKey]contactRow, error) {
	conn, err := pgx.Connect(ctx, database)
	if err != nil {
		return nil, err
	}
	defer conn.Close(ctx) //nolint:errcheck // the query is through
	rows, err := conn.Query(ctx, "select context_identifier, contact_id, last_event_id::text, country_id, soft_deleted from contacts")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	copied := map[contactKey]contactRow{}
	for rows.Next() {
		var (
			key contactKey
			row contactRow
		)
		if err := rows.Scan(&key.Tenant, &key.ID, &row.LastEventID, &row.CountryID, &row.SoftDeleted); err != nil {
			return nil, err
		}
		copied[key] = row
	}
	return copied, rows.Err()
}

// state returns the copy's size, how far it is, and how often it was started over.
func (c *consumer) state() (contacts int, seen int64, restarts int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.copied), c.seen, c.restarts
}

// awaitEqual waits until the copy is what the mirror holds, which does not change.
func (c *consumer) awaitEqual() {
	c.lab.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	mirror, err := copyContacts(ctx, c.database)
	if err != nil {
		c.lab.Fatal(err)
	}
	equal := func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return maps.EqualFunc(mirror, c.copied, func(a, b contactRow) bool {
			return a.LastEventID == b.LastEventID && a.SoftDeleted == b.SoftDeleted &&
				(a.CountryID == nil) == (b.CountryID == nil) && (a.CountryID == nil || *a.CountryID == *b.CountryID)
		})
	}
	c.lab.await("the consumer's copy is what the mirror holds", patience, equal)
}
