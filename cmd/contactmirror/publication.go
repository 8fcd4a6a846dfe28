package main

import (
	"context"
	"fmt"
	"strings"

	"contactmirror/migrations"
)

// migratePublicationCmd lets other PostgreSQL servers follow the mirror.
type migratePublicationCmd struct {
	Name string `arg:"" help:"The publication, such as contactmirror."`
	DatabaseFlags
	MigrateFlag
}

// Run publishes, and says how to subscribe.
func (m *migratePublicationCmd) Run(ctx context.Context, call *invocation) error {
	if m.Name == "" {
		return misused("NAME: give the publication a name")
	}
	return withSchema(ctx, call, func(url string) error {
		done, err := migrations.Publish(ctx, url, m.Name, call.actor())
		if err != nil {
			return err
		}
		became := ""
		switch {
		case done.Created:
			became = ", new"
		case done.Altered:
			became = ", brought up to date"
		}
		fmt.Fprintf(call.stdout, "publication %s of %s%s\n", plain(m.Name), strings.Join(done.Tables, ", "), became)
		for _, warning := range done.Warnings {
			fmt.Fprintln(call.stderr, warning)
		}
		fmt.Fprintln(call.stderr, "A subscriber makes the tables with `contactmirror migrate up` and then runs: create subscription … connection '…' publication …")
		fmt.Fprintln(call.stderr, "It connects as a role that may select from the tables and has the attribute replication.")
		return nil
	})
}
