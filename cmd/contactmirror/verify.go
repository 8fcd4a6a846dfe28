package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"contactmirror/internal/smallfile"
	"contactmirror/internal/verify"
)

// verifyCmd checks that nothing stored has been tampered with or gone wrong.
type verifyCmd struct {
	Tenant         *string `placeholder:"TENANT" help:"Only this tenant's contacts and events; then not the chain, which runs through all tenants."`
	Export         string  `placeholder:"FILE" help:"Write the ends of the chains to a new file, to be kept where nobody who can write to the database can write."`
	AllowUnchecked bool    `help:"Do not count rows whose key was not given as differences."`
	Against        string  `placeholder:"FILE" help:"Prove that the log still contains the ends that were exported to a file."`
	JSON           bool    `help:"Print JSON."`
	DatabaseFlags
	AuditFlag
}

// Run checks, and ends with exit code 3 where anything differs.
func (v *verifyCmd) Run(ctx context.Context, call *invocation) error {
	options, err := v.options()
	if err != nil {
		return err
	}
	config, err := call.config()
	if err != nil {
		return err
	}
	options.Keys, options.AllowUnchecked = config.AuditKeys, v.AllowUnchecked
	return withWideMirror(ctx, config, call, verify.Conns, func(pool *pgxpool.Pool) error {
		var finish func()
		options.Progress, finish = progressBar(call.stderr, "verifying")
		began := time.Now()
		report, err := verify.Run(ctx, pool, options)
		finish()
		if err != nil {
			return err
		}
		return v.conclude(call, options, report, time.Since(began))
	})
}

func (v *verifyCmd) options() (verify.Options, error) {
	options := verify.Options{Tenant: v.Tenant}
	if v.Tenant != nil && v.Export+v.Against != "" {
		return options, misused("--export and --against are about the chain, which runs through all tenants: leave --tenant out")
	}
	if v.Export != "" {
		if _, err := os.Lstat(v.Export); !errors.Is(err, fs.ErrNotExist) {
			return options, misused("--export: %s is there already; what was exported is evidence, and is not overwritten", v.Export)
		}
	}
	if v.Against != "" {
		content, err := smallfile.Read(v.Against)
		if err != nil {
			return options, misused("--against: %v", err)
		}
		if options.Against, err = verify.ParseHeads(content); err != nil {
			return options, misused("--against: %s: %v", v.Against, err)
		}
	}
	return options, nil
}

// verification is a report as --json prints it.
type verification struct {
	*verify.Report
	Differences int64   `json:"differences"`
	Seconds     float64 `json:"seconds"`
	// KeyGiven tells whether links made with a key could be checked.
	KeyGiven bool `json:"audit_key_given"`
	// Against is when the heads that the log was compared with were exported.
	Against *time.Time `json:"against"`
}

func (v *verifyCmd) conclude(call *invocation, options verify.Options, report *verify.Report, took time.Duration) error {
	n := report.Differences()
	var err error
	if v.JSON {
		document := verification{report, n, took.Seconds(), len(options.Keys) > 0, nil}
		if options.Against != nil {
			document.Against = &options.Against.At
		}
		err = writeJSON(call.stdout, document)
	} else {
		err = writeVerification(call.stdout, options, report, took)
	}
	switch {
	case err != nil:
		return err
	case n > 0 && v.Export != "":
		return codedError{fmt.Errorf("verify: %s, so nothing was exported", count(n, "difference", "differences")), foundDifference}
	case n > 0:
		return codedError{fmt.Errorf("verify: %s", count(n, "difference", "differences")), foundDifference}
	case v.Export != "":
		return v.export(call.stderr, report.Heads)
	}
	return nil
}

func (v *verifyCmd) export(stderr io.Writer, heads *verify.Heads) error {
	file, err := os.OpenFile(v.Export, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return fmt.Errorf("verify: export: %w", err)
	}
	e := json.NewEncoder(file)
	e.SetIndent("", "  ")
	if err := errors.Join(e.Encode(heads), file.Sync(), file.Close()); err != nil {
		return fmt.Errorf("verify: export: %w", errors.Join(err, os.Remove(v.Export)))
	}
	fmt.Fprintf(stderr, "The ends of the chains are in %s. Keep it where nobody who can write to the database can write.\n", v.Export)
	return nil
}

