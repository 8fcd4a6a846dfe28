package pg

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// NoArgs is the Args of a statement without parameters.
type NoArgs struct{}

// statement is what the kinds of statements share: [Query], [Column], [Command] and
// [Stream]. Each is declared once, as a package-level variable.
//
// The parameters @name of its text are the fields of the struct Args. Names match as
// those of columns do, ignoring case and underscores: ContactIDs is @contact_ids.
// Fields of embedded structs count as fields of Args.
type statement[Args any] struct {
	text  string // with $1, $2, …
	title string
	// fields are the indexes of the fields of Args, in the order of the parameters.
	fields [][]int
}

// declare makes the statement text and registers it. scan reads one of its rows; nil
// where rows are not read. It panics if parameters and fields do not match.
func declare[Args any](text string, scan func(pgx.CollectableRow) error) statement[Args] {
	s := statement[Args]{title: title(text)}
	d := Declaration{Text: text, Title: s.title, Scan: scan}
	fields := map[string]reflect.StructField{} // by folded name
	for _, f := range reflect.VisibleFields(reflect.TypeFor[Args]()) {
		if f.Anonymous {
			continue
		}
		if _, twice := fields[fold(f.Name)]; twice || !f.IsExported() {
			panic(fmt.Sprintf("pg: statement %q: the field %s is not exported or has the name of another", s.title, f.Name))
		}
		fields[fold(f.Name)] = f
	}
	var order []string
	s.text, order = positional(text)
	for _, name := range order {
		f, ok := fields[fold(name)]
		if !ok {
			panic(fmt.Sprintf("pg: statement %q: the parameter %s has no field", s.title, name))
		}
		delete(fields, fold(name))
		s.fields = append(s.fields, f.Index)
		d.Parameters = append(d.Parameters, Parameter{name, reflect.Zero(f.Type).Interface()})
	}
	for _, f := range fields {
		panic(fmt.Sprintf("pg: statement %q: the field %s has no parameter", s.title, f.Name))
	}
	d.Positional = s.text
	register(&d)
	return s
}

var parameterName = regexp.MustCompile(`@([a-zA-Z_]\w*)`)

// positional returns text with $1, $2, … for its parameters, and their names in that
// order.
func positional(text string) (rewritten string, names []string) {
	candidates := pgx.NamedArgs{} // in comments and literals too
	for _, match := range parameterName.FindAllStringSubmatch(text, -1) {
		candidates[match[1]] = match[1]
	}
	rewritten, order, err := candidates.RewriteQuery(context.Background(), nil, text, nil)
	if err != nil { // NamedArgs accept any text
		panic(fmt.Sprintf("pg: statement %q: %v", title(text), err))
	}
	for _, name := range order {
		names = append(names, name.(string))
	}
	return rewritten, names
}

// title is the first line of a statement, by which its file is found.
func title(text string) string {
	first, _, _ := strings.Cut(strings.TrimPrefix(text, "-- "), "\n")
	return first
}

func fold(name string) string { return strings.ToLower(strings.ReplaceAll(name, "_", "")) }

// values returns the fields of args in the order of the parameters.
func (s *statement[Args]) values(args Args) []any {
	values, of := make([]any, len(s.fields)), reflect.ValueOf(args)
	for i, index := range s.fields {
		values[i] = of.FieldByIndex(index).Interface()
	}
	return values
}

func (s *statement[Args]) queue(batch *pgx.Batch, args Args) *pgx.QueuedQuery {
	return batch.Queue(s.text, s.values(args)...)
}

// commit runs s in a [ReadCommitted] transaction of its own, after settings, in one
// round trip.
func (s *statement[Args]) commit(ctx context.Context, pool *pgxpool.Pool, args Args, read func(pgx.Rows) error, settings ...string) error {
	conn, err := pool.Acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	var batch pgx.Batch
	batch.Queue("begin isolation level read committed")
	for _, setting := range settings {
		batch.Queue(setting)
	}
	s.queue(&batch, args).Query(read)
	batch.Queue("commit")
	err = conn.SendBatch(ctx, &batch).Close()
	// After an error the server skips the rest, the commit included.
	if err != nil && conn.Conn().PgConn().TxStatus() == 'E' {
		_, _ = conn.Exec(ctx, "rollback") // else Release closes the connection
	}
	return err
}

// wrap adds the statement's title to err, unless it is an outage, refused rows, or no
// rows: those say enough.
func (s *statement[Args]) wrap(err error) error {
	if err == nil || Transient(err) || DataFault(err) || errors.Is(err, pgx.ErrNoRows) {
		return err
	}
	return &StatementError{s.title, err}
}

// Query is a statement whose rows are read into the struct Row by name. The columns
// are exactly the fields of Row.
type Query[Args, Row any] struct{ statement[Args] }

// NewQuery declares a query. It panics if the parameters of text are not the fields
// of Args.
func NewQuery[Args, Row any](text string) *Query[Args, Row] {
	return &Query[Args, Row]{declare[Args](text, func(row pgx.CollectableRow) error {
		_, err := pgx.RowToStructByName[Row](row)
		return err
	})}
}

