-- The row of the log that the erasure of a contact, if one is in force, is known by.
select audit_seq
from erasures
where context_identifier = @context_identifier::text and contact_id = @contact_id::bigint and lifted_at is null
