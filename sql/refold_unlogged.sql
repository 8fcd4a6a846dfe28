-- Contacts that the mirror holds a row or a tombstone of, and the log no fact.
select c.context_identifier, c.contact_id
from contacts c
where not exists (
        select from contact_audit_log a
        where a.context_identifier = c.context_identifier and a.contact_id = c.contact_id and a.outcome is not null
    )
    and (@context_identifier::text is null or c.context_identifier = @context_identifier::text)
    and (@contact_id::bigint is null or c.contact_id = @contact_id::bigint)
union
select t.context_identifier, t.contact_id
from contact_tombstones t
where not exists (
        select from contact_audit_log a
        where a.context_identifier = t.context_identifier and a.contact_id = t.contact_id and a.outcome is not null
    )
    and (@context_identifier::text is null or t.context_identifier = @context_identifier::text)
    and (@contact_id::bigint is null or t.contact_id = @contact_id::bigint)
