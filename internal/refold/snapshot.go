package refold

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// reading is how a snapshot's transactions begin. Sorting and hashing the log
// takes more memory than a web request's queries should; and while one of the
// transactions works the others may wait for long.
var reading = pgx.TxOptions{BeginQuery: "begin isolation level repeatable read read only; " +
	"set local jit = off; set local work_mem = '64MB'; set local idle_in_transaction_session_timeout = 0"}

// Snapshot is transactions that see the database as it was at one instant. They
// only read.
type Snapshot struct {
	// At is the instant, by the database's clock.
	At  time.Time
	txs []pgx.Tx
}

// Take begins n transactions on connections of pool, which must have as many.
func Take(ctx context.Context, pool *pgxpool.Pool, n int) (_ *Snapshot, err error) {
	s := &Snapshot{}
	defer func() {
		if err != nil {
			s.Close()
			err = fmt.Errorf("refold: take a snapshot: %w", err)
		}
	}()
	var name string
	for len(s.txs) < n {
		tx, err := pool.BeginTx(ctx, reading)
		if err != nil {
			return nil, err
		}
		s.txs = append(s.txs, tx)
		if len(s.txs) == 1 {
			err = tx.QueryRow(ctx, "select pg_export_snapshot(), now()").Scan(&name, &s.At)
		} else {
			_, err = tx.Exec(ctx, "set transaction snapshot '"+strings.ReplaceAll(name, "'", "''")+"'")
		}
		if err != nil {
			return nil, err
		}
	}
	return s, nil
}

// Tx is the i-th transaction, from 0. Each is for one goroutine at a time.
func (s *Snapshot) Tx(i int) pgx.Tx { return s.txs[i] }

// Close ends the transactions.
func (s *Snapshot) Close() {
	for _, tx := range s.txs {
		_ = tx.Rollback(context.Background()) // they have written nothing
	}
}
