-- What the audit log holds of a contact that can be erased.
select a.audit_seq, a.salt,
    -- generated: audit.Committed of a
    a.changed_columns, a.field_values, a.given_columns, a.id_values, a.last_known
    -- end
from contact_audit_log a
where a.context_identifier = @context_identifier::text and a.contact_id = @contact_id::bigint
    and a.outcome is not null and a.erased_columns is null
