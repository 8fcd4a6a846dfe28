package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"contactmirror/migrations"
)

// migrateCmd is the schema's commands.
type migrateCmd struct {
	Up     migrateUpCmd     `cmd:"" help:"Run the migrations that are missing."`
	Down   migrateDownCmd   `cmd:"" help:"Take migrations back; refuses while events are stored."`
	Status migrateStatusCmd `cmd:"" help:"List the migrations and when each was run."`
	Grants migrateGrantsCmd `cmd:"" help:"Let the service and reports in, each as a role that can do no more than it needs."`

	Publication migratePublicationCmd `cmd:"" help:"Publish contacts, tombstones and audit log for logical replication."`
}

// migrateUpCmd brings the schema to this build's version.
type migrateUpCmd struct {
	DatabaseFlags
	MigrateFlag
}

// Run migrates up. It is an error when the schema then is not the one this
// build needs: a newer build has been here.
func (m *migrateUpCmd) Run(ctx context.Context, call *invocation) error {
	return withSchema(ctx, call, func(url string) error {
		ran, err := migrations.Up(ctx, url)
		printMigrations(call, ran)
		if err == nil {
			err = checkSchema(ctx, url)
		}
		if err == nil {
			fmt.Fprintf(call.stderr, "The schema is at version %d.\n", migrations.Version)
		}
		return err
	})
}

// migrateDownCmd takes migrations back.
type migrateDownCmd struct {
	To          *int64 `placeholder:"N" help:"The version to go back to; 0 drops everything. Default is one back."`
	DestroyData bool   `help:"Go back even where that destroys stored events."`
	DatabaseFlags
	MigrateFlag
}

// Run migrates down.
func (m *migrateDownCmd) Run(ctx context.Context, call *invocation) error {
	if m.To != nil && (*m.To < 0 || *m.To > migrations.Version) {
		return misused("--to: %d: allowed: 0 to %d", *m.To, migrations.Version)
	}
	return withSchema(ctx, call, func(url string) error {
		to, err := m.target(ctx, url)
		if err != nil {
			return err
		}
		ran, err := migrations.Down(ctx, url, to, m.DestroyData)
		printMigrations(call, ran)
		if errors.Is(err, migrations.ErrHoldsEvents) {
			return fmt.Errorf("%w; to do so nevertheless, add --destroy-data", migrations.ErrHoldsEvents)
		}
		if err == nil {
			fmt.Fprintf(call.stderr, "The schema is at version %d.\n", to)
		}
		return err
	})
}

// target is the version to go back to.
func (m *migrateDownCmd) target(ctx context.Context, url string) (int64, error) {
	if m.To != nil {
		return *m.To, nil
	}
	list, err := migrations.List(ctx, url)
	if err != nil {
		return 0, err
	}
	var applied []int64
	for _, s := range list {
		if s.AppliedAt.Valid {
			applied = append(applied, s.Version)
		}
	}
	if len(applied) < 2 {
		return 0, nil
	}
	return applied[len(applied)-2], nil
}

// migrateStatusCmd lists the migrations.
type migrateStatusCmd struct {
	JSON bool `help:"Print JSON."`
	DatabaseFlags
	MigrateFlag
}

// Run lists every migration of this build.
func (m *migrateStatusCmd) Run(ctx context.Context, call *invocation) error {
	return withSchema(ctx, call, func(url string) error {
		list, err := migrations.List(ctx, url)
		if err != nil {
			return err
		}
		type row struct {
			Version   int64      `json:"version"`
			Name      string     `json:"name"`
			AppliedAt *time.Time `json:"applied_at"`
		}
		rows := make([]row, len(list))
		table := [][]string{{"VERSION", "NAME", "APPLIED"}}
		for i, s := range list {
			rows[i] = row{Version: s.Version, Name: s.Name}
			applied := "no"
			if s.AppliedAt.Valid {
				rows[i].AppliedAt = &s.AppliedAt.Time
				applied = s.AppliedAt.Time.Local().Format("2006-01-02 15:04:05 MST")
			}
			table = append(table, []string{strconv.FormatInt(s.Version, 10), s.Name, applied})
		}
		if m.JSON {
			return writeJSON(call.stdout, rows)
		}
		return writeTable(call.stdout, table)
	})
}

// withSchema calls do with the database URL of the schema's owner.
func withSchema(ctx context.Context, call *invocation, do func(url string) error) error {
	config, err := call.config()
	if err != nil {
		return err
	}
	if !config.Embedded() {
		return do(config.MigrateURL)
	}
	return withDatabase(ctx, config, call, do)
}

func checkSchema(ctx context.Context, url string) (err error) {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return fmt.Errorf("check the schema version: %w", err)
	}
	defer func() { err = errors.Join(err, conn.Close(context.WithoutCancel(ctx))) }()
	return migrations.Check(ctx, conn)
}

func printMigrations(call *invocation, ran []migrations.Result) {
	for _, r := range ran {
		fmt.Fprintln(call.stdout, r.Direction, r.Name)
	}
}
