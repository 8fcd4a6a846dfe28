-- How much there is of everything that belongs to no one tenant's account.
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
    least(now(), (select min(since) from mirror_waiting)) as complete_through,
    now() as now
