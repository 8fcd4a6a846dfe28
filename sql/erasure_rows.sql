-- What the audit log holds of a contact that can be erased.
select audit_seq, salt, field_values, id_values, last_known
from contact_audit_log
where context_identifier = @context_identifier::text and contact_id = @contact_id::bigint and erased_columns is null
