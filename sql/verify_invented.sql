-- Audit rows that no code writes, or whose event was never accepted: how many, and some of them.
select a.audit_seq, a.event_seq, a.context_identifier, a.contact_id, a.event, a.origin,
    a.origin = 'webhook' and a.event in ('contact.created', 'contact.changed', 'contact.softdeleted', 'contact.deleted') as of_event,
    count(*) over () as total
from contact_audit_log a
where (@context_identifier::text is null or a.context_identifier = @context_identifier::text)
    and not case a.origin
        when 'webhook' then a.event in ('contact.created', 'contact.changed', 'contact.softdeleted', 'contact.deleted')
            and a.outcome is not null
            and exists (select from webhook_events e where e.event_seq = a.event_seq and not e.ignored)
        when 'operator' then a.event in ('mirror.erased', 'mirror.erasure_lifted') and a.outcome is null and a.event_seq is null
        else false
    end
order by a.audit_seq
limit @some::integer
