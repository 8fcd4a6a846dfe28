-- Writes rows of contacts that had one. Generated from mirror_update.sql.tmpl.
-- The row address finds them fast, and the key makes sure that the row is still the
-- contact's. Only the holder of the shard's lock writes them; if somebody else has,
-- the count of rows is wrong and the batch fails. pending_columns come as array
-- literals, for unnest takes arrays apart to the last element, and as NULL where
-- they stay as they are.
update contacts
set
    name = w.name, kananame = w.kananame, department = w.department, number1 = w.number1, number2 = w.number2,
    org_nr = w.org_nr, sound_ex = w.sound_ex, dbi_key = w.dbi_key, associate_id = w.associate_id,
    country_id = w.country_id, business_idx = w.business_idx, category_idx = w.category_idx,
    registered_associate_id = w.registered_associate_id, updated_associate_id = w.updated_associate_id,
    text_id = w.text_id, mother_id = w.mother_id, userdef_id = w.userdef_id, userdef2_id = w.userdef2_id,
    group_id = w.group_id, tz_location_id = w.tz_location_id, ticket_priority_id = w.ticket_priority_id,
    support_language_id = w.support_language_id, support_associate_id = w.support_associate_id,
    support_person_id = w.support_person_id, dbi_agent_id = w.dbi_agent_id, source = w.source,
    active_interests = w.active_interests, updated_count = w.updated_count, deleted = w.deleted,
    active_erp_links = w.active_erp_links, xstop = w.xstop, nomailing = w.nomailing,
    registered = w.registered, updated = w.updated, deleted_date = w.deleted_date,
    dbi_last_syncronized = w.dbi_last_syncronized, dbi_last_modified = w.dbi_last_modified,
    soft_deleted = w.soft_deleted, soft_deleted_at = w.soft_deleted_at,
    pending_columns = coalesce(w.pending_columns, contacts.pending_columns), last_event = w.last_event,
    last_event_id = w.last_event_id, last_event_at = w.last_event_at, last_event_ticks = w.last_event_ticks,
    last_changed_by_associate_id = w.last_changed_by_associate_id, mirrored_at = @now::timestamptz
from (
    select unnest(@row::tid[]) as row, unnest(@context_identifier::text[]) as context_identifier, unnest(@contact_id::bigint[]) as contact_id,
        unnest(@name::text[]) as name, unnest(@kananame::text[]) as kananame,
        unnest(@department::text[]) as department, unnest(@number1::text[]) as number1,
        unnest(@number2::text[]) as number2, unnest(@org_nr::text[]) as org_nr,
        unnest(@sound_ex::text[]) as sound_ex, unnest(@dbi_key::text[]) as dbi_key,
        unnest(@associate_id::bigint[]) as associate_id, unnest(@country_id::bigint[]) as country_id,
        unnest(@business_idx::bigint[]) as business_idx, unnest(@category_idx::bigint[]) as category_idx,
        unnest(@registered_associate_id::bigint[]) as registered_associate_id,
        unnest(@updated_associate_id::bigint[]) as updated_associate_id,
        unnest(@text_id::bigint[]) as text_id, unnest(@mother_id::bigint[]) as mother_id,
        unnest(@userdef_id::bigint[]) as userdef_id, unnest(@userdef2_id::bigint[]) as userdef2_id,
        unnest(@group_id::bigint[]) as group_id, unnest(@tz_location_id::bigint[]) as tz_location_id,
        unnest(@ticket_priority_id::bigint[]) as ticket_priority_id,
        unnest(@support_language_id::bigint[]) as support_language_id,
        unnest(@support_associate_id::bigint[]) as support_associate_id,
        unnest(@support_person_id::bigint[]) as support_person_id,
        unnest(@dbi_agent_id::bigint[]) as dbi_agent_id, unnest(@source::integer[]) as source,
        unnest(@active_interests::integer[]) as active_interests,
        unnest(@updated_count::integer[]) as updated_count, unnest(@deleted::integer[]) as deleted,
        unnest(@active_erp_links::integer[]) as active_erp_links, unnest(@xstop::boolean[]) as xstop,
        unnest(@nomailing::boolean[]) as nomailing, unnest(@registered::timestamptz[]) as registered,
        unnest(@updated::timestamptz[]) as updated, unnest(@deleted_date::timestamptz[]) as deleted_date,
        unnest(@dbi_last_syncronized::timestamp[]) as dbi_last_syncronized,
        unnest(@dbi_last_modified::timestamp[]) as dbi_last_modified,
        unnest(@soft_deleted::boolean[]) as soft_deleted, unnest(@soft_deleted_at::timestamptz[]) as soft_deleted_at,
        unnest(@pending_columns::text[])::text[] as pending_columns, unnest(@last_event::text[]) as last_event,
        unnest(@last_event_id::uuid[]) as last_event_id, unnest(@last_event_at::timestamptz[]) as last_event_at,
        unnest(@last_event_ticks::bigint[]) as last_event_ticks,
        unnest(@last_changed_by_associate_id::bigint[]) as last_changed_by_associate_id
) w
where contacts.ctid = w.row
    and contacts.context_identifier is not distinct from w.context_identifier -- a filter, not a reason to use the index
    and contacts.contact_id is not distinct from w.contact_id
