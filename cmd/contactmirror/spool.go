package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"contactmirror/internal/accept"
	"contactmirror/internal/inbox"
	"contactmirror/internal/operator"
	"contactmirror/internal/spool"
)

// spoolDir is where a receiver's spool is.
func spoolDir(c *Config) string { return filepath.Join(c.DataDir, "spool") }

// existingSpool is [spoolDir] for the commands, which never make one.
func existingSpool(call *invocation) (*Config, string, error) {
	config, err := call.config()
	if err != nil {
		return nil, "", err
	}
	dir := spoolDir(config)
	switch info, err := os.Stat(dir); {
	case errors.Is(err, fs.ErrNotExist):
		return nil, "", misused("no spool: %s does not exist; set CONTACTMIRROR_DATA_DIR to the data directory of the receiver", dir)
	case err != nil:
		return nil, "", fmt.Errorf("look for the spool in CONTACTMIRROR_DATA_DIR: %w", err)
	case !info.IsDir():
		return nil, "", misused("no spool: %s is not a directory; set CONTACTMIRROR_DATA_DIR to the data directory of the receiver", dir)
	}
	return config, dir, nil
}

// spoolCmd is the commands for spool files that were moved aside.
type spoolCmd struct {
	List    spoolListCmd    `cmd:"" help:"List the spool files that were moved aside."`
	Show    spoolShowCmd    `cmd:"" help:"Show the deliveries in one of them."`
	Retry   spoolRetryCmd   `cmd:"" help:"Deliver what can be read of them to the database, and keep the rest."`
	Discard spoolDiscardCmd `cmd:"" help:"Delete them, with the deliveries in them."`
}

// Help says what these files are.
func (spoolCmd) Help() string {
	return `serve moves a spool file aside when it can't be drained: NAME.damaged can't be read, or not all of it; NAME.refused holds deliveries that the database refuses for what is in them. A file that can't be moved either is left where it is, as NAME, and serve tries again every few seconds. All of them hold deliveries that were answered 200. They hold back complete-through until they are retried or discarded.

Run these commands where the data directory is, as the user that serve runs as. serve may go on meanwhile, and notices within seconds.`
}

// spoolListCmd lists files.
type spoolListCmd struct {
	JSON bool `help:"Print JSON."`
	DataDirFlag
}

// Run prints one line per file, oldest first.
func (s *spoolListCmd) Run(call *invocation) error {
	_, dir, err := existingSpool(call)
	if err != nil {
		return err
	}
	files, err := spool.Files(dir)
	switch {
	case err != nil:
		return err
	case s.JSON:
		return writeJSON(call.stdout, files)
	case len(files) == 0:
		fmt.Fprintf(call.stderr, "No file was moved aside in %s.\n", dir)
		return nil
	}
	now := time.Now()
	rows := [][]string{{"NAME", "OLDEST POSSIBLE", "BYTES", "DELIVERIES", "UNREADABLE BYTES", "PROBLEM"}}
	for _, f := range files {
		rows = append(rows, []string{
			f.Name, when(now, f.OldestAt), strconv.FormatInt(f.Bytes, 10), strconv.Itoa(f.Records),
			strconv.FormatInt(f.UnreadableBytes, 10), fileProblem(f),
		})
	}
	return writeTable(call.stdout, rows)
}

// fileProblem says in a few words why the file was moved aside.
func fileProblem(f spool.File) string {
	switch {
	case f.Kind == spool.Stuck && f.Problem != "":
		return "could not be moved aside; " + plain(f.Problem)
	case f.Kind == spool.Stuck:
		return "could not be moved aside; see the log of serve"
	case f.Problem != "":
		return plain(f.Problem)
	case f.Kind == spool.Refused:
		return "refused by the database"
	case f.Bytes == 0:
		return "what it held is missing"
	case f.UnreadableBytes > 0:
		return "damaged, or a write that was cut off"
	}
	return "none any more"
}

// spoolShowCmd shows a file.
type spoolShowCmd struct {
	Name   string `arg:"" help:"The file's name, as spool list prints it."`
	Bodies bool   `help:"Show the deliveries' bodies too."`
	JSON   bool   `help:"Print JSON, bodies in base64."`
	DataDirFlag
}

