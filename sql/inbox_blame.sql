-- Quarantines an event that could not be applied, and is in no queue any more.
insert into quarantined_deliveries (received_at, reason, context_identifier, event_seq, body, body_sha256)
select e.received_at, @reason::text, e.context_identifier, e.event_seq, coalesce(b.body, ''), sha256(coalesce(b.body, ''))
from webhook_events e
left join webhook_bodies b
    on b.event_seq = @event_seq::bigint and b.received_at = @received_at::timestamptz and not b.ignored -- reads one partition
where e.event_seq = @event_seq::bigint
on conflict (event_seq) where event_seq is not null do update
set reason = excluded.reason, attempts = quarantined_deliveries.attempts + 1, resolved_at = null, resolution = null
