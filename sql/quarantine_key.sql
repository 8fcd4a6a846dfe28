-- The contact that a quarantined event is about.
select e.context_identifier, e.primary_key
from quarantined_deliveries q
join webhook_events e on e.event_seq = q.event_seq
where q.quarantine_seq = @quarantine_seq::bigint
