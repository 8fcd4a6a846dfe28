package erasure

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/pgxpool"

	"contactmirror/internal/audit"
	"contactmirror/internal/chain"
	"contactmirror/internal/contact"
	"contactmirror/internal/contactrow"
	"contactmirror/internal/operator"
	"contactmirror/internal/pg"
	"contactmirror/internal/sequence"
	"contactmirror/sql"
)

var (
	mayStmt        = pg.NewColumn[pg.NoArgs, bool](sql.ErasureMay)
	lockStmt       = pg.NewColumn[lockArgs, int16](sql.ErasureLock)
	holdStmt       = pg.NewCommand[keyArgs](sql.ErasureHold)
	rowsStmt       = pg.NewStream[keyArgs](sql.ErasureRows, rowTargets, append([]string{"audit_seq", "salt"}, audit.Columns(audit.Committed)...)...)
	deliveriesStmt = pg.NewQuery[deliveriesArgs, delivery](sql.ErasureDeliveries)
	eventsStmt     = pg.NewQuery[keyArgs, waiting](sql.ErasureEvents)
	queuedStmt     = pg.NewColumn[queuedArgs, int64](sql.ErasureQueued)
	eraseStmt      = pg.NewQuery[eraseArgs, erased](sql.ErasureErase)
	liftStmt       = pg.NewColumn[liftArgs, bool](sql.ErasureLift)
	inForceStmt    = pg.NewQuery[keyArgs, inForce](sql.ErasureInForce)
	analyzeStmt    = pg.NewCommand[pg.NoArgs](sql.ErasureAnalyze)
	stampStmt      = pg.NewQuery[pg.NoArgs, stamp](sql.ErasureStamp)
)

type (
	keyArgs struct {
		ContextIdentifier string
		ContactID         int64
	}
	lockArgs       struct{ Shard int16 }
	deliveriesArgs struct{ ContextIdentifier string }
	queuedArgs     struct {
		Shard int16
		keyArgs
	}
	eraseArgs struct {
		keyArgs
		AuditSeq           int64
		Reason             *string
		AuditSeqs          []int64
		Commitments        [][]byte
		EventSeqs          []int64
		RedactedEvents     [][]byte
		QuarantineSeqs     []int64
		RedactedDeliveries [][]byte
	}
	liftArgs struct {
		keyArgs
		AuditSeq int64
	}
)

func argsOf(key contact.Key) keyArgs { return keyArgs{key.Tenant, key.ID} }

func rowTargets(r *audit.Row) []any {
	return append([]any{&r.AuditSeq, &r.Salt}, r.Targets(audit.Committed)...)
}

// inForce is the erasure of a contact that is in force.
type inForce struct {
	AuditSeq int64
	Earlier
}

type erased struct {
	AuditRows, Bodies, Duplicates, Quarantined, Redacted int64
}

// ErrNotAllowed tells that the role may not erase.
var ErrNotAllowed = errors.New("this database role may not erase; the schema's owner may")

// ErrKeyMissing and ErrOtherKey tell that the log's chains are written with keys, of which
// none was given: a row linked without would prove nothing.
var (
	ErrKeyMissing = audit.ErrKeyMissing
	ErrOtherKey   = audit.ErrOtherKey
)

// ErrNotErased tells that there is nothing to lift.
var ErrNotErased = errors.New("the contact is not erased")

// Author is who erases or lifts.
type Author struct {
	Actor operator.Actor
	// AuditKeys are what the log is chained with; there may be none.
	AuditKeys chain.Keys
}

// Options say how [Erase] goes about it.
type Options struct {
	Author
	// Reason is kept in erasures; nil for none.
	Reason *string
	// DryRun does everything and takes it back.
	DryRun bool
}

// Account is what one [Erase] has removed, or would.
type Account struct {
	ContextIdentifier string `json:"context_identifier"`
	ContactID         int64  `json:"contact_id"`
	DryRun            bool   `json:"dry_run"`
	// Already is set where an earlier erasure is in force, which is Earlier; then the
	// rest is what has come up since.
	Already bool     `json:"already"`
	Earlier *Earlier `json:"earlier"`
	// Row is set where contacts has a row of the contact, which now has no values.
	Row         bool  `json:"row"`
	AuditRows   int64 `json:"audit_rows"`
	Bodies      int64 `json:"bodies"`
	Duplicates  int64 `json:"duplicates"`
	Quarantined int64 `json:"quarantined"`
	// Redacted is how many of these entries lost the values only, and can still be
	// retried.
	Redacted int64 `json:"redacted"`
	// Queued is how many events wait to be applied, and lose their values then.
	Queued int64 `json:"queued"`
	// Unattributed is the numbers of quarantined deliveries that may be about the
	// contact or not: nobody can tell but who looks at them.
	Unattributed []int64 `json:"unattributed"`
}

