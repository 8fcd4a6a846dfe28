-- The tenants that have a contact of this id, or had one.
with recursive tenants as (
    (
        select context_identifier
        from contact_audit_log
        where outcome is not null
        order by context_identifier
        limit 1
    )
    union all
    select next.context_identifier
    from tenants t
    cross join lateral (
        select a.context_identifier
        from contact_audit_log a
        where a.context_identifier > t.context_identifier and a.outcome is not null
        order by a.context_identifier
        limit 1
    ) next
)
select t.context_identifier
from tenants t
where exists (
    select from contact_audit_log a
    where a.context_identifier = t.context_identifier and a.contact_id = @contact_id::bigint and a.outcome is not null
)
order by t.context_identifier
