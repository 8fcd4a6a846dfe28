package audit

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"contactmirror/internal/chain"
	"contactmirror/internal/contact"
	"contactmirror/internal/pg"
	"contactmirror/sql"
)

var (
	keyedStmt     = pg.NewColumn[pg.NoArgs, int](sql.AuditKeyed)
	allHeadsStmt  = pg.NewQuery[pg.NoArgs, Head](sql.AuditAllHeads)
	lockHeadsStmt = pg.NewQuery[pg.NoArgs, Head](sql.AuditLockHeads)
	signStmt      = pg.NewCommand[signArgs](sql.AuditSign)
	newestStmt    = pg.NewQuery[pg.NoArgs, newest](sql.AuditNewest)
)

type (
	signArgs struct {
		Shards          []int16
		AuditSignatures [][]byte
		AuditBreaks     []*int64
	}
	newest struct {
		AuditSeq int64
		Adopted  bool
	}
)

// Head is the stored head of a shard's chain.
type Head struct {
	Shard           int16
	AuditCount      int64
	AuditHead       []byte
	AuditSignatures []byte
	AuditBreak      *int64
}

// Head is h as the chain takes it. What is no link, which the table does not allow, is
// taken for none: verify finds it.
func (h *Head) Head() chain.Head {
	link, _ := chain.ParseLink(h.AuditHead)
	return chain.Head{Count: h.AuditCount, Link: link}
}

// Signed reports whether a key of l signed h.
func (h *Head) Signed(l *chain.Linker) bool {
	return l.Signed(h.Shard, h.Head(), h.AuditSignatures)
}

// empty reports whether nothing was ever linked in h's shard or signed.
func (h *Head) empty() bool {
	return h.AuditCount == 0 && h.AuditHead == nil && h.AuditSignatures == nil && h.AuditBreak == nil
}

// Break tells that a shard's chain has a head that no configured key signed.
type Break struct {
	Shard int16
	// Since is the number in the log from which on its rows are linked without a key.
	Since int64
}

// Keyed returns how many chains have been written with a key.
func Keyed(ctx context.Context, db pg.DB) (int, error) {
	n, err := keyedStmt.One(ctx, db, pg.NoArgs{})
	if err != nil {
		return 0, fmt.Errorf("audit: look for the chains' keys: %w", err)
	}
	return n, nil
}

// ErrKeyMissing tells that the log's chains are written with keys, and none was given.
var ErrKeyMissing = errors.New("the audit log is chained with a key: set CONTACTMIRROR_AUDIT_KEY")

// ErrOtherKey tells that a head is signed by keys none of which was given.
var ErrOtherKey = errors.New("the audit log is chained with another key: add it to CONTACTMIRROR_AUDIT_KEY")

// RequireKeys fails with [ErrKeyMissing] or [ErrOtherKey] where a row that is linked
// with keys would break the chain of a shard, whose lock is held. A chain that is
// broken already is no reason to fail.
func RequireKeys(ctx context.Context, tx pgx.Tx, keys chain.Keys, shard int16) error {
	if len(keys) == 0 {
		keyed, err := Keyed(ctx, tx)
		if err == nil && keyed > 0 {
			err = ErrKeyMissing
		}
		return err
	}
	found, err := headsStmt.All(ctx, tx, headsArgs{[]int16{shard}})
	if err != nil {
		return fmt.Errorf("audit: read the head of shard %d: %w", shard, err)
	}
	for _, h := range found {
		signers := chain.Signers(h.AuditSignatures)
		given := slices.ContainsFunc(signers, func(id chain.KeyID) bool { return slices.Contains(keys.IDs(), id) })
		if len(signers) > 0 && !given {
			return fmt.Errorf("%w (its id is %s)", ErrOtherKey, signers[0])
		}
	}
	return nil
}

