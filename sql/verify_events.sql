-- Every applied event beside its audit row, with its body where that is kept.
select e.event_seq, e.context_identifier, e.event_id, e.event, e.primary_key, e.occurred_at, e.occurred_ticks, e.received_at, b.body,
    a.context_identifier, a.event_id, a.event, a.contact_id, a.occurred_at, a.occurred_ticks, a.received_at,
    a.changed_columns, a.field_values, a.id_values, a.unreadable_columns, a.changed_by_associate_id, a.webhook_name,
    a.erased_columns is not null as erased
from webhook_events e
join contact_audit_log a on a.event_seq = e.event_seq
left join webhook_bodies b on b.event_seq = e.event_seq and not b.ignored
where (@context_identifier::text is null or e.context_identifier = @context_identifier::text)
