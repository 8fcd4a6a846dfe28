-- How much there is of everything that belongs to no one tenant's account.
with live_processes as (
    select roles
    from processes
    where heartbeat_at >= now() - interval '30 seconds' and database_identity = contactmirror_database_identity()
)
select
    (select count(*) from contacts) as contacts,
    (select count(*) from contacts where soft_deleted) as soft_deleted,
    (select count(*) from contact_tombstones) as hard_deleted,
    (select count(*) from contacts where cardinality(pending_columns) > 0) as pending,
    (select count(*) from duplicate_deliveries) as duplicates,
    (select count(*) from quarantined_deliveries where resolved_at is null and event_seq is null) as open_deliveries,
    (select count(*) from quarantined_deliveries where resolved_at is null and event_seq is not null) as open_events,
    (select min(received_at) from quarantined_deliveries where resolved_at is null) as oldest_open_at,
    (select received_at from webhook_events order by event_seq desc limit 1) as newest_event_at,
    (
        select least(f.complete_through, (select min(t.complete_through) from tenant_freshness t))
        from freshness f
        where f.id = 1
    ) as complete_through,
    (select advanced_at from freshness where id = 1) as complete_through_as_of,
    array(
        select first.holder
        from (
            -- Of the queue and of the entries in quarantine only the oldest.
            select distinct on (place, process) holder, since
            from mirror_holding
            order by place, process, since, holder
        ) first
        order by first.since, first.holder
    ) as held_by,
    (select count(*) from live_processes where 'receive' = any (roles)) as receivers_alive,
    (select count(*) from live_processes where 'sync' = any (roles)) as workers_alive,
    contactmirror_database_identity() as database_identity,
    now() as now