// All runs q and returns its rows.
func (q *Query[Args, Row]) All(ctx context.Context, db DB, args Args) ([]Row, error) {
	rows, _ := db.Query(ctx, q.text, q.values(args)...) // CollectRows reports its error
	found, err := pgx.CollectRows(rows, pgx.RowToStructByName[Row])
	return found, q.wrap(err)
}

// Commit runs q in a [ReadCommitted] transaction of its own, in one round trip, and
// returns its rows.
func (q *Query[Args, Row]) Commit(ctx context.Context, pool *pgxpool.Pool, args Args) (found []Row, err error) {
	err = q.commit(ctx, pool, args, func(rows pgx.Rows) (err error) {
		found, err = pgx.CollectRows(rows, pgx.RowToStructByName[Row])
		return err
	})
	return found, q.wrap(err)
}

// Queue adds q to batch. It calls read with the rows.
func (q *Query[Args, Row]) Queue(batch *pgx.Batch, args Args, read func([]Row) error) {
	q.queue(batch, args).Query(func(rows pgx.Rows) error {
		found, err := pgx.CollectRows(rows, pgx.RowToStructByName[Row])
		if err != nil {
			return q.wrap(err)
		}
		return read(found)
	})
}

// Column is a statement whose rows have a single column.
type Column[Args, T any] struct{ statement[Args] }

// NewColumn declares a statement of one column. It panics if the parameters of text
// are not the fields of Args.
func NewColumn[Args, T any](text string) *Column[Args, T] {
	return &Column[Args, T]{declare[Args](text, func(row pgx.CollectableRow) error {
		_, err := pgx.RowTo[T](row)
		return err
	})}
}

// All runs c and returns its column.
func (c *Column[Args, T]) All(ctx context.Context, db DB, args Args) ([]T, error) {
	rows, _ := db.Query(ctx, c.text, c.values(args)...)
	found, err := pgx.CollectRows(rows, pgx.RowTo[T])
	return found, c.wrap(err)
}

// One runs c and returns the value of its only row.
func (c *Column[Args, T]) One(ctx context.Context, db DB, args Args) (T, error) {
	rows, _ := db.Query(ctx, c.text, c.values(args)...)
	value, err := pgx.CollectExactlyOneRow(rows, pgx.RowTo[T])
	return value, c.wrap(err)
}

// OneCustomPlan is One with a plan made for this call. The plan that a connection
// keeps may have been made when the tables were empty.
func (c *Column[Args, T]) OneCustomPlan(ctx context.Context, db DB, args Args) (T, error) {
	rows, _ := db.Query(ctx, c.text, append([]any{pgx.QueryExecModeExec}, c.values(args)...)...)
	value, err := pgx.CollectExactlyOneRow(rows, pgx.RowTo[T])
	return value, c.wrap(err)
}

// Commit runs c in a [ReadCommitted] transaction of its own, in one round trip, and
// returns its column.
func (c *Column[Args, T]) Commit(ctx context.Context, pool *pgxpool.Pool, args Args) (found []T, err error) {
	err = c.commit(ctx, pool, args, func(rows pgx.Rows) (err error) {
		found, err = pgx.CollectRows(rows, pgx.RowTo[T])
		return err
	})
	return found, c.wrap(err)
}

// CommitCustomPlan is Commit with a plan made for this call, as in
// [Column.OneCustomPlan]. It returns the value of the only row.
func (c *Column[Args, T]) CommitCustomPlan(ctx context.Context, pool *pgxpool.Pool, args Args) (value T, err error) {
	err = c.commit(ctx, pool, args, func(rows pgx.Rows) (err error) {
		value, err = pgx.CollectExactlyOneRow(rows, pgx.RowTo[T])
		return err
	}, "set local plan_cache_mode = force_custom_plan")
	return value, c.wrap(err)
}

// QueueAppend adds c to batch. It appends the column to values.
func (c *Column[Args, T]) QueueAppend(batch *pgx.Batch, args Args, values *[]T) {
	c.queue(batch, args).Query(func(rows pgx.Rows) (err error) {
		*values, err = pgx.AppendRows(*values, rows, pgx.RowTo[T])
		return c.wrap(err)
	})
}

// Command is a statement whose rows, if it returns any, are not read.
type Command[Args any] struct{ statement[Args] }

// NewCommand declares a command. It panics if the parameters of text are not the
// fields of Args.
func NewCommand[Args any](text string) *Command[Args] {
	return &Command[Args]{declare[Args](text, nil)}
}

// Run runs c and returns how many rows it wrote.
func (c *Command[Args]) Run(ctx context.Context, db DB, args Args) (int64, error) {
	tag, err := db.Exec(ctx, c.text, c.values(args)...)
	return tag.RowsAffected(), c.wrap(err)
}

// Commit runs c in a [ReadCommitted] transaction of its own, in one round trip.
func (c *Command[Args]) Commit(ctx context.Context, pool *pgxpool.Pool, args Args) error {
	return c.wrap(c.commit(ctx, pool, args, func(rows pgx.Rows) error {
		rows.Close()
		return rows.Err()
	}))
}

