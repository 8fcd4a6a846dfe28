package migrations

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"contactmirror/internal/operator"
)

// right is what the two kinds of roles may do with a relation, or a function.
type right struct {
	relation           string
	service, reporting string
}

// rights is all that either kind may do. The service has what its statements
// need and no more: it can't change or remove what was accepted, logged or
// quarantined, nor choose the numbers of rows: columns that a sequence numbers are
// left out, or, in the two logs, triggers see that numbers were drawn. Reporting reads everything but what may hold more than the mirror
// does: raw bodies, quarantine, and how webhook secrets are used. A
// relation that is in no list is nobody's but the owner's.
var rights = []right{
	{"webhook_events", "select, insert", "select"},
	{"webhook_bodies", "select, insert", ""},
	{"body_partitions", "select", "select"},
	{"duplicate_deliveries", "select, insert (event_seq, received_at, retry, body_sha256)", "select"},
	{"quarantined_deliveries", "select, insert (received_at, reason, context_identifier, vouched_for, vouched_except, event_seq, headers, signatures, verified, body, body_sha256, " +
		"deliveries, attempts, resolved_at, resolution, bytes_removed_at), update (reason, signatures, verified, deliveries, attempts, resolved_at, resolution)", ""},
	{"sync_queue", "select, insert, delete", "select"},
	{"sync_shards", "select, update (audit_count, audit_head, audit_seq, audit_signatures, audit_break)", "select"},
	{"contacts", "select, insert, update, delete", "select"},
	{"contact_tombstones", "select, insert, update (deleted_at, event_seq, occurred_ticks, event_id)", "select"},
	{"contact_audit_log", "select, insert", "select"},
	{"audit_adoptions", "select", "select"},
	{"contact_columns", "select", "select"},
	{"erasures", "select", "select"},
	{"event_accounting", "select", "select"},
	{"sealed_accounts", "select", "select"},
	{"accounting_seal", "select", "select"},
	{"log_horizon", "select", "select"},
	{"contact_timeline", "select", "select"},
	{"contact_changes", "select", "select"},
	{"contact_history", "select", "select"},
	{"deleted_contacts", "select", "select"},
	{"restorable_contacts", "select", "select"},
	{"pending_contacts", "select", "select"},
	{"mirror_waiting", "select", "select"},
	{"mirror_holding", "select", "select"},
	{"mirror_freshness", "select", "select"},
	{"processes", "select, insert, update, delete", "select"},
	{"process_secrets", "select, insert, update, delete", ""},
	{"freshness", "select, insert, update", "select"},
	{"tenant_freshness", "select, insert, update, delete", "select"},
	{"operator_actions", "select, insert (actor, action, context_identifier, contact_id, detail)", "select"},
	{"schema_roles", "", ""},
	{"goose_db_version", "select", "select"},
}

// functions are those that do for the service, as the owner, what it may not do
// itself, each of which guards what it does; and those that act as whoever calls
// them. What the settling ones write follows from the logs, however often they are
// called.
var functions = []right{
	{"advance_log_horizon()", "execute", ""},
	{"seal_accounts(integer)", "execute", ""},
	{"contactmirror_advance_sequences()", "execute", ""},
	{"contactmirror_number_taken(text)", "execute", ""},
	{"contactmirror_require_drawn()", "execute", ""},
	{"contactmirror_unsealed_events()", "execute", "execute"},
	{"contactmirror_unsealed_outcomes()", "execute", "execute"},
	{"contactmirror_database_identity()", "execute", "execute"},
	{"contactmirror_vouched(text, text[], text[])", "execute", "execute"},
	{"contactmirror_advance_freshness()", "execute", ""},
	{"contactmirror_require_restored(boolean)", "execute", ""},
	{"contactmirror_require_read_committed()", "execute", ""},
	{"changes_since(bigint, integer)", "execute", "execute"},
	{"changes_cursor(bigint)", "execute", "execute"},
	{"changes_held(text)", "execute", "execute"},
	{"contactmirror_bodies(bigint[], timestamptz, timestamptz)", "execute", ""},
	{"contactmirror_extend_bodies()", "execute", ""},
	{"contactmirror_drop_bodies(text, timestamptz, boolean)", "execute", ""},
	{"contactmirror_delete_bodies(text, timestamptz, bigint, integer, boolean)", "execute", ""},
	{"contactmirror_prune_quarantine(timestamptz, bigint, integer, boolean)", "execute", ""},
	{"contactmirror_erased(text, bigint, timestamptz)", "execute", ""},
	{"contactmirror_strip_events(bigint[])", "execute", ""},
	{"contactmirror_redact_event(bigint, bytea)", "execute", ""},
	{"contactmirror_strip_delivery(bigint, text, bigint)", "execute", ""},
}

