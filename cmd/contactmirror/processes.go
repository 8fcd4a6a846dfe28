package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"contactmirror/internal/freshness"
	"contactmirror/internal/process"
	"contactmirror/internal/report"
)

// processesCmd groups the commands for the registry of processes.
type processesCmd struct {
	List   processesListCmd   `cmd:"" help:"List running processes, and those that ended without removing their entry."`
	Forget processesForgetCmd `cmd:"" help:"Remove the entry of a process that will not come back."`
}

// processesListCmd lists processes.
type processesListCmd struct {
	JSON bool `help:"Print JSON."`
	DatabaseFlags
}

// Run prints one line per process.
func (p *processesListCmd) Run(ctx context.Context, call *invocation) error {
	return withMirror(ctx, call, func(pool *pgxpool.Pool) error {
		all, err := report.Processes(ctx, pool)
		switch {
		case err != nil:
			return err
		case p.JSON:
			return writeJSON(call.stdout, all)
		case len(all) == 0:
			fmt.Fprintln(call.stderr, "No processes found.")
			return nil
		}
		s := standing{Status: report.Status{Mirror: report.Mirror{Now: time.Now()}}}
		rows := [][]string{append([]string{"PROCESS"}, processColumns...)}
		for _, process := range all {
			rows = append(rows, append([]string{process.Process}, s.process(process)...))
		}
		return writeTable(call.stdout, rows)
	})
}

// processesForgetCmd forgets a process.
type processesForgetCmd struct {
	Process string `arg:"" help:"The process, as processes list prints it."`
	DatabaseFlags
}

// Help says when to forget a process.
func (processesForgetCmd) Help() string {
	return `A receiver that ended without removing its entry holds complete_through at its last
heartbeat, or at the oldest delivery in its spool. If it will not come back, forget it.
Its spool is not changed: if the process is started again, its entry comes back, and the
deliveries in the spool are applied. A running process can't be forgotten.`
}

// Run removes the process from the registry, so that it no longer holds
// complete_through.
func (p *processesForgetCmd) Run(ctx context.Context, call *invocation) error {
	id, err := process.ParseID(p.Process)
	if err != nil {
		return misused("process: %v", err)
	}
	return withMirror(ctx, call, func(pool *pgxpool.Pool) error {
		was, err := process.Forget(ctx, pool, call.actor(), id, report.Silence)
		switch {
		case errors.Is(err, process.ErrRunning):
			return fmt.Errorf("%s (%s:%d): last heartbeat %s: %w", id, plain(was.Host), was.PID, when(time.Now(), was.HeartbeatAt), err)
		case errors.Is(err, process.ErrUnknown):
			return fmt.Errorf("%s: %w", id, err)
		case err != nil:
			return err
		}
		if was.SpoolRecords > 0 {
			fmt.Fprintf(call.stderr, "Its spool held %s, accepted and not in the database. They are applied if the process is started again on its data directory.\n",
				count(was.SpoolRecords, "delivery", "deliveries"))
		}
		if was.SpoolMovedAsideFiles > 0 {
			fmt.Fprintf(call.stderr, "Its spool had %s moved aside, with accepted deliveries. `contactmirror spool retry` delivers them; run it where the data directory is.\n",
				count(int64(was.SpoolMovedAsideFiles), "file", "files"))
		}
		fmt.Fprintln(call.stdout, id, "forgotten")
		return freshness.Advance(ctx, pool) // perhaps nothing runs that would
	})
}
