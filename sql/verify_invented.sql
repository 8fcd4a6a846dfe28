-- Audit rows of events that were never accepted: how many, and some of them.
select a.audit_seq, a.event_seq, a.context_identifier, a.contact_id, count(*) over () as total
from contact_audit_log a
where a.origin = 'webhook'
    and (@context_identifier::text is null or a.context_identifier = @context_identifier::text)
    and not exists (select from webhook_events e where e.event_seq = a.event_seq and not e.ignored)
order by a.audit_seq
limit @some::integer
