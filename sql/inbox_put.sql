-- Stores the events that are new, with their bodies, and queues those of
-- contacts; returns which ones (by their place in the arrays, from 1) were new.
-- The arrays must be sorted by dedupe key: two crossing inserts would deadlock.
with writer as materialized (
    -- Before any number is drawn: below the oldest transaction under way, numbers
    -- are final.
    select pg_current_xact_id() as xid
), given as materialized (
    -- In the select list, where it takes a tenth of the time of unnest in from.
    select generate_subscripts(@received_at::timestamptz[], 1)::bigint as place,
        unnest(@context_identifiers::text[]) as context_identifier, unnest(@event_ids::uuid[]) as event_id,
        unnest(@events::text[]) as event, unnest(@entities::text[]) as entity, unnest(@primary_keys::bigint[]) as primary_key,
        unnest(@occurred_at::timestamptz[]) as occurred_at, unnest(@occurred_ticks::bigint[]) as occurred_ticks,
        unnest(@received_at::timestamptz[]) as received_at, unnest(@keyless_sha256::bytea[]) as keyless_sha256,
        unnest(@bodies::bytea[]) as body, unnest(@shards::smallint[]) as shard
), incoming as materialized (
    select nextval('webhook_events_event_seq_seq') as event_seq, g.*
    from writer
    cross join given g
), keyless as materialized (
    -- Of an erased contact no hash of a body is kept.
    select i.*,
        case
            when i.primary_key is not null and contactmirror_is_of_contact(i.event, i.entity)
                and (select contactmirror_require_restored()) -- in a restore, erasures may still be missing
                and contactmirror_erased(i.context_identifier, i.primary_key, i.received_at)
            then contactmirror_envelope_key(i.context_identifier, i.event, i.entity, i.primary_key, i.occurred_ticks)
            else i.keyless_sha256
        end as kept_sha256
    from incoming i
    where i.keyless_sha256 is not null
), drawn as materialized (
    -- Numbers that the log is complete up to are taken, whether or not a row has them.
    select case when (select min(event_seq) from incoming) > noted_event_seq then true else contactmirror_number_taken('webhook_events') end as fine
    from log_horizon
    where id = 1
), stored as (
    -- The conflict names its key: a number that is taken is an error, no duplicate.
    insert into webhook_events (
        event_seq, context_identifier, event_id, event, entity, primary_key,
        occurred_at, occurred_ticks, received_at, ignored, keyless_sha256
    )
    select event_seq, context_identifier, event_id, event, entity, primary_key,
        occurred_at, occurred_ticks, received_at, shard is null, keyless_sha256
    from incoming
    where keyless_sha256 is null and (select fine from drawn)
    order by place
    on conflict (context_identifier, event_id, event, primary_key) do nothing
    returning event_seq
), stored_keyless as (
    insert into webhook_events (
        event_seq, context_identifier, event_id, event, entity, primary_key,
        occurred_at, occurred_ticks, received_at, ignored, keyless_sha256
    )
    select event_seq, context_identifier, event_id, event, entity, primary_key,
        occurred_at, occurred_ticks, received_at, shard is null, kept_sha256
    from keyless
    where (select fine from drawn)
    order by kept_sha256
    on conflict (keyless_sha256) where keyless_sha256 is not null do nothing
    returning event_seq
), new as materialized (
    -- "is true" keeps the subquery from becoming a join: it is hashed once,
    -- where a planner without statistics might pick a nested loop.
    select *
    from incoming
    where (event_seq in (select event_seq from stored union all select event_seq from stored_keyless)) is true
), bodies as (
    insert into webhook_bodies (event_seq, received_at, ignored, body)
    select event_seq, received_at, shard is null, body
    from new
    -- The worker strips what is queued; of an ignored event of an erased contact no
    -- body is kept.
    where shard is not null or not (
        primary_key is not null and contactmirror_is_of_contact(event, entity)
        and (select contactmirror_require_restored()) -- in a restore, erasures may still be missing
        and contactmirror_erased(context_identifier, primary_key, received_at)
    )
), queued as (
    insert into sync_queue (shard, context_identifier, event_seq, received_at, body_bytes)
    select shard, context_identifier, event_seq, received_at, octet_length(body) from new where shard is not null
), late as (
    insert into tenant_freshness as t (context_identifier, late_deliveries)
    select n.context_identifier, count(*)
    from new n
    where n.shard is not null
        -- One look for all; tenants only where it finds something.
        and n.received_at < (
            select greatest(f.complete_through, (select max(complete_through) from tenant_freshness))
            from freshness f
            where f.id = 1
        )
        and n.received_at < coalesce(
            (select r.complete_through from tenant_freshness r where r.context_identifier = n.context_identifier),
            (select f.complete_through from freshness f where f.id = 1)
        )
    group by n.context_identifier
    order by n.context_identifier
    on conflict (context_identifier) do update
    set late_deliveries = t.late_deliveries + excluded.late_deliveries
)
select place from new
