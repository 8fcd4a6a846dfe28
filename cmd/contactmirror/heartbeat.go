package main

import (
	"context"
	"log/slog"
	"os"
	"time"

	"contactmirror/internal/freshness"
	"contactmirror/internal/pg"
	"contactmirror/internal/process"
)

// newHeartbeat makes the heartbeat of this process. entry is nil if it does not
// receive.
func (s *serveCmd) newHeartbeat(config *Config, watch *watch, entry *entrance) *process.Heartbeat {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return process.New(watch.pool, process.Info{
		ID:        identity(config, entry, watch.log),
		Host:      host,
		PID:       os.Getpid(),
		Roles:     s.Roles,
		Version:   thisBuild().Version,
		StartedAt: time.Now(),
	}, func() process.State { return processState(watch, entry) }, watch.log)
}

// identity returns the ID of the data directory if this process has its spool
// there. Others leave nothing in the directory, and several may share it.
func identity(config *Config, entry *entrance, log *slog.Logger) process.ID {
	if entry == nil {
		return process.NewID()
	}
	id, err := process.Identity(config.DataDir)
	if err != nil { // no reason to refuse deliveries
		log.Warn("can't keep this process's identity in the data directory; the table processes gets another row", "error", err.Error())
		return process.NewID()
	}
	return id
}

func processState(watch *watch, entry *entrance) process.State {
	s := process.State{At: time.Now()}
	if watch.worker != nil {
		health := watch.worker()
		s.AppliedAt, s.ApplyError, s.ApplyFailingSince = health.AppliedAt, health.Err, health.Since
	}
	if watch.settler != nil {
		health := watch.settler()
		s.HorizonAdvancedAt, s.HorizonError, s.HorizonFailingSince = health.AdvancedAt, health.Err, health.Since
	}
	if entry == nil {
		return s
	}
	s.SpoolingSince, _ = entry.gate.AwaySince()
	spooled := entry.spool.State()
	s.SpoolRecords, s.SpoolBytes, s.SpoolOldestAt = int64(spooled.Records), spooled.Bytes, spooled.Oldest
	s.SpoolMovedAsideFiles, s.SpoolMovedAsideOldestAt = spooled.MovedAside.Files, spooled.MovedAside.Oldest
	s.SpoolError, s.SpoolFailingSince = spooled.Unavailable, spooled.UnavailableSince
	s.AcceptedAt = entry.receiver.LastAccepted()
	s.RefusedSince, s.Refused = entry.receiver.Refused()
	s.Secrets = entry.keys.Uses()
	return s
}

// leave removes this process's row when it stops in order. If the database can't
// be reached, the row stays, and its last heartbeat tells since when.
func leave(ctx context.Context, heartbeat *process.Heartbeat, watch *watch) {
	if !watch.reachable.Load() {
		return
	}
	ctx = context.WithoutCancel(ctx)
	err := heartbeat.Leave(ctx)
	if err != nil {
		watch.log.Log(ctx, pg.Level(err), "can't remove this process's row from the table processes", "error", pg.Explain(err))
		return
	}
	// It may be the last process, and complete_through is brought up to date by processes only.
	ctx, cancel := context.WithTimeout(ctx, leaveTime)
	defer cancel()
	if err := freshness.Advance(ctx, watch.pool); err != nil {
		watch.log.Log(ctx, pg.Level(err), "can't bring complete_through up to date", "error", pg.Explain(err))
	}
}
