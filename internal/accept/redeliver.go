package accept

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sync/errgroup"

	"contactmirror/internal/inbox"
	"contactmirror/internal/pg"
	"contactmirror/internal/spool"
)

// maxRedelivered is how many records are put into the inbox at a time.
const maxRedelivered = 512

// Redelivery is what came of delivering a file again.
type Redelivery struct {
	// Delivered are in the inbox now, whether or not they were before.
	Delivered int `json:"delivered"`
	// Refused are those that the inbox refuses again, or can't store for an error
	// that is no outage; Reason is that of the first of them.
	Refused int    `json:"refused"`
	Reason  string `json:"reason,omitempty"`
	// UnreadableBytes can't be delivered, and Problem is why the file can't be read
	// to its end.
	UnreadableBytes int64  `json:"unreadable_bytes"`
	Problem         string `json:"problem,omitempty"`
	// Kept is set where the file still holds something, or where what it held is
	// missing.
	Kept bool `json:"kept"`
}

// Redeliver puts every record that can be read of a file that was moved aside
// into the inbox, and leaves the others in the file. Signatures were verified
// before the records were spooled. It runs in, and may be done again after an
// error.
func Redeliver(ctx context.Context, in *inbox.Inbox, dir, name string) (r Redelivery, err error) {
	c, err := spool.Read(dir, name)
	if err != nil {
		return Redelivery{}, err
	}
	running, stop := context.WithCancel(ctx)
	var inboxRun errgroup.Group
	inboxRun.Go(func() error { return in.Run(running) })
	defer func() {
		stop()
		err = errors.Join(err, inboxRun.Wait())
	}()
	r = Redelivery{UnreadableBytes: c.UnreadableBytes, Problem: c.Problem}
	var refused []spool.Record
	for left := c.Readable; len(left) > 0; {
		n := min(maxRedelivered, len(left))
		again, err := redeliver(ctx, in.Put, left[:n])
		if err != nil {
			return r, fmt.Errorf("deliver %s: %w", name, err)
		}
		r.Delivered += n - len(again)
		refused = append(refused, again...)
		left = left[n:]
	}
	if r.Refused = len(refused); r.Refused > 0 {
		r.Reason = refused[0].Reason
	}
	r.Kept = c.Problem != "" || len(refused) > 0 || len(c.Rest) > 0 || len(c.Readable) == 0
	if c.Problem != "" {
		return r, nil
	}
	return r, spool.Rewrite(dir, &c, refused)
}

// redeliver puts records, in smaller parts where one fails for another reason than
// an outage, and returns those that failed alone.
func redeliver(ctx context.Context, put put, records []spool.Record) (refused []spool.Record, err error) {
	switch err := putAll(ctx, put, records); {
	case err == nil:
		return nil, nil
	case ctx.Err() != nil || pg.Transient(err):
		return nil, err
	case len(records) == 1:
		record := records[0]
		record.Reason = pg.Explain(err)
		return []spool.Record{record}, nil
	}
	half := len(records) / 2
	refused, err = redeliver(ctx, put, records[:half])
	if err != nil {
		return nil, err
	}
	more, err := redeliver(ctx, put, records[half:])
	return append(refused, more...), err
}
