-- Writes rows of the mirror, new ones and changed ones. pending_columns come as
-- array literals, for unnest can't take arrays of unequal length.
insert into contacts (
    context_identifier, contact_id, name, kananame, department, number1, number2, org_nr, sound_ex, dbi_key,
    associate_id, country_id, business_idx, category_idx, registered_associate_id, updated_associate_id,
    text_id, mother_id, userdef_id, userdef2_id, group_id, tz_location_id, ticket_priority_id,
    support_language_id, support_associate_id, support_person_id, dbi_agent_id, source, active_interests,
    updated_count, deleted, active_erp_links, xstop, nomailing, registered, updated, deleted_date,
    dbi_last_syncronized, dbi_last_modified, soft_deleted, soft_deleted_at, pending_columns, last_event,
    last_event_id, last_event_at, last_event_ticks, last_changed_by_associate_id,
    first_seen_at, mirrored_at
)
select
    context_identifier, contact_id, name, kananame, department, number1, number2, org_nr, sound_ex, dbi_key,
    associate_id, country_id, business_idx, category_idx, registered_associate_id, updated_associate_id,
    text_id, mother_id, userdef_id, userdef2_id, group_id, tz_location_id, ticket_priority_id,
    support_language_id, support_associate_id, support_person_id, dbi_agent_id, source, active_interests,
    updated_count, deleted, active_erp_links, xstop, nomailing, registered, updated, deleted_date,
    dbi_last_syncronized, dbi_last_modified, soft_deleted, soft_deleted_at, pending_columns::text[],
    last_event, last_event_id, last_event_at, last_event_ticks, last_changed_by_associate_id,
    @now::timestamptz, @now::timestamptz
from unnest(
    @context_identifier::text[], @contact_id::bigint[], @name::text[], @kananame::text[],
    @department::text[], @number1::text[], @number2::text[], @org_nr::text[], @sound_ex::text[],
    @dbi_key::text[], @associate_id::bigint[], @country_id::bigint[], @business_idx::bigint[],
    @category_idx::bigint[], @registered_associate_id::bigint[], @updated_associate_id::bigint[],
    @text_id::bigint[], @mother_id::bigint[], @userdef_id::bigint[], @userdef2_id::bigint[],
    @group_id::bigint[], @tz_location_id::bigint[], @ticket_priority_id::bigint[],
    @support_language_id::bigint[], @support_associate_id::bigint[], @support_person_id::bigint[],
    @dbi_agent_id::bigint[], @source::integer[], @active_interests::integer[], @updated_count::integer[],
    @deleted::integer[], @active_erp_links::integer[], @xstop::boolean[], @nomailing::boolean[],
    @registered::timestamptz[], @updated::timestamptz[], @deleted_date::timestamptz[],
    @dbi_last_syncronized::timestamp[], @dbi_last_modified::timestamp[], @soft_deleted::boolean[],
    @soft_deleted_at::timestamptz[], @pending_columns::text[], @last_event::text[], @last_event_id::uuid[],
    @last_event_at::timestamptz[], @last_event_ticks::bigint[], @last_changed_by_associate_id::bigint[]
) as c (
    context_identifier, contact_id, name, kananame, department, number1, number2, org_nr, sound_ex, dbi_key,
    associate_id, country_id, business_idx, category_idx, registered_associate_id, updated_associate_id,
    text_id, mother_id, userdef_id, userdef2_id, group_id, tz_location_id, ticket_priority_id,
    support_language_id, support_associate_id, support_person_id, dbi_agent_id, source, active_interests,
    updated_count, deleted, active_erp_links, xstop, nomailing, registered, updated, deleted_date,
    dbi_last_syncronized, dbi_last_modified, soft_deleted, soft_deleted_at, pending_columns, last_event,
    last_event_id, last_event_at, last_event_ticks, last_changed_by_associate_id
)
on conflict (context_identifier, contact_id) do update set
    name = excluded.name, kananame = excluded.kananame, department = excluded.department,
    number1 = excluded.number1, number2 = excluded.number2, org_nr = excluded.org_nr,
    sound_ex = excluded.sound_ex, dbi_key = excluded.dbi_key, associate_id = excluded.associate_id,
    country_id = excluded.country_id, business_idx = excluded.business_idx,
    category_idx = excluded.category_idx,
    registered_associate_id = excluded.registered_associate_id,
    updated_associate_id = excluded.updated_associate_id, text_id = excluded.text_id,
    mother_id = excluded.mother_id, userdef_id = excluded.userdef_id,
    userdef2_id = excluded.userdef2_id, group_id = excluded.group_id,
    tz_location_id = excluded.tz_location_id, ticket_priority_id = excluded.ticket_priority_id,
    support_language_id = excluded.support_language_id,
    support_associate_id = excluded.support_associate_id,
    support_person_id = excluded.support_person_id, dbi_agent_id = excluded.dbi_agent_id,
    source = excluded.source, active_interests = excluded.active_interests,
    updated_count = excluded.updated_count, deleted = excluded.deleted,
    active_erp_links = excluded.active_erp_links, xstop = excluded.xstop,
    nomailing = excluded.nomailing, registered = excluded.registered, updated = excluded.updated,
    deleted_date = excluded.deleted_date, dbi_last_syncronized = excluded.dbi_last_syncronized,
    dbi_last_modified = excluded.dbi_last_modified, soft_deleted = excluded.soft_deleted,
    soft_deleted_at = excluded.soft_deleted_at, pending_columns = excluded.pending_columns,
    last_event = excluded.last_event, last_event_id = excluded.last_event_id,
    last_event_at = excluded.last_event_at, last_event_ticks = excluded.last_event_ticks,
    last_changed_by_associate_id = excluded.last_changed_by_associate_id,
    mirrored_at = excluded.mirrored_at