// sequences are those that number the rows which the service inserts.
const sequences = "webhook_events_event_seq_seq, duplicate_deliveries_duplicate_seq_seq, quarantined_deliveries_quarantine_seq_seq, contact_audit_log_audit_seq_seq, operator_actions_action_seq_seq"

// Roles are the roles to let in. An empty Reporting is none.
type Roles struct {
	Service, Reporting string
	// Actor is who lets them in.
	Actor operator.Actor
	// Create makes those that do not exist. Nobody can log in as them until the
	// owner says otherwise.
	Create bool
}

// MissingRoleError tells that a role does not exist and was not to be made.
type MissingRoleError struct{ Role string }

func (e *MissingRoleError) Error() string { return fmt.Sprintf("the role %s does not exist", e.Role) }

// Granted is what [Grant] has done with a role.
type Granted struct {
	Role, Kind string
	Created    bool
	// Warnings say what keeps the role from being as weak, or as able, as meant.
	Warnings []string
}

// Grant gives the roles what they need on the schema of the database at url,
// takes from them what they should not have there, and remembers them, so that
// [Up] keeps them working. It all happens or nothing does. It is to be run as
// the owner, on the schema version of this build, and may be repeated.
func Grant(ctx context.Context, url string, roles Roles) (done []Granted, err error) {
	if roles.Service == roles.Reporting {
		return nil, fmt.Errorf("migrations: grants: %s can't be the service's role and the reporting role", roles.Service)
	}
	err = asOwner(ctx, url, func(tx pgx.Tx) error {
		if err := Check(ctx, tx); err != nil {
			return err
		}
		for kind, role := range roles.each() {
			granted, err := letIn(ctx, tx, kind, role, roles.Create)
			if err != nil {
				return err
			}
			done = append(done, granted)
		}
		return operator.Record(ctx, tx, operator.Entry{
			Actor: roles.Actor, Action: operator.Grant, Detail: operator.Detail{"service": roles.Service, "reporting": roles.Reporting},
		})
	})
	if err != nil {
		return nil, fmt.Errorf("migrations: grants: %w", err)
	}
	return done, nil
}

// each yields the roles with their kinds.
func (r Roles) each() func(yield func(kind, role string) bool) {
	return func(yield func(kind, role string) bool) {
		if yield("service", r.Service) && r.Reporting != "" {
			yield("reporting", r.Reporting)
		}
	}
}

func letIn(ctx context.Context, tx pgx.Tx, kind, role string, create bool) (Granted, error) {
	granted := Granted{Role: role, Kind: kind}
	state, err := lookAt(ctx, tx, role)
	switch {
	case err != nil:
		return granted, err
	case state.Owner:
		return granted, fmt.Errorf("%s owns the tables, so nothing can be kept from it: give the %s a role of its own", role, kind)
	case !state.Exists && !create:
		return granted, &MissingRoleError{role}
	case !state.Exists:
		if _, err := tx.Exec(ctx, "create role "+pgx.Identifier{role}.Sanitize()+" nologin"); err != nil {
			return granted, err
		}
		granted.Created = true
	}
	if err := grant(ctx, tx, kind, role); err != nil {
		return granted, err
	}
	if state, err = lookAt(ctx, tx, role); err != nil {
		return granted, err
	}
	granted.Warnings = state.warnings()
	return granted, nil
}

// grant gives role what its kind may do, and nothing else.
func grant(ctx context.Context, tx pgx.Tx, kind, role string) error {
	name := pgx.Identifier{role}.Sanitize()
	var database, schema string
	const where = "select current_database(), nspname from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.oid = 'webhook_events'::regclass"
	if err := tx.QueryRow(ctx, where).Scan(&database, &schema); err != nil {
		return err
	}
	statements := []string{
		// Where the owner may not give these away, everybody has them or a warning says so.
		"grant connect on database " + pgx.Identifier{database}.Sanitize() + " to " + name,
		"grant usage on schema " + pgx.Identifier{schema}.Sanitize() + " to " + name,
		"revoke all on sequence " + sequences + " from " + name,
	}
	if kind == "service" {
		statements = append(statements, "grant usage on sequence "+sequences+" to "+name)
	}
	for _, f := range functions {
		statements = append(statements, "revoke all on function "+f.relation+" from "+name)
		if privileges := f.of(kind); privileges != "" {
			statements = append(statements, "grant "+privileges+" on function "+f.relation+" to "+name)
		}
	}
	for _, r := range rights {
		statements = append(statements, "revoke all on "+r.relation+" from "+name)
		if privileges := r.of(kind); privileges != "" {
			statements = append(statements, "grant "+privileges+" on "+r.relation+" to "+name)
		}
	}
	if _, err := tx.Exec(ctx, strings.Join(statements, ";\n")); err != nil {
		return fmt.Errorf("%s: %w", role, err)
	}
	_, err := tx.Exec(ctx, `insert into schema_roles (role_name, kind) values ($1, $2)
		on conflict (role_name) do update set kind = excluded.kind`, role, kind)
	return err
}

