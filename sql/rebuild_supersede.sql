-- Removes from the shadow the contacts whose facts may differ from those in the
-- snapshot, and returns them: contacts with later rows in the log, and contacts with
-- an erasure that was in force after the snapshot. An erasure changes rows of the
-- log and adds none, so the numbers of the log don't show it.
delete from rebuild_shadow s
using (
    select a.context_identifier, a.contact_id
    from contact_audit_log a
    where a.audit_seq > @audit_seq::bigint
    union
    select e.context_identifier, e.contact_id
    from erasures e
    where e.erasure_seq <> all (@lifted::bigint[])
) changed
where s.context_identifier = changed.context_identifier and s.contact_id = changed.contact_id
returning s.context_identifier, s.contact_id