// Earlier is an erasure that is in force, and what it removed when it was made, as
// operator_actions has it; nil where that does not tell.
type Earlier struct {
	ErasedAt    time.Time `json:"erased_at"`
	Reason      *string   `json:"reason"`
	Actor       *string   `json:"actor"`
	HadRow      *bool     `json:"row"`
	AuditRows   *int64    `json:"audit_rows"`
	Bodies      *int64    `json:"bodies"`
	Duplicates  *int64    `json:"duplicates"`
	Quarantined *int64    `json:"quarantined"`
}

// errDryRun takes a dry run back.
var errDryRun = errors.New("dry run")

// Erase erases the contact of key. It may be repeated, and then finds what has
// come up since. An error after the erasure has committed says so.
func Erase(ctx context.Context, pool *pgxpool.Pool, key contact.Key, o Options) (Account, error) {
	a := Account{ContextIdentifier: key.Tenant, ContactID: key.ID, DryRun: o.DryRun, Unattributed: []int64{}}
	err := inTransaction(ctx, pool, key, o.AuditKeys, func(tx pgx.Tx) error {
		seq, err := a.erase(ctx, tx, key, o)
		if err != nil {
			return err
		}
		if o.DryRun {
			return errDryRun
		}
		return operator.Record(ctx, tx, operator.Entry{
			Actor: o.Actor, Action: operator.Erase, Tenant: &key.Tenant, ContactID: &key.ID,
			Detail: operator.Detail{
				"audit_seq": seq, "reason": o.Reason, "already": a.Already, "row": a.Row,
				"audit_rows": a.AuditRows, "bodies": a.Bodies, "duplicates": a.Duplicates, "quarantined": a.Quarantined,
			},
		})
	})
	if err != nil && !errors.Is(err, errDryRun) {
		return a, fmt.Errorf("erasure: erase %v: %w", key, err)
	}
	if o.DryRun {
		return a, nil
	}
	// After the commit, because it takes seconds in which no event should wait.
	if _, err := analyzeStmt.Run(ctx, pool, pg.NoArgs{}); err != nil {
		return a, fmt.Errorf("erasure: %v is erased, but its values may be left in pg_stats, the planner's statistics; erase it again: %w", key, err)
	}
	return a, nil
}

// Lift lets events of the contact that are received from now on be kept with their
// values again. What was received before stays without, whenever it is applied.
func Lift(ctx context.Context, pool *pgxpool.Pool, key contact.Key, by Author) error {
	err := inTransaction(ctx, pool, key, by.AuditKeys, func(tx pgx.Tx) error {
		found, err := inForceStmt.All(ctx, tx, argsOf(key))
		switch {
		case err != nil:
			return err
		case len(found) == 0:
			return ErrNotErased
		}
		seq, err := appendRow(ctx, tx, key, audit.ErasureLifted, by.AuditKeys)
		if err != nil {
			return err
		}
		lifted, err := liftStmt.One(ctx, tx, liftArgs{argsOf(key), seq})
		switch {
		case err != nil:
			return err
		case !lifted:
			return errors.New("its erasure is gone")
		}
		return operator.Record(ctx, tx, operator.Entry{Actor: by.Actor, Action: operator.LiftErasure, Tenant: &key.Tenant, ContactID: &key.ID})
	})
	if err != nil {
		return fmt.Errorf("erasure: lift that of %v: %w", key, err)
	}
	return nil
}

const (
	// tries is how often an erasure is tried, where another transaction was in the
	// way for too long, and tryPause the least time between two tries.
	tries    = 5
	tryPause = 200 * time.Millisecond
)

// inTransaction calls do with the lock of the contact's shard.
func inTransaction(ctx context.Context, pool *pgxpool.Pool, key contact.Key, auditKeys chain.Keys, do func(tx pgx.Tx) error) error {
	if err := audit.SignEmpty(ctx, pool, auditKeys); err != nil { // before the shard's lock, because it takes all
		return err
	}
	pause := backoff.NewExponentialBackOff()
	pause.InitialInterval = tryPause
	_, err := backoff.Retry(ctx, func() (struct{}, error) {
		err := try(ctx, pool, key, auditKeys, do)
		if pg.NumberTaken(err) {
			if _, err = sequence.Advance(ctx, pool); err == nil {
				err = try(ctx, pool, key, auditKeys, do)
			}
		}
		if err != nil && !pg.Blocked(err) {
			err = backoff.Permanent(err)
		}
		return struct{}{}, err
	}, backoff.WithBackOff(pause), backoff.WithMaxTries(tries))
	return err
}

func try(ctx context.Context, pool *pgxpool.Pool, key contact.Key, auditKeys chain.Keys, do func(tx pgx.Tx) error) error {
	// The function sees what others have committed before it was called.
	return pgx.BeginTxFunc(ctx, pool, pg.ReadCommitted, func(tx pgx.Tx) error {
		allowed, err := mayStmt.One(ctx, tx, pg.NoArgs{})
		if err == nil && !allowed {
			err = ErrNotAllowed
		}
		if err != nil {
			return err
		}
		if _, err := lockStmt.One(ctx, tx, lockArgs{key.Shard()}); err != nil {
			return fmt.Errorf("lock its shard: %w", err)
		}
		if err := audit.RequireKeys(ctx, tx, auditKeys, key.Shard()); err != nil {
			return err
		}
		if _, err := holdStmt.Run(ctx, tx, argsOf(key)); err != nil {
			return fmt.Errorf("wait for what is being put: %w", err)
		}
		return do(tx)
	})
}

