-- Removes from the shadow the contacts that the log has rows of which are not in the
-- snapshot, and returns them.
delete from rebuild_shadow s
using (
    select distinct a.context_identifier, a.contact_id
    from contact_audit_log a
    where a.audit_seq > @audit_seq::bigint
) changed
where s.context_identifier = changed.context_identifier and s.contact_id = changed.contact_id
returning s.context_identifier, s.contact_id
