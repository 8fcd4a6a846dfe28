-- Does what mirror_update does where only columns differ whose values SuperOffice sends, in half the time. Generated from mirror_update_sent.sql.tmpl.
update contacts
set
    associate_id = w.associate_id, country_id = w.country_id, business_idx = w.business_idx,
    category_idx = w.category_idx, registered_associate_id = w.registered_associate_id,
    userdef_id = w.userdef_id, userdef2_id = w.userdef2_id, source = w.source,
    active_interests = w.active_interests, deleted = w.deleted, registered = w.registered,
    updated = w.updated, deleted_date = w.deleted_date,
    soft_deleted = w.soft_deleted, soft_deleted_at = w.soft_deleted_at,
    pending_columns = coalesce(w.pending_columns, contacts.pending_columns), last_event = w.last_event,
    last_event_id = w.last_event_id, last_event_at = w.last_event_at, last_event_ticks = w.last_event_ticks,
    last_changed_by_associate_id = w.last_changed_by_associate_id, mirrored_at = @now::timestamptz
from (
    select unnest(@row::tid[]) as row, unnest(@context_identifier::text[]) as context_identifier, unnest(@contact_id::bigint[]) as contact_id,
        unnest(@associate_id::bigint[]) as associate_id, unnest(@country_id::bigint[]) as country_id,
        unnest(@business_idx::bigint[]) as business_idx, unnest(@category_idx::bigint[]) as category_idx,
        unnest(@registered_associate_id::bigint[]) as registered_associate_id,
        unnest(@userdef_id::bigint[]) as userdef_id, unnest(@userdef2_id::bigint[]) as userdef2_id,
        unnest(@source::integer[]) as source, unnest(@active_interests::integer[]) as active_interests,
        unnest(@deleted::integer[]) as deleted, unnest(@registered::timestamptz[]) as registered,
        unnest(@updated::timestamptz[]) as updated, unnest(@deleted_date::timestamptz[]) as deleted_date,
        unnest(@soft_deleted::boolean[]) as soft_deleted, unnest(@soft_deleted_at::timestamptz[]) as soft_deleted_at,
        unnest(@pending_columns::text[])::text[] as pending_columns, unnest(@last_event::text[]) as last_event,
        unnest(@last_event_id::uuid[]) as last_event_id, unnest(@last_event_at::timestamptz[]) as last_event_at,
        unnest(@last_event_ticks::bigint[]) as last_event_ticks,
        unnest(@last_changed_by_associate_id::bigint[]) as last_changed_by_associate_id
) w
where contacts.ctid = w.row
    and contacts.context_identifier is not distinct from w.context_identifier -- a filter, not a reason to use the index
    and contacts.contact_id is not distinct from w.contact_id
