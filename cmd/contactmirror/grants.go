package main

import (
	"context"
	"errors"
	"fmt"

	"contactmirror/migrations"
)

// migrateGrantsCmd lets the service and reports in, as roles that can do no
// more than they need.
type migrateGrantsCmd struct {
	Service   string `default:"contactmirror_service" placeholder:"ROLE" help:"Role that serve and the other commands use; default contactmirror_service."`
	Reporting string `default:"contactmirror_reporting" placeholder:"ROLE" help:"Role for reports, which sees no bodies, quarantine or secrets; default contactmirror_reporting, empty for none."`
	Create    bool   `help:"Make roles that do not exist, without the right to log in."`
	DatabaseFlags
	MigrateFlag
}

// Run grants, and says what is left to do.
func (m *migrateGrantsCmd) Run(ctx context.Context, call *invocation) error {
	if m.Service == "" || m.Service == m.Reporting {
		return misused("--service: %q: give a role of its own", m.Service)
	}
	return withSchema(ctx, call, func(url string) error {
		done, err := migrations.Grant(ctx, url, migrations.Roles{Service: m.Service, Reporting: m.Reporting, Actor: call.actor(), Create: m.Create})
		var missing *migrations.MissingRoleError
		if errors.As(err, &missing) {
			return fmt.Errorf("%w: make it, or add --create; nothing was granted", missing)
		}
		if err != nil {
			return err
		}
		for _, g := range done {
			made := ""
			if g.Created {
				made = ", a new role"
			}
			fmt.Fprintf(call.stdout, "%s %s%s\n", g.Kind, plain(g.Role), made)
			for _, warning := range g.Warnings {
				fmt.Fprintf(call.stderr, "%s %s\n", plain(g.Role), warning)
			}
		}
		return nil
	})
}
