-- The contact that a quarantined event is about, and whether its body is kept.
select e.context_identifier, e.primary_key, exists (select from webhook_bodies b where b.event_seq = e.event_seq) as has_body
from quarantined_deliveries q
join webhook_events e on e.event_seq = q.event_seq
where q.quarantine_seq = @quarantine_seq::bigint