// stamp is what an erasure's row of the log is given by the database.
type stamp struct {
	At time.Time
	ID pgtype.UUID
}

// appendRow appends the row of an erasure or a lifting to the log, and returns its
// number.
func appendRow(ctx context.Context, tx pgx.Tx, key contact.Key, event string, auditKeys chain.Keys) (int64, error) {
	found, err := stampStmt.All(ctx, tx, pg.NoArgs{})
	if err != nil {
		return 0, fmt.Errorf("read the time: %w", err)
	}
	row := audit.NewOperatorRow(event, key, found[0].ID, found[0].At)
	if err := audit.Append(ctx, tx, auditKeys, &row); err != nil {
		return 0, err
	}
	return row.AuditSeq, nil
}

// appendProvisional appends the row of an erasure that is taken back. It draws no
// number, which would leave a gap.
func appendProvisional(ctx context.Context, tx pgx.Tx, key contact.Key) (int64, error) {
	found, err := stampStmt.All(ctx, tx, pg.NoArgs{})
	if err != nil {
		return 0, fmt.Errorf("read the time: %w", err)
	}
	row := audit.NewOperatorRow(audit.Erased, key, found[0].ID, found[0].At)
	row.AuditSeq, row.ChainSeq, row.Chain = -1, 1, make([]byte, chain.LinkSize)
	return row.AuditSeq, audit.Copy(ctx, tx, []audit.Row{row})
}

// erase erases in tx, and returns the number of the erasure's row in the log.
func (a *Account) erase(ctx context.Context, tx pgx.Tx, key contact.Key, o Options) (seq int64, err error) {
	known, err := inForceStmt.All(ctx, tx, argsOf(key))
	if err != nil {
		return 0, err
	}
	switch {
	case len(known) > 0:
		seq, a.Already, a.Earlier = known[0].AuditSeq, true, &known[0].Earlier
	case o.DryRun:
		seq, err = appendProvisional(ctx, tx, key)
	default:
		seq, err = appendRow(ctx, tx, key, audit.Erased, o.AuditKeys)
	}
	if err != nil {
		return 0, err
	}
	seqs, commitments, err := commit(ctx, tx, key)
	if err != nil {
		return 0, err
	}
	waiting, err := redactEvents(ctx, tx, key)
	if err != nil {
		return 0, err
	}
	named, unknown, err := quarantined(ctx, tx, key)
	if err != nil {
		return 0, err
	}
	a.Unattributed = append([]int64{}, unknown...)
	found, err := eraseStmt.All(ctx, tx, eraseArgs{
		keyArgs: argsOf(key), AuditSeq: seq, Reason: o.Reason,
		AuditSeqs: seqs, Commitments: commitments, EventSeqs: waiting.seqs, RedactedEvents: waiting.bodies,
		QuarantineSeqs: named.seqs, RedactedDeliveries: named.bodies,
	})
	if err != nil {
		return 0, err
	}
	e := found[0]
	a.AuditRows, a.Bodies, a.Duplicates = e.AuditRows, e.Bodies, e.Duplicates
	a.Quarantined, a.Redacted = e.Quarantined, e.Redacted
	a.Queued, err = queuedStmt.One(ctx, tx, queuedArgs{key.Shard(), argsOf(key)})
	if err != nil {
		return 0, fmt.Errorf("count what is queued: %w", err)
	}
	a.Row, err = rewrite(ctx, tx, key)
	return seq, err
}

// commit makes the commitments to the values of the contact's audit rows.
func commit(ctx context.Context, tx pgx.Tx, key contact.Key) (seqs []int64, commitments [][]byte, err error) {
	linker := audit.NewLinker(nil) // commitments need no key
	err = rowsStmt.Each(ctx, tx, argsOf(key), func(row *audit.Row) error {
		c, err := linker.Commit(row)
		if err != nil {
			return fmt.Errorf("audit row %d: %w", row.AuditSeq, err)
		}
		seqs, commitments = append(seqs, row.AuditSeq), append(commitments, c[:])
		return nil
	})
	if err != nil {
		return nil, nil, fmt.Errorf("read the audit log: %w", err)
	}
	return seqs, commitments, nil
}

// rewrite makes the contact's row what the log, as it is now, says. It reports
// whether there is one.
func rewrite(ctx context.Context, tx pgx.Tx, key contact.Key) (bool, error) {
	logged, err := audit.Facts(ctx, tx, []contact.Key{key})
	if err != nil {
		return false, err
	}
	var s contact.State
	s.Merge(logged[0], nil)
	if s.Life != contact.Live {
		return false, nil
	}
	found, err := stampStmt.All(ctx, tx, pg.NoArgs{})
	if err != nil {
		return false, err
	}
	return true, contactrow.Rewrite(ctx, tx, key, &s, found[0].At)
}
