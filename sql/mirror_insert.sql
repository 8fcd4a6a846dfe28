-- Writes rows of contacts that had none. Generated from mirror_insert.sql.tmpl.
-- pending_columns come as array literals, for unnest takes arrays apart to the last
-- element.
insert into contacts (
    context_identifier, contact_id,
    name, kananame, department, number1, number2, org_nr, sound_ex, dbi_key, associate_id, country_id,
    business_idx, category_idx, registered_associate_id, updated_associate_id, text_id, mother_id, userdef_id,
    userdef2_id, group_id, tz_location_id, ticket_priority_id, support_language_id, support_associate_id,
    support_person_id, dbi_agent_id, source, active_interests, updated_count, deleted, active_erp_links,
    xstop, nomailing, registered, updated, deleted_date, dbi_last_syncronized, dbi_last_modified,
    soft_deleted, soft_deleted_at, pending_columns, last_event, last_event_id, last_event_at, last_event_ticks,
    last_changed_by_associate_id, first_seen_at, mirrored_at
)
select
    unnest(@context_identifier::text[]), unnest(@contact_id::bigint[]),
    unnest(@name::text[]), unnest(@kananame::text[]), unnest(@department::text[]), unnest(@number1::text[]),
    unnest(@number2::text[]), unnest(@org_nr::text[]), unnest(@sound_ex::text[]), unnest(@dbi_key::text[]),
    unnest(@associate_id::bigint[]), unnest(@country_id::bigint[]), unnest(@business_idx::bigint[]),
    unnest(@category_idx::bigint[]), unnest(@registered_associate_id::bigint[]),
    unnest(@updated_associate_id::bigint[]), unnest(@text_id::bigint[]), unnest(@mother_id::bigint[]),
    unnest(@userdef_id::bigint[]), unnest(@userdef2_id::bigint[]), unnest(@group_id::bigint[]),
    unnest(@tz_location_id::bigint[]), unnest(@ticket_priority_id::bigint[]),
    unnest(@support_language_id::bigint[]), unnest(@support_associate_id::bigint[]),
    unnest(@support_person_id::bigint[]), unnest(@dbi_agent_id::bigint[]), unnest(@source::integer[]),
    unnest(@active_interests::integer[]), unnest(@updated_count::integer[]), unnest(@deleted::integer[]),
    unnest(@active_erp_links::integer[]), unnest(@xstop::boolean[]), unnest(@nomailing::boolean[]),
    unnest(@registered::timestamptz[]), unnest(@updated::timestamptz[]), unnest(@deleted_date::timestamptz[]),
    unnest(@dbi_last_syncronized::timestamp[]), unnest(@dbi_last_modified::timestamp[]),
    unnest(@soft_deleted::boolean[]), unnest(@soft_deleted_at::timestamptz[]), unnest(@pending_columns::text[])::text[],
    unnest(@last_event::text[]), unnest(@last_event_id::uuid[]), unnest(@last_event_at::timestamptz[]),
    unnest(@last_event_ticks::bigint[]), unnest(@last_changed_by_associate_id::bigint[]), @now::timestamptz,
    @now::timestamptz
on conflict (context_identifier, contact_id) do nothing
