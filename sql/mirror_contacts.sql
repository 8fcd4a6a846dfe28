-- The rows of some contacts, by their place in the arrays, from 1. Generated from mirror_contacts.sql.tmpl.
select k.place, c.row,
    c.name, c.kananame, c.department, c.number1, c.number2, c.org_nr, c.sound_ex, c.dbi_key, c.associate_id,
    c.country_id, c.business_idx, c.category_idx, c.registered_associate_id, c.updated_associate_id,
    c.text_id, c.mother_id, c.userdef_id, c.userdef2_id, c.group_id, c.tz_location_id, c.ticket_priority_id,
    c.support_language_id, c.support_associate_id, c.support_person_id, c.dbi_agent_id, c.source,
    c.active_interests, c.updated_count, c.deleted, c.active_erp_links, c.xstop, c.nomailing, c.registered,
    c.updated, c.deleted_date, c.dbi_last_syncronized, c.dbi_last_modified,
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