func (r right) of(kind string) string {
	if kind == "service" {
		return r.service
	}
	return r.reporting
}

// roleState is what is known of a role that may or may not exist.
type roleState struct {
	Exists    bool
	Owner     bool // it is the tables' owner
	Member    bool // it may act as the tables' owner
	Superuser bool
	Login     bool
	Connect   bool
	Usage     bool
	Create    bool
}

func lookAt(ctx context.Context, tx pgx.Tx, role string) (roleState, error) {
	rows, _ := tx.Query(ctx, `
		select r.oid is not null as exists,
			coalesce(r.oid = c.relowner, false) as owner,
			coalesce(pg_has_role(r.oid, c.relowner, 'member'), false) as member,
			coalesce(r.rolsuper, false) as superuser,
			coalesce(r.rolcanlogin, false) as login,
			coalesce(has_database_privilege(r.oid, current_database(), 'connect'), false) as connect,
			coalesce(has_schema_privilege(r.oid, c.relnamespace, 'usage'), false) as usage,
			coalesce(has_schema_privilege(r.oid, c.relnamespace, 'create'), false) as create
		from pg_class c
		left join pg_roles r on r.rolname = $1
		where c.oid = 'webhook_events'::regclass`, role) // CollectExactlyOneRow returns its error
	state, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[roleState])
	if err != nil {
		return roleState{}, fmt.Errorf("look at the role %s: %w", role, err)
	}
	return state, nil
}

func (s roleState) warnings() []string {
	var list []string
	for _, w := range []struct {
		holds bool
		text  string
	}{
		{s.Superuser, "is a superuser, so nothing is kept from it"},
		{s.Member && !s.Superuser, "is a member of the tables' owner, so nothing is kept from it"},
		{!s.Connect, "may not connect to the database: the database's owner must grant that"},
		{!s.Usage, "may not use the schema: the schema's owner must grant usage on it"},
		{s.Create && !s.Superuser && !s.Member, "may make objects in the schema, as everybody may: revoke create on schema … from public"},
		{!s.Login, "can't log in: alter role … login password '…', or grant the role to one that can"},
	} {
		if w.holds {
			list = append(list, w.text)
		}
	}
	return list
}

// grantAgain gives the roles that were let in what they need since the last
// migration. Those that have been shut out or dropped since are left alone, and
// so is the schema of a newer build. Default privileges would do for tables that
// everybody may read, and give away those that nobody should.
func grantAgain(ctx context.Context, url string) error {
	err := asOwner(ctx, url, func(tx pgx.Tx) error {
		var newer *VersionError
		if err := Check(ctx, tx); errors.As(err, &newer) {
			return nil
		} else if err != nil {
			return err
		}
		rows, _ := tx.Query(ctx, `
			select s.kind, s.role_name
			from schema_roles s
			join pg_roles r on r.rolname = s.role_name
			where has_table_privilege(r.oid, 'contacts', 'select')
			order by s.role_name`) // CollectRows returns its error
		known, err := pgx.CollectRows(rows, pgx.RowToStructByPos[struct{ Kind, Role string }])
		if err != nil {
			return err
		}
		for _, k := range known {
			if err := grant(ctx, tx, k.Kind, k.Role); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("migrations: repeat the grants: %w", err)
	}
	return nil
}

// grantLock keeps grants of several processes apart: they write the same rows
// of the catalog. It ends with the transaction, so poolers do no harm.
const grantLock = 0x636d6772616e74 // "cmgrant"

// asOwner runs do in a transaction of its own on the database at url.
func asOwner(ctx context.Context, url string, do func(tx pgx.Tx) error) (err error) {
	config, err := pgxpool.ParseConfig(url) // takes pool_… parameters out, as in with
	if err != nil {
		return err
	}
	conn, err := pgx.ConnectConfig(ctx, config.ConnConfig)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close(context.WithoutCancel(ctx))) }()
	return pgx.BeginTxFunc(ctx, conn, pgx.TxOptions{IsoLevel: pgx.ReadCommitted}, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "select pg_advisory_xact_lock($1)", int64(grantLock)); err != nil {
			return err
		}
		return do(tx)
	})
}
