-- Notes deliveries of events that are stored already; returns how many it found. An
-- erasure locks the table, so this may wait for one and must see it then.
with noted as (
    insert into duplicate_deliveries (event_seq, received_at, retry, body_sha256)
    select e.event_seq, d.received_at, d.retry,
        -- In a restore, erasures may still be missing.
        case when (select contactmirror_require_restored()) then contactmirror_hash_kept(d.context_identifier, d.primary_key, d.received_at, d.body_sha256) end
    from unnest(
        @context_identifiers::text[], @event_ids::uuid[], @events::text[], @entities::text[], @primary_keys::bigint[],
        @occurred_ticks::bigint[], @keyless_sha256::bytea[], @received_at::timestamptz[], @retries::integer[], @body_sha256::bytea[]
    ) as d (
        context_identifier, event_id, event, entity, primary_key,
        occurred_ticks, keyless_sha256, received_at, retry, body_sha256
    )
    cross join lateral (
        select w.event_seq
        from webhook_events w
        where w.context_identifier = d.context_identifier and w.event_id = d.event_id
            and w.event = d.event and w.primary_key = d.primary_key
        union all
        select w.event_seq
        from webhook_events w
        where w.keyless_sha256 = d.keyless_sha256
        union all
        select w.event_seq
        from webhook_events w
        where d.keyless_sha256 is not null -- of an erased contact
            and w.keyless_sha256 = contactmirror_envelope_key(d.context_identifier, d.event, d.entity, d.primary_key, d.occurred_ticks)
        limit 1
    ) e
    where (select contactmirror_require_read_committed())
    returning 1
)
select count(*) from noted
