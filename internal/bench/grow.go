package bench

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5/pgxpool"
)

// growStep is how many rows a statement makes, so that an end can be asked for.
const growStep = 500_000

// Grow fills the tables as if traffic's first n contacts had been created, and
// each event been applied: rows in contacts, webhook_events with bodies, and
// contact_audit_log. It is done in SQL, without the worker, and the links of the
// audit rows are zeros, which verify would not accept. t's events go on with number 1,
// and the chains with the next contact's.
func Grow(ctx context.Context, pool *pgxpool.Pool, t *Traffic, n int) error {
	const statement = `
with made as materialized (
    select c as id, $1::text as tenant, $2::timestamptz as at, (extract(epoch from $2::timestamptz) * 10000000)::bigint + c % 1000000 as ticks,
        md5($1 || c)::uuid as event_id, nextval('webhook_events_event_seq_seq') as seq
    from (select pg_current_xact_id() offset 0) writer -- before a number is drawn
    cross join generate_series($3::bigint, $4::bigint) c
), events as (
    insert into webhook_events (event_seq, context_identifier, event_id, event, entity, primary_key, occurred_at, occurred_ticks, received_at, ignored)
    select seq, tenant, event_id, 'contact.created', 'contact', id, at, ticks, at, false from made
), bodies as (
    insert into webhook_bodies (event_seq, received_at, ignored, body)
    select seq, at, false, decode(repeat(md5(id::text), 40), 'hex') from made
), rows as (
    insert into contacts (context_identifier, contact_id, associate_id, country_id, business_idx, category_idx, registered_associate_id,
        userdef_id, userdef2_id, source, active_interests, deleted, registered, updated, soft_deleted, pending_columns,
        last_event, last_event_id, last_event_at, last_event_ticks, last_changed_by_associate_id, first_seen_at, mirrored_at)
    select tenant, id, id % 97, 578, id % 11, 1, 5, id, 0, 0, 0, 0, at, at, false,
        '{name,department,number1,number2,text_id,org_nr,sound_ex,updated_count,group_id,updated_associate_id}',
        'contact.created', event_id, at, ticks, id % 97, at, at
    from made
)
insert into contact_audit_log (event_seq, shard, context_identifier, contact_id, event, event_id, occurred_at, occurred_ticks, received_at, recorded_at,
    changed_columns, field_values, unreadable_columns, soft_deleted, hard_deleted, outcome, effect, given_columns, changed_by_associate_id, webhook_name, origin, chain_seq, chain, salt)
select seq, id % 32, tenant, id, 'contact.created', event_id, at, ticks, at, at,
    '{contact_id,name,department,number1,number2,text_id,orgNr,soundEx,updatedCount,group_id,updated,updated_associate_id}',
    jsonb_build_object('source', 0, 'deleted', 0, 'updated', at, 'country_id', 578, 'userdef_id', id, 'associate_id', id % 97, 'business_idx', id % 11),
    '{}', false, false, 'applied', 'upserted', 0, id % 97, 'contact mirror', 'webhook', id, decode(repeat('00', 36), 'hex'), uuid_send(event_id)
from made`
	for from := 1; from <= n; from += growStep {
		to := min(n, from+growStep-1)
		if _, err := pool.Exec(ctx, statement, t.Tenant, t.Start, t.First+int64(from), t.First+int64(to)); err != nil {
			return fmt.Errorf("bench: grow to %d contacts: %w", to, err)
		}
	}
	const heads = `update sync_shards set audit_count = $1, audit_head = decode(repeat('00', 36), 'hex'),
			audit_seq = (select max(audit_seq) from contact_audit_log)
		where audit_count < $1`
	if _, err := pool.Exec(ctx, heads, t.First+int64(n)); err != nil {
		return fmt.Errorf("bench: grow: move the heads of the chains: %w", err)
	}
	return nil
}
