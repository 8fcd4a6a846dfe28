package main

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"contactmirror/internal/retention"
)

// RetentionFlags are how long bodies are kept.
type RetentionFlags struct {
	BodyRetention    string `group:"settings" setting:"CONTACTMIRROR_BODY_RETENTION" placeholder:"TIME" help:"How long the bodies of contact events are kept, such as 365d, or forever; default 90d."`
	IgnoredRetention string `group:"settings" setting:"CONTACTMIRROR_IGNORED_RETENTION" placeholder:"TIME" help:"How long the bodies of ignored events are kept, such as 30d, or forever; default 7d."`
}

// pruneCmd drops bodies that are old enough.
type pruneCmd struct {
	OlderThan string `placeholder:"TIME" help:"Drop all bodies that were received longer ago, such as 30d or 720h, from 1d; default $CONTACTMIRROR_BODY_RETENTION for contact events, $CONTACTMIRROR_IGNORED_RETENTION for ignored ones."`
	JSON      bool   `help:"Print JSON."`
	ConfirmFlags
	RetentionFlags
	DatabaseFlags
}

// Help says what goes and what stays.
func (pruneCmd) Help() string {
	return `Drops the bodies that events came in, and the bytes of resolved quarantine entries. Events, duplicates, the audit log and quarantine's rows stay, so nothing is deduped or accounted for differently. The body of an event that is queued or in open quarantine is never dropped.

Bodies of a day are dropped at once, when all of the day is old enough; rows are deleted only where one of its bodies must stay, or where the day had no partition of its own. On a terminal it shows what it would drop and asks; elsewhere it needs --yes. serve does the same every hour.

Copies in backups, replicas and the write-ahead log are not reached.`
}

// Run prunes, and says what went. What could not be locked is left for another
// time, which fails the command.
func (p *pruneCmd) Run(ctx context.Context, call *invocation) error {
	config, err := call.config()
	if err != nil {
		return err
	}
	keep := config.Retention
	if p.OlderThan != "" {
		d, err := parseRetention(p.OlderThan)
		if err != nil {
			return misused("--older-than: %q: %w; allowed: %s", p.OlderThan, err, retentionAllowed)
		}
		keep = retention.Keep{Bodies: d, Ignored: d}
	}
	if keep.Forever() {
		return misused("CONTACTMIRROR_BODY_RETENTION and CONTACTMIRROR_IGNORED_RETENTION are forever: say what to drop with --older-than")
	}
	if err := p.check(call); err != nil {
		return err
	}
	return withMirror(ctx, call, func(pool *pgxpool.Pool) error {
		if !p.DryRun && !p.Yes {
			would, err := p.prune(ctx, call, pool, keep, true)
			if err != nil {
				return err
			}
			writeAccount(call.stderr, would)
			if err := p.confirm(ctx, call, "This can't be undone."); err != nil {
				return err
			}
		}
		account, err := p.prune(ctx, call, pool, keep, p.DryRun)
		switch {
		case err != nil:
			return err
		case p.JSON:
			err = writeJSON(call.stdout, account)
		default:
			writeAccount(call.stdout, account)
		}
		if err == nil && len(account.Busy) > 0 {
			return fmt.Errorf("prune: %s in use for too long; try again", count(int64(len(account.Busy)), "partition was", "partitions were"))
		}
		return err
	})
}

func (p *pruneCmd) prune(ctx context.Context, call *invocation, pool *pgxpool.Pool, keep retention.Keep, dryRun bool) (retention.Account, error) {
	return retention.Prune(ctx, pool, retention.Options{
		Keep: keep, DryRun: dryRun, Actor: call.actor(),
		Progress: func(done retention.Partition) { fmt.Fprintln(call.stderr, pruned(done, dryRun)) },
	})
}

// pruned says what became of a partition.
func pruned(p retention.Partition, dry bool) string {
	would := ""
	if dry {
		would = "would be "
	}
	if p.Dropped {
		return fmt.Sprintf("%s: %sdropped, %s, %s on disk", p.Name, would, count(p.Bodies, "body", "bodies"), count(p.Bytes, "byte", "bytes"))
	}
	return fmt.Sprintf("%s: %s %sdeleted, %s", p.Name, count(p.Bodies, "body", "bodies"), would, count(p.Bytes, "byte", "bytes"))
}

func writeAccount(w io.Writer, a retention.Account) {
	did := "Dropped"
	if a.DryRun {
		did = "Would drop"
	}
	var expired []string
	if a.Before != nil {
		expired = append(expired, "contact events received before "+clock(*a.Before))
	}
	if a.IgnoredBefore != nil {
		expired = append(expired, "ignored events received before "+clock(*a.IgnoredBefore))
	}
	fmt.Fprintf(w, "%s bodies of %s: %s (%s dropped), and the bytes of %s (%s).\n", did, strings.Join(expired, " and of "),
		count(a.Bodies, "body", "bodies"), count(int64(a.Dropped), "partition", "partitions"),
		count(a.Quarantined, "resolved quarantine entry", "resolved quarantine entries"), count(a.QuarantinedBytes, "byte", "bytes"))
	for _, name := range a.Held {
		fmt.Fprintf(w, "%s keeps bodies that have expired: their events are queued or in open quarantine.\n", name)
	}
}

// retentionAllowed is what a retention may be.
const retentionAllowed = "days or a Go duration, such as 90d or 2160h; from 1d to 36500d"

// parseRetentionOrForever reads how long something is kept, where forever is 0.
func parseRetentionOrForever(v string) (time.Duration, error) {
	if v == "forever" {
		return 0, nil
	}
	return parseRetention(v)
}

// parseRetention reads how long something is kept.
func parseRetention(v string) (time.Duration, error) {
	const most = 36500 * 24 * time.Hour
	d, err := time.ParseDuration(v)
	if digits, days := strings.CutSuffix(v, "d"); days {
		var n int64
		n, err = strconv.ParseInt(digits, 10, 32)
		d = time.Duration(min(n, 1e5)) * 24 * time.Hour
	}
	if err != nil || d < retention.Least || d > most {
		return 0, errNotAllowed
	}
	return d, nil
}
