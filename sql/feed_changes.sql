-- The changes after a place in the audit log.
select audit_seq, context_identifier, contact_id, change, event, event_id::text as event_id, occurred_at, outcome,
    changed_columns, contact
from changes_since(after => @after::bigint, max_rows => @max_rows::integer)