func writeVerification(w io.Writer, options verify.Options, r *verify.Report, took time.Duration) error {
	m, e, a := r.Mirror, r.Events, r.Accounts
	rows := [][]string{
		{"as of", fmt.Sprintf("%s, in %v", clock(r.At), took.Round(time.Millisecond))},
		{"mirror", verdictOf(m.Different, "contact differs", "contacts differ",
			fmt.Sprintf("%s and %s are what %s in the log come to", count(m.Contacts, "row", "rows"), count(m.Tombstones, "tombstone", "tombstones"), count(m.Facts, "fact", "facts")))},
		{"events", verdictOf(e.Lost+e.Invented+e.Different, "event differs", "events differ",
			fmt.Sprintf("the log says what %s said when accepted; %s still there to be read again", count(e.Applied, "event", "events"), count(e.Bodies, "body is", "bodies are")))},
		{"account", verdictOf(int64(a.Wrong), "tenant's is wrong", "tenants' are wrong",
			fmt.Sprintf("every event of %s has one outcome, or waits", count(int64(a.Tenants), "tenant", "tenants")))},
	}
	rows = append(rows,
		[]string{"erasures", verdictOf(r.Erasures.Wrong, "row differs", "rows differ", "the register and the facts without values are those that the log says were erased")},
		[]string{"duplicates", verdictOf(r.Duplicates.Wrong, "repeated delivery is wrong", "repeated deliveries are wrong",
			"each is of an accepted event; NOT CHECKED: whether it came, and whether others were removed")},
	)
	if r.Chain != nil {
		rows = append(rows, chainRows(options, r.Chain)...)
	} else {
		rows = append(rows, []string{"chain", "not checked, as it runs through all tenants"})
	}
	if err := writeTable(w, rows); err != nil {
		return err
	}
	writeFaults(w, r)
	return nil
}

func verdictOf(wrong int64, one, many, right string) string {
	if wrong > 0 {
		return count(wrong, one, many)
	}
	return right
}

// chainRows says what holds of the chain, and then what can't be said.
func chainRows(options verify.Options, c *verify.Chain) [][]string {
	checked := c.Rows - c.OtherKey
	holds := verdictOf(int64(len(c.Breaks)), "break", "breaks", fmt.Sprintf("%s: nothing altered, removed or inserted", count(checked, "row holds", "rows hold")))
	rows := [][]string{{"chain", holds}}
	add := func(n int64, text string, args ...any) {
		if n > 0 {
			rows = append(rows, []string{"", fmt.Sprintf(text, args...)})
		}
	}
	if len(options.Keys) == 0 && len(c.Adoptions) == 0 {
		add(c.Unkeyed, "%s linked without a key: anybody who can write all tables could have linked them again", count(c.Unkeyed, "row was", "rows were"))
	}
	if len(options.Keys) == 0 {
		add(c.OtherKey, "NOT CHECKED: the links of %s, made with a key: set CONTACTMIRROR_AUDIT_KEY", count(c.OtherKey, "row", "rows"))
	} else {
		add(c.OtherKey, "NOT CHECKED: the links of %s, made with another key than those given", count(c.OtherKey, "row", "rows"))
	}
	for _, a := range adoptions(c) {
		add(a.NotProved, "NOT PROVED: %s, adopted on %s by %s: %s", count(a.NotProved, "row", "rows"), clock(a.At), plain(a.Actor), plain(a.Reason))
	}
	add(c.Erased, "NOT CHECKED: the values of %s, which were erased", count(c.Erased, "row", "rows"))
	switch {
	case options.Against != nil && len(c.Breaks) == 0:
		add(1, "it contains the ends exported on %s", clock(options.Against.At))
	case options.Against == nil:
		add(1, "NOT CHECKED: whether its end was cut off; that needs --against a file exported earlier")
	}
	return rows
}

// adoptions lists the adoptions of c, those of one command as one.
func adoptions(c *verify.Chain) (all []verify.Adoption) {
	for _, a := range c.Adoptions {
		i := slices.IndexFunc(all, func(b verify.Adoption) bool { return b.At.Equal(a.At) && b.Actor == a.Actor && b.Reason == a.Reason })
		if i < 0 {
			all = append(all, a)
			continue
		}
		all[i].Rows += a.Rows
		all[i].NotProved += a.NotProved
	}
	slices.SortStableFunc(all, func(a, b verify.Adoption) int { return a.At.Compare(b.At) })
	return all
}

func writeFaults(w io.Writer, r *verify.Report) {
	var lines []string
	if r.Chain != nil {
		for _, b := range r.Chain.Breaks {
			lines = append(lines, b.String())
		}
	}
	for _, d := range r.Mirror.Differences {
		lines = append(lines, d.String())
	}
	lines = slices.Concat(lines, r.Events.Lines, r.Accounts.Lines, r.Erasures.Lines, r.Duplicates.Lines)
	if len(lines) > 0 {
		fmt.Fprintln(w)
	}
	for _, line := range lines {
		fmt.Fprintln(w, line)
	}
	if more := r.Differences() - int64(len(lines)); more > 0 {
		fmt.Fprintf(w, "and %d more\n", more)
	}
}
