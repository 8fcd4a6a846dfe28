package pg

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// checkSettings names the settings of a session that have a value other than the
// needed one. Each changes what is sent or read as text, which
// default_query_exec_mode=exec does with most values, or what a literal means. The
// database and the role can have any value as a default, and a pooler refuses to set
// most of them for one client.
const checkSettings = `select coalesce(string_agg(format('%s = %s is needed, not %s', name, needed, current_setting(name)), '; '), '')
from (values
    ('array_nulls', 'on', 'on'),
    ('bytea_output', 'hex', 'hex'),
    ('client_encoding', 'UTF8', 'UTF8'),
    ('DateStyle', 'ISO', 'ISO,%'),
    ('standard_conforming_strings', 'on', 'on')
) as s (name, needed, pattern)
where current_setting(name) not ilike pattern`

// SettingsError tells that a session has settings in which values would be stored or
// read wrong. No statement is run in it.
type SettingsError struct {
	// Settings is which ones, with the values that are needed.
	Settings string
}

func (e *SettingsError) Error() string {
	return fmt.Sprintf("the defaults of the database or the role change how values are read and written: %s; set them by alter database … set, or alter role … set", e.Settings)
}

// check returns a [*SettingsError] where the session's settings are not the needed
// ones.
func check(ctx context.Context, conn *pgx.Conn) error {
	results, err := conn.PgConn().Exec(ctx, checkSettings).ReadAll() // the only way that works in all of them
	switch {
	case err != nil:
		return fmt.Errorf("check the session's settings: %w", err)
	case len(results) != 1 || len(results[0].Rows) != 1:
		return fmt.Errorf("check the session's settings: no answer")
	}
	if wrong := string(results[0].Rows[0][0]); wrong != "" {
		return &SettingsError{wrong}
	}
	return nil
}
