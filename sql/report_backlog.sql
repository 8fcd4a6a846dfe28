-- How much waits, at a price that does not grow with it: up to @limit rows are counted.
select
    -- Above that the server's own estimate is taken.
    case when q.counted < @limit::bigint then q.counted else greatest(q.counted, s.n_live_tup) end as queued,
    (select e.received_at from webhook_events e where e.event_seq = q.oldest) as oldest_queued_at,
    d.deliveries as open_deliveries,
    d.events as open_events,
    (
        select noted_at
        from log_horizon
        where id = 1 and (noted_event_seq, noted_audit_seq) <> (event_seq, audit_seq)
    ) as horizon_waits_since,
    (select count(*) from sync_shards where audit_break is not null) as broken_chains
from (
    select count(*) as counted, min(event_seq) as oldest
    from (select event_seq from sync_queue limit @limit::bigint) first
) q
cross join (
    select count(*) - count(event_seq) as deliveries, count(event_seq) as events
    from (select event_seq from quarantined_deliveries where resolved_at is null limit @limit::bigint) first
) d
cross join (
    select coalesce(max(n_live_tup), 0) as n_live_tup
    from pg_stat_user_tables
    where relid = 'sync_queue'::regclass
) s
