-- Stores the events that are new, with their bodies, and queues those of
-- contacts; returns which ones (by their place in the arrays, from 1) were new.
-- The arrays must be sorted by dedupe key: two crossing inserts would deadlock.
with incoming as materialized (
    select nextval('webhook_events_event_seq_seq') as event_seq, i.*
    from unnest(
        @context_identifiers::text[], @event_ids::uuid[], @events::text[], @entities::text[], @primary_keys::bigint[],
        @occurred_at::timestamptz[], @occurred_ticks::bigint[], @received_at::timestamptz[], @keyless_sha256::bytea[],
        @bodies::bytea[], @shards::smallint[]
    ) with ordinality as i (
        context_identifier, event_id, event, entity, primary_key,
        occurred_at, occurred_ticks, received_at, keyless_sha256,
        body, shard, place
    )
), stored as (
    insert into webhook_events (
        event_seq, context_identifier, event_id, event, entity, primary_key,
        occurred_at, occurred_ticks, received_at, ignored, keyless_sha256
    )
    select event_seq, context_identifier, event_id, event, entity, primary_key,
        occurred_at, occurred_ticks, received_at, shard is null, keyless_sha256
    from incoming
    order by place
    on conflict do nothing
    returning event_seq
), new as materialized (
    -- "is true" keeps the subquery from becoming a join: it is hashed once,
    -- where a planner without statistics might pick a nested loop.
    select * from incoming where (event_seq in (select event_seq from stored)) is true
), bodies as (
    insert into webhook_bodies (event_seq, body)
    select event_seq, body from new
), queued as (
    insert into sync_queue (shard, context_identifier, event_seq)
    select shard, context_identifier, event_seq from new where shard is not null
)
select place from new
