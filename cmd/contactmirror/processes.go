package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"contactmirror/internal/heartbeat"
	"contactmirror/internal/report"
)

// receiversCmd is the commands for the processes that told of themselves.
type receiversCmd struct {
	List   receiversListCmd   `cmd:"" help:"List the processes that run, and those that may have left something behind."`
	Forget receiversForgetCmd `cmd:"" help:"Wait no more for a receiver that has fallen silent for good."`
}

// receiversListCmd lists processes.
type receiversListCmd struct {
	JSON bool `help:"Print JSON."`
	DatabaseFlags
}

// Run prints one line per process.
func (r *receiversListCmd) Run(ctx context.Context, call *invocation) error {
	return withMirror(ctx, call, func(pool *pgxpool.Pool) error {
		all, err := report.Receivers(ctx, pool)
		switch {
		case err != nil:
			return err
		case r.JSON:
			return writeJSON(call.stdout, all)
		case len(all) == 0:
			fmt.Fprintln(call.stderr, "No receiver is on the list.")
			return nil
		}
		s := standing{Status: report.Status{Mirror: report.Mirror{Now: time.Now()}}}
		rows := [][]string{{"ID", "RECEIVER", "ROLES", "RUNNING", "SPOOL", "LAST ACCEPTED"}}
		for _, receiver := range all {
			rows = append(rows, append([]string{receiver.ReceiverID}, s.process(receiver)...))
		}
		return writeTable(call.stdout, rows)
	})
}

// receiversForgetCmd forgets a receiver.
type receiversForgetCmd struct {
	ID string `arg:"" help:"The receiver's id, as receivers list prints it."`
	DatabaseFlags
}

// Run takes the receiver off the list, so that it no longer holds back up to when
// the mirror is complete.
func (r *receiversForgetCmd) Run(ctx context.Context, call *invocation) error {
	id, err := heartbeat.ParseID(r.ID)
	if err != nil {
		return misused("id: %v", err)
	}
	return withMirror(ctx, call, func(pool *pgxpool.Pool) error {
		was, err := heartbeat.Forget(ctx, pool, id, report.Silence)
		switch {
		case errors.Is(err, heartbeat.ErrAlive):
			return fmt.Errorf("%s:%d was heard of %s: %w", plain(was.Host), was.PID, when(time.Now(), was.HeartbeatAt), err)
		case errors.Is(err, heartbeat.ErrUnknown):
			return fmt.Errorf("%s: %w", id, err)
		case err != nil:
			return err
		}
		if was.SpoolRecords > 0 {
			fmt.Fprintf(call.stderr, "Its spool held %s, accepted and not in the database; they are applied if it ever drains.\n",
				count(was.SpoolRecords, "delivery", "deliveries"))
		}
		if was.MovedAsideFiles > 0 {
			fmt.Fprintf(call.stderr, "Its spool had %s moved aside, with accepted deliveries; contactmirror spool retry delivers them where its data directory is.\n",
				count(int64(was.MovedAsideFiles), "file", "files"))
		}
		fmt.Fprintln(call.stdout, id, "forgotten")
		return nil
	})
}