// spooledDelivery is a delivery in a file.
type spooledDelivery struct {
	ReceivedAt time.Time `json:"received_at"`
	// Tenant is nil where it can't be read.
	Tenant *string `json:"context_identifier"`
	// Event is nil where the delivery could not be understood.
	Event     *string `json:"event"`
	ContactID *int64  `json:"primary_key"`
	Bytes     int     `json:"bytes"`
	// Refusal is why the inbox refused it, Invalid why it could not be understood.
	Refusal string `json:"refusal,omitempty"`
	Invalid string `json:"invalid,omitempty"`
	Body    []byte `json:"body,omitempty"`
}

// Run prints one line per delivery that can be read.
func (s *spoolShowCmd) Run(call *invocation) error {
	_, dir, err := existingSpool(call)
	if err != nil {
		return err
	}
	c, err := spool.Read(dir, s.Name)
	if err != nil {
		return err
	}
	deliveries := make([]spooledDelivery, len(c.Readable))
	for i, r := range c.Readable {
		deliveries[i] = describeSpooled(r, s.Bodies)
	}
	if s.JSON {
		return writeJSON(call.stdout, struct {
			spool.File
			Deliveries []spooledDelivery `json:"deliveries"`
		}{c.File, deliveries})
	}
	if err := writeSpooled(call.stdout, deliveries); err != nil {
		return err
	}
	if c.UnreadableBytes > 0 {
		fmt.Fprintf(call.stderr, "%s of %d can't be read as deliveries.\n", count(c.UnreadableBytes, "byte", "bytes"), c.Bytes)
	}
	if c.Problem != "" {
		fmt.Fprintf(call.stderr, "The file can't be read: %s.\n", plain(c.Problem))
	}
	return nil
}

func describeSpooled(r spool.Record, body bool) spooledDelivery {
	d := accept.Decode(r)
	shown := spooledDelivery{ReceivedAt: d.ReceivedAt, Tenant: r.Tenant, Bytes: len(d.Body), Refusal: r.Reason, Invalid: d.Reason}
	if d.Event != nil {
		shown.Event, shown.ContactID = &d.Event.Name, d.Event.PrimaryKey
	}
	if body {
		shown.Body = d.Body
	}
	return shown
}

func writeSpooled(w io.Writer, deliveries []spooledDelivery) error {
	now := time.Now()
	rows := [][]string{{"RECEIVED", "TENANT", "EVENT", "CONTACT", "BYTES", "REASON"}}
	for _, d := range deliveries {
		name, contact := "none", ""
		if d.Event != nil {
			name = plain(*d.Event)
		}
		if d.ContactID != nil {
			contact = strconv.FormatInt(*d.ContactID, 10)
		}
		var reasons []string
		for _, reason := range []string{d.Refusal, d.Invalid} {
			if reason != "" {
				reasons = append(reasons, plain(reason))
			}
		}
		rows = append(rows, []string{when(now, d.ReceivedAt), tenantName(d.Tenant), name, contact, strconv.Itoa(d.Bytes), strings.Join(reasons, "; ")})
	}
	if err := writeTable(w, rows); err != nil {
		return err
	}
	for _, d := range deliveries {
		if d.Body != nil {
			fmt.Fprintln(w)
			writeBody(w, d.Body)
		}
	}
	return nil
}

// spoolRetryCmd delivers files.
type spoolRetryCmd struct {
	Name []string `arg:"" optional:"" help:"The files' names, as spool list prints them."`
	All  bool     `help:"Retry every file."`
	DatabaseFlags
}

// Run delivers each file and says what came of it. One of which something is
// left fails the command, after the others.
func (s *spoolRetryCmd) Run(ctx context.Context, call *invocation) error {
	if s.All == (len(s.Name) > 0) {
		return misused("give the files' names, or --all")
	}
	config, dir, err := existingSpool(call)
	if err != nil {
		return err
	}
	names := s.Name
	if s.All {
		files, err := spool.Files(dir)
		if err != nil {
			return err
		}
		for _, f := range files {
			names = append(names, f.Name)
		}
	}
	return withWideMirror(ctx, config, call, inbox.Writers, func(pool *pgxpool.Pool) error {
		var outcome error
		for _, name := range names {
			done, err := accept.Redeliver(ctx, inbox.New(pool, func(...string) {}), dir, name)
			switch {
			case errors.Is(err, spool.ErrNotMovedAside):
				fmt.Fprintf(call.stderr, "contactmirror: %v\n", err)
			case errors.Is(err, spool.ErrChanged):
				fmt.Fprintf(call.stderr, "contactmirror: %s delivered, and nothing was removed: %v\n", count(int64(done.Delivered), "delivery", "deliveries"), err)
			case err != nil:
				return err
			default:
				fmt.Fprintln(call.stdout, name, redelivery(done))
			}
			if err != nil || done.Kept {
				outcome = errReported
			}
		}
		return outcome
	})
}