// SignEmpty signs the heads of a log that has never had a row, all at once: so an empty
// head without a signature is foreign afterwards. Of any other log it changes nothing.
// Without keys it does nothing.
func SignEmpty(ctx context.Context, pool *pgxpool.Pool, keys chain.Keys) error {
	if len(keys) == 0 {
		return nil
	}
	heads, err := allHeadsStmt.All(ctx, pool, pg.NoArgs{})
	if err == nil && allEmpty(heads) {
		err = pgx.BeginTxFunc(ctx, pool, pg.ReadCommitted, func(tx pgx.Tx) error { return signEmpty(ctx, tx, chain.NewLinker(keys)) })
	}
	if err != nil {
		return fmt.Errorf("audit: sign the heads of an empty log: %w", err)
	}
	return nil
}

func allEmpty(heads []Head) bool {
	return len(heads) == contact.Shards && !slices.ContainsFunc(heads, func(h Head) bool { return !h.empty() })
}

func signEmpty(ctx context.Context, tx pgx.Tx, linker *chain.Linker) error {
	heads, err := lockHeadsStmt.All(ctx, tx, pg.NoArgs{})
	if err != nil || !allEmpty(heads) {
		return err
	}
	log, err := newestStmt.All(ctx, tx, pg.NoArgs{})
	if err != nil || log[0].AuditSeq != 0 || log[0].Adopted {
		return err
	}
	var args signArgs
	for i := range heads {
		args.add(heads[i].Shard, linker.Sign(heads[i].Shard, heads[i].Head()), nil)
	}
	_, err = signStmt.Run(ctx, tx, args)
	return err
}

// Sign adds the signatures of keys, of which there is at least one, to the heads that
// one of them has signed. It returns the chains whose heads none of them signed, and
// marks them as broken.
func Sign(ctx context.Context, pool *pgxpool.Pool, keys chain.Keys) (broken []Break, err error) {
	linker := chain.NewLinker(keys)
	heads, err := allHeadsStmt.All(ctx, pool, pg.NoArgs{})
	if err == nil {
		var change signArgs
		change, broken = review(linker, keys, heads, 0)
		if len(change.Shards) > 0 {
			err = pgx.BeginTxFunc(ctx, pool, pg.ReadCommitted, func(tx pgx.Tx) error {
				broken, err = sign(ctx, tx, linker, keys)
				return err
			})
		}
	}
	if err != nil {
		return nil, fmt.Errorf("audit: sign the heads of the chains: %w", err)
	}
	return broken, nil
}

func sign(ctx context.Context, tx pgx.Tx, linker *chain.Linker, keys chain.Keys) ([]Break, error) {
	heads, err := lockHeadsStmt.All(ctx, tx, pg.NoArgs{})
	if err != nil {
		return nil, err
	}
	log, err := newestStmt.All(ctx, tx, pg.NoArgs{})
	if err != nil {
		return nil, err
	}
	change, broken := review(linker, keys, heads, log[0].AuditSeq)
	_, err = signStmt.Run(ctx, tx, change)
	return broken, err
}

// review returns what has to change of heads, and which of them are broken, of a log
// whose newest row has the number newest.
func review(linker *chain.Linker, keys chain.Keys, heads []Head, newest int64) (change signArgs, broken []Break) {
	for i := range heads {
		h := &heads[i]
		switch {
		case !h.Signed(linker):
			since := h.AuditBreak
			if since == nil {
				since = new(newest + 1)
				change.add(h.Shard, h.AuditSignatures, since)
			}
			broken = append(broken, Break{h.Shard, *since})
		case h.AuditBreak != nil || !slices.Equal(chain.Signers(h.AuditSignatures), keys.IDs()):
			change.add(h.Shard, linker.Sign(h.Shard, h.Head()), nil)
		}
	}
	return change, broken
}

func (a *signArgs) add(shard int16, signatures []byte, since *int64) {
	a.Shards, a.AuditSignatures = append(a.Shards, shard), append(a.AuditSignatures, signatures)
	a.AuditBreaks = append(a.AuditBreaks, since)
}
