package pg

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"syscall"

	"github.com/jackc/pgx/v5/pgconn"
)

// DataFault reports whether the server refused the rows it was given: SQLSTATE
// class 22 (data exception), 23 (integrity constraint violation) or 54 (program
// limit exceeded, such as an index row that is too long), but for [NumberTaken].
// Making the same call again can't help; the rows without the faulty one may pass.
//
// Some errors of these classes are the server's own: a sequence that is at its end
// (2200H), a partition that is missing (23514 without a constraint), and a limit of
// transactions (see [outOfTransactions]). There may be others, so a caller confirms
// that the server takes something else before it says that the rows are at fault.
func DataFault(err error) bool {
	e, ok := errors.AsType[*pgconn.PgError](err)
	if !ok || len(e.Code) != 5 || NumberTaken(err) || outOfTransactions(e) || e.Code == "2200H" || e.Code == "23514" && e.ConstraintName == "" {
		return false
	}
	switch e.Code[:2] {
	case "22", "23", "54":
		return true
	}
	return false
}

// outOfTransactions reports whether the server refuses to number another transaction,
// multixact or command: near wraparound it takes no writes until it has been
// vacuumed. That has the SQLSTATE of a value that is too long (54000), often without
// a constraint too, and a translated message. What tells them apart is the source
// file that the server names with every error.
func outOfTransactions(e *pgconn.PgError) bool {
	return e.Code == "54000" && slices.Contains([]string{"varsup.c", "multixact.c", "xact.c"}, e.File)
}

// NumberTaken reports whether a row could not be written because a number that the
// server drew for it is taken: a sequence is behind its table, and no row is at
// fault. Such numbers are the tables' primary keys, which are named as PostgreSQL
// names them; what makes two deliveries the same event is no primary key.
func NumberTaken(err error) bool {
	e, ok := errors.AsType[*pgconn.PgError](err)
	return ok && e.Code == "23505" && strings.HasSuffix(e.ConstraintName, "_pkey")
}

// Transient reports whether err is an outage: the same call may succeed if simply
// made again. A connection that broke may have committed, so the call must be one
// that is harmless to repeat.
//
// Only what is known to come from the server's state or from the way to it is
// transient. Anything else fails the same way until somebody acts: rights, a
// schema of another version, and above all mistakes of this program, such as a
// missing argument or a row that does not fit its targets, for which pgx has plain
// errors. Loops that go on after these log them with a [RetryLog].
func Transient(err error) bool {
	e, ok := errors.AsType[*pgconn.PgError](err)
	if !ok {
		return unreachable(err)
	}
	if len(e.Code) != 5 {
		return false
	}
	if outOfTransactions(e) {
		return true
	}
	switch e.Code[:2] {
	case "08", "40", "53", "58": // connection; deadlock or serialization; out of resources; server's I/O
		return true
	}
	switch e.Code {
	case "55P03", "57P01", "57P02", "57P03", "57P04", "57P05", "57014", // locked; stopping, starting, dropped, idle for too long; cancelled
		"25006", "25P03", "25P04": // read-only after a demotion; transaction idle or under way for too long
		return true
	}
	return false
}

// unreachable reports whether err comes from the connection, or from a time limit.
func unreachable(err error) bool {
	if pgconn.SafeToRetry(err) || pgconn.Timeout(err) {
		return true
	}
	if _, ok := errors.AsType[*pgconn.ConnectError](err); ok {
		return true
	}
	if _, ok := errors.AsType[net.Error](err); ok {
		return true
	}
	if _, ok := errors.AsType[syscall.Errno](err); ok {
		return true
	}
	return slices.ContainsFunc([]error{
		pgconn.ErrConnClosed, net.ErrClosed, io.EOF, io.ErrUnexpectedEOF, io.ErrClosedPipe, context.DeadlineExceeded, context.Canceled,
	}, func(known error) bool { return errors.Is(err, known) })
}

// Violates reports whether err is that a row violates the named constraint or
// unique index.
func Violates(err error, constraint string) bool {
	e, ok := errors.AsType[*pgconn.PgError](err)
	return ok && strings.HasPrefix(e.Code, "23") && e.ConstraintName == constraint
}

// LockTimeout reports whether err is that a lock was not to be had in the time
// that the statement was given for it.
func LockTimeout(err error) bool {
	e, ok := errors.AsType[*pgconn.PgError](err)
	return ok && e.Code == "55P03"
}

// Blocked reports whether the server took the transaction back because others
// were in its way: a deadlock, a serialization failure, or a lock not had in
// time. All of it can be done again.
func Blocked(err error) bool {
	e, ok := errors.AsType[*pgconn.PgError](err)
	return ok && (e.Code == "40P01" || e.Code == "40001" || e.Code == "55P03")
}

// Explain words err for a person: what the server said, with its hint. The
// server's detail is left out, for it quotes rows.
func Explain(err error) string {
	e, ok := errors.AsType[*pgconn.PgError](err)
	if !ok {
		return err.Error()
	}
	text := fmt.Sprintf("%s (SQLSTATE %s)", e.Message, e.Code)
	if s, ok := errors.AsType[*StatementError](err); ok {
		text = fmt.Sprintf("statement %q: %s", s.Statement, text)
	}
	if hint := Hint(err); hint != "" {
		text += ", hint: " + hint
	}
	return text
}

// Hint says what a person can do about err: the server's own hint, or what this
// program knows of its cause. It is empty where neither has one.
func Hint(err error) string {
	e, ok := errors.AsType[*pgconn.PgError](err)
	switch {
	case !ok:
		return ""
	case e.Hint != "":
		return e.Hint
	case e.Code == "26000" || e.Code == "42P05": // prepared statement unknown, or known already
		return "a pooler in transaction mode needs default_query_exec_mode=exec in the database URL"
	case NumberTaken(err):
		return fmt.Sprintf("the sequence of %s is behind its table: run, as the tables' owner, select * from contactmirror_advance_sequences()", e.TableName)
	}
	return ""
}

// StatementError is an error of a statement that is no outage, with the statement's
// first comment line, by which its file is found.
type StatementError struct {
	Statement string
	Err       error
}

func (e *StatementError) Error() string { return fmt.Sprintf("statement %q: %v", e.Statement, e.Err) }

func (e *StatementError) Unwrap() error { return e.Err }
