-- The facts in the log of some contacts, the ones of a contact in a row.
select
    -- generated: audit.Key | audit.Fact of a
    a.event_seq, a.context_identifier, a.contact_id, a.event, a.event_id, a.occurred_ticks, a.changed_columns,
    a.field_values, a.unreadable_columns, a.soft_deleted, a.changed_by_associate_id, a.erased_columns
    -- end
from unnest(@context_identifiers::text[], @contact_ids::bigint[]) as k (context_identifier, contact_id)
cross join lateral (
    select *
    from contact_audit_log l
    where l.context_identifier = k.context_identifier and l.contact_id = k.contact_id and l.outcome is not null
    offset 0 -- stays a subquery, and so an index scan for each contact
) a
order by a.contact_id, a.context_identifier collate "C"
