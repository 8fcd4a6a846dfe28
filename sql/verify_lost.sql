-- Accepted contact events that have no outcome and wait nowhere: how many, and some of them.
select e.event_seq, e.context_identifier, e.primary_key as contact_id, count(*) over () as total
from webhook_events e
where not e.ignored
    and (@context_identifier::text is null or e.context_identifier = @context_identifier::text)
    and not exists (select from contact_audit_log a where a.event_seq = e.event_seq)
    and not exists (select from sync_queue q where q.event_seq = e.event_seq)
    and not exists (
        select from quarantined_deliveries d
        where d.event_seq = e.event_seq and d.resolution is distinct from 'retried'
    )
order by e.event_seq
limit @some::integer
