-- The erasure of a contact that is in force, if one is, and what it removed when it was
-- made.
select e.audit_seq, e.erased_at, e.reason, o.actor,
    (o.detail -> 'row')::boolean as had_row,
    (o.detail -> 'audit_rows')::bigint as audit_rows,
    (o.detail -> 'bodies')::bigint as bodies,
    (o.detail -> 'duplicates')::bigint as duplicates,
    (o.detail -> 'quarantined')::bigint as quarantined
from erasures e
left join lateral (
    select a.actor, a.detail
    from operator_actions a
    where a.action = 'erase' and a.context_identifier = e.context_identifier and a.contact_id = e.contact_id
        and a.detail -> 'audit_seq' = to_jsonb(e.audit_seq)
        and a.detail -> 'already' = 'false'
    order by a.action_seq
    limit 1
) o on true
where e.context_identifier = @context_identifier::text and e.contact_id = @contact_id::bigint and e.lifted_at is null
