-- How the columns of a contact changed, by the log's rows.
select audit_seq, column_name, kind, not_before, old_value, new_value, value_known
from contact_changes
where context_identifier = @context_identifier::text and contact_id = @contact_id::bigint
order by occurred_ticks, event_rank, event_id, column_name
