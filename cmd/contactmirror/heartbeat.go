package main

import (
	"context"
	"log/slog"
	"os"
	"time"

	"contactmirror/internal/heartbeat"
	"contactmirror/internal/pg"
)

// newHeart tells the database how this process is. entry is nil where it does
// not receive.
func (s *serveCmd) newHeart(config *Config, watch *watch, entry *entrance) *heartbeat.Heart {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return heartbeat.New(watch.pool, heartbeat.Process{
		ID:        identity(config, entry, watch.log),
		Host:      host,
		PID:       os.Getpid(),
		Roles:     s.Roles,
		Version:   thisBuild().Version,
		StartedAt: time.Now(),
	}, func() heartbeat.Condition { return condition(watch, entry) }, watch.log)
}

// identity is the data directory's where this process has its spool. Others
// leave nothing behind, and several may share a directory.
func identity(config *Config, entry *entrance, log *slog.Logger) heartbeat.ID {
	if entry == nil {
		return heartbeat.NewID()
	}
	id, err := heartbeat.Identity(config.DataDir)
	if err != nil { // keeps nobody from delivering
		log.Warn("this receiver is a new one to those who look from elsewhere", "error", err.Error())
		return heartbeat.NewID()
	}
	return id
}

func condition(watch *watch, entry *entrance) heartbeat.Condition {
	c := heartbeat.Condition{At: time.Now()}
	if watch.worker != nil {
		health := watch.worker()
		c.WorkerError, c.WorkerFailingSince = health.Err, health.Since
	}
	if entry == nil {
		return c
	}
	c.InboxAwaySince, _ = entry.gate.AwaySince()
	spooled := entry.spool.State()
	c.SpoolRecords, c.SpoolBytes, c.SpoolOldest = int64(spooled.Records), spooled.Bytes, spooled.Oldest
	c.MovedAsideFiles, c.MovedAsideOldest = spooled.MovedAside.Files, spooled.MovedAside.Oldest
	c.LastAccepted = entry.receiver.LastAccepted()
	c.RefusedSince, c.Refused = entry.receiver.Refused()
	c.Secrets = entry.keys.Uses()
	return c
}

// leave takes the process off the list when it has ended in order. Where the
// database is away, the row stays and says when that began.
func leave(ctx context.Context, heart *heartbeat.Heart, watch *watch) {
	if !watch.reachable.Load() {
		return
	}
	if err := heart.Leave(context.WithoutCancel(ctx)); err != nil {
		watch.log.Log(ctx, pg.Level(err), "can't take the receiver off the list", "error", pg.Explain(err))
	}
}
