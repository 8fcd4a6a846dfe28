-- Everything logged of a contact, in the source's order.
select t.transition,
    -- generated: audit.Shown of t
    t.audit_seq, t.event_seq, t.event, t.event_id, t.occurred_at, t.received_at, t.recorded_at,
    t.changed_columns, t.field_values, t.id_values, t.unreadable_columns, t.soft_deleted, t.hard_deleted,
    t.outcome, t.effect, t.changed_by_associate_id, t.webhook_name, t.origin, t.last_known, t.erased_columns
    -- end
from contact_timeline t
where t.context_identifier = @context_identifier::text and t.contact_id = @contact_id::bigint
order by t.occurred_ticks, t.event_rank, t.event_id
