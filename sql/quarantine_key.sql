-- The contact that a quarantined event is about, and whether its body is kept.
select e.context_identifier, e.primary_key,
    exists (
        select
        from webhook_bodies b
        where b.event_seq = e.event_seq and b.received_at = e.received_at and not b.ignored
        offset 0 -- stays a subquery, and so reads one partition
    ) as has_body
from quarantined_deliveries q
join webhook_events e on e.event_seq = q.event_seq
where q.quarantine_seq = @quarantine_seq::bigint
