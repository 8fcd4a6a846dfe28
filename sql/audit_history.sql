-- Everything logged of a contact, in the source's order.
select audit_seq, event_seq, event, event_id, occurred_at, received_at, recorded_at, changed_columns, field_values, id_values,
    unreadable_columns, soft_deleted, hard_deleted, turn, outcome, changed_by_associate_id, webhook_name, origin, last_known,
    erased_columns
from contact_timeline
where context_identifier = @context_identifier::text and contact_id = @contact_id::bigint
order by occurred_ticks, event_rank, event_id
