-- Takes the contacts out of the shadow of which something was logged after a row,
-- and returns them.
delete from rebuild_shadow s
using (
    select distinct a.context_identifier, a.contact_id
    from contact_audit_log a
    where a.audit_seq > @audit_seq::bigint
) later
where s.context_identifier = later.context_identifier and s.contact_id = later.contact_id
returning s.context_identifier, s.contact_id