// Queue adds c to batch. [Touched] checks how many rows it writes.
func (c *Command[Args]) Queue(batch *pgx.Batch, args Args) *pgx.QueuedQuery {
	return c.queue(batch, args)
}

// Stream is a statement whose rows are read one at a time, each into the same Row, by
// position.
type Stream[Args, Row any] struct {
	statement[Args]
	targets func(*Row) []any
}

// NewStream declares a stream. targets returns where in a Row the columns are scanned
// to, in order. Where columns are given, they are the names that the columns must
// have, in order; only a test compares them. It panics if the parameters of text are
// not the fields of Args.
func NewStream[Args, Row any](text string, targets func(*Row) []any, columns ...string) *Stream[Args, Row] {
	scan := func(row pgx.CollectableRow) error {
		var names []string
		for _, field := range row.FieldDescriptions() {
			names = append(names, field.Name)
		}
		if columns != nil && !slices.Equal(names, columns) {
			return fmt.Errorf("the statement has the columns %q, and targets for %q", names, columns)
		}
		return row.Scan(targets(new(Row))...)
	}
	return &Stream[Args, Row]{declare[Args](text, scan), targets}
}

// Each runs s, and calls do for each row. The next row overwrites it: do keeps copies.
// An error of do is returned as it is.
func (s *Stream[Args, Row]) Each(ctx context.Context, db DB, args Args, do func(*Row) error) error {
	rows, _ := db.Query(ctx, s.text, s.values(args)...) // each reports its error
	return s.each(rows, do)
}

// Queue adds s to batch. It calls do as [Stream.Each] does.
func (s *Stream[Args, Row]) Queue(batch *pgx.Batch, args Args, do func(*Row) error) {
	s.queue(batch, args).Query(func(rows pgx.Rows) error { return s.each(rows, do) })
}

func (s *Stream[Args, Row]) each(rows pgx.Rows, do func(*Row) error) error {
	var (
		row     Row
		stopped error
		targets = s.targets(&row)
	)
	_, err := pgx.ForEachRow(rows, targets, func() error {
		stopped = do(&row)
		return stopped
	})
	if stopped != nil {
		return stopped
	}
	if err != nil { // a batch whose connection broke has no columns to ask for
		return s.wrap(err)
	}
	// Without a row pgx does not compare them.
	if columns := len(rows.FieldDescriptions()); columns != len(targets) {
		return s.wrap(fmt.Errorf("the statement has %d columns, and %d targets", columns, len(targets)))
	}
	return nil
}

// NamedCommand is a command with parameters that a struct can't have, because their
// names come from a list. pgx rewrites them whenever it runs.
type NamedCommand struct{ text string }

// NewNamedCommand declares a command. sample has a value for each parameter, of the
// type that [NamedCommand.Queue] is given. It panics if they do not match text.
func NewNamedCommand(text string, sample pgx.StrictNamedArgs) *NamedCommand {
	d := Declaration{Text: text, Title: title(text)}
	if _, _, err := sample.RewriteQuery(context.Background(), nil, text, nil); err != nil {
		panic(fmt.Sprintf("pg: statement %q: %v", d.Title, err))
	}
	var names []string
	d.Positional, names = positional(text)
	for _, name := range names {
		d.Parameters = append(d.Parameters, Parameter{name, sample[name]})
	}
	register(&d)
	return &NamedCommand{text}
}

// Queue adds c to batch. [Touched] checks how many rows it writes.
func (c *NamedCommand) Queue(batch *pgx.Batch, args pgx.StrictNamedArgs) *pgx.QueuedQuery {
	return batch.Queue(c.text, args)
}

// Touched is for a statement of a batch that writes n rows: any other number is an
// error, since it means that another transaction has written them.
func Touched(n int) func(pgconn.CommandTag) error {
	return func(tag pgconn.CommandTag) error {
		if tag.RowsAffected() != int64(n) {
			return fmt.Errorf("%d rows written instead of %d: another transaction has written them", tag.RowsAffected(), n)
		}
		return nil
	}
}

// Declaration describes a statement for the test that compares it with what
// PostgreSQL says of it.
type Declaration struct {
	// Text is the statement as declared, and Positional with $1, $2, … for its
	// parameters. Title is its first line.
	Text, Positional, Title string
	// Parameters are in the order of $1, $2, …
	Parameters []Parameter
	// Scan scans a row as the statement's methods do; nil where rows are not read.
	Scan func(pgx.CollectableRow) error
}

// Parameter is a parameter of a statement, with a value of the type that it is given;
// nil where that is an interface.
type Parameter struct {
	Name  string
	Value any
}

var declared struct {
	sync.Mutex
	all []Declaration
}

func register(d *Declaration) {
	declared.Lock()
	defer declared.Unlock()
	declared.all = append(declared.all, *d)
}

// Declarations returns the statements of the packages that the program imports.
func Declarations() []Declaration {
	declared.Lock()
	defer declared.Unlock()
	return slices.Clone(declared.all)
}