// redelivery says what came of a file.
func redelivery(r accept.Redelivery) string {
	text := count(int64(r.Delivered), "delivery", "deliveries") + " delivered"
	if r.Refused > 0 {
		text += fmt.Sprintf(", %d refused (%s)", r.Refused, plain(r.Reason))
	}
	if r.UnreadableBytes > 0 {
		text += fmt.Sprintf(", %s unreadable", count(r.UnreadableBytes, "byte", "bytes"))
	}
	switch {
	case r.Problem != "":
		return text + "; the file can't be read and is kept: " + plain(r.Problem)
	case r.Kept && r.Delivered+r.Refused == 0 && r.UnreadableBytes == 0:
		return text + "; what it held is missing: put a copy of it there, or run `contactmirror spool discard`"
	case r.Kept:
		return text + "; the file keeps what is left"
	}
	return text + "; the file is removed"
}

// spoolDiscardCmd deletes files.
type spoolDiscardCmd struct {
	Name []string `arg:"" help:"The files' names, as spool list prints them."`
	ConfirmFlags
	DatabaseFlags
}

// Help says what is lost.
func (spoolDiscardCmd) Help() string {
	return `The deliveries in these files were answered 200, and SuperOffice does not send them again. On a terminal it shows what it would delete and asks; elsewhere it needs --yes.

What is deleted is recorded in operator_actions first. While the database can't be reached, nothing is deleted.`
}

// Run shows what is in the files and asks, records them, and deletes each of them.
func (s *spoolDiscardCmd) Run(ctx context.Context, call *invocation) error {
	if err := s.check(call); err != nil {
		return err
	}
	config, dir, err := existingSpool(call)
	if err != nil {
		return err
	}
	var files []spool.File
	for i, name := range s.Name {
		if slices.Contains(s.Name[:i], name) {
			continue
		}
		c, readErr := spool.Read(dir, name)
		if readErr != nil {
			fmt.Fprintf(call.stderr, "contactmirror: %v\n", readErr)
			err = errReported
			continue
		}
		files = append(files, c.File)
	}
	if s.DryRun {
		for _, f := range files {
			writeDiscarded(call.stdout, "would be discarded", f)
		}
	}
	if s.DryRun || len(files) == 0 {
		return err
	}
	connected := false
	discardErr := withWideMirror(ctx, config, call, 2, func(pool *pgxpool.Pool) error {
		connected = true
		return s.discard(ctx, call, pool, dir, files)
	})
	switch {
	case discardErr == nil:
		return err
	case connected:
		return discardErr
	}
	return fmt.Errorf("nothing was discarded, because the database must record it first; run this again when the database is back: %w", discardErr)
}

// discard asks, records the files in operator_actions, and deletes them. The record
// comes first: a file that can't be deleted then is still listed, but one that was
// deleted without a record would leave no trace.
func (s *spoolDiscardCmd) discard(ctx context.Context, call *invocation, pool *pgxpool.Pool, dir string, files []spool.File) error {
	if !s.Yes {
		for _, f := range files {
			writeDiscarded(call.stderr, "would be discarded", f)
		}
	}
	if err := s.confirm(ctx, call, "These deliveries were answered 200, and SuperOffice does not send them again. This can't be undone."); err != nil {
		return err
	}
	err := operator.Record(ctx, pool, operator.Entry{Actor: call.actor(), Action: operator.DiscardSpool, Detail: operator.Detail{"files": files}})
	if err != nil {
		return fmt.Errorf("nothing was discarded, because it could not be recorded: %w", err)
	}
	var outcome error
	for i := range files {
		if err := spool.Discard(dir, &files[i]); err != nil {
			fmt.Fprintf(call.stderr, "contactmirror: %v\n", err)
			outcome = errReported
			continue
		}
		writeDiscarded(call.stdout, "discarded", files[i])
	}
	return outcome
}

func writeDiscarded(w io.Writer, did string, f spool.File) {
	fmt.Fprintf(w, "%s %s: %s and %s that can't be read\n", f.Name, did,
		count(int64(f.Records), "delivery", "deliveries"), count(f.UnreadableBytes, "byte", "bytes"))
	if f.Problem != "" {
		fmt.Fprintf(w, "%s can't be read, or not to its end: %s\n", f.Name, plain(f.Problem))
	}
}
