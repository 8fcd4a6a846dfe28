-- Of the rows of some contacts, the columns whose values SuperOffice sends; else as mirror_contacts. Generated from mirror_contacts_sent.sql.tmpl.
select k.place, c.row,
    c.associate_id, c.country_id, c.business_idx, c.category_idx, c.registered_associate_id, c.userdef_id,
    c.userdef2_id, c.source, c.active_interests, c.deleted, c.registered, c.updated, c.deleted_date,
    c.soft_deleted, c.soft_deleted_at, array_to_string(c.pending_columns, ',') as pending_columns,
    c.last_event, c.last_event_id, c.last_event_ticks, c.last_changed_by_associate_id
from (
    select generate_subscripts(@contact_ids::bigint[], 1)::bigint as place,
        unnest(@context_identifiers::text[]) as context_identifier, unnest(@contact_ids::bigint[]) as contact_id
) k
cross join lateral (
    select m.ctid as row, m.*
    from contacts m
    where m.context_identifier = k.context_identifier and m.contact_id = k.contact_id
    limit 1
) c
