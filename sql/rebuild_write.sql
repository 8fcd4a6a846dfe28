-- Writes the rows of the shadow into the mirror. Generated from rebuild_write.sql.tmpl.
-- A row that is there keeps the time at which it was first seen; to others the log
-- gives one.
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
    s.context_identifier, s.contact_id,
    s.name, s.kananame, s.department, s.number1, s.number2, s.org_nr, s.sound_ex, s.dbi_key, s.associate_id,
    s.country_id, s.business_idx, s.category_idx, s.registered_associate_id, s.updated_associate_id,
    s.text_id, s.mother_id, s.userdef_id, s.userdef2_id, s.group_id, s.tz_location_id, s.ticket_priority_id,
    s.support_language_id, s.support_associate_id, s.support_person_id, s.dbi_agent_id, s.source,
    s.active_interests, s.updated_count, s.deleted, s.active_erp_links, s.xstop, s.nomailing, s.registered,
    s.updated, s.deleted_date, s.dbi_last_syncronized, s.dbi_last_modified,
    s.soft_deleted, s.soft_deleted_at, s.pending_columns, s.last_event, s.last_event_id, s.last_event_at,
    s.last_event_ticks, s.last_changed_by_associate_id,
    coalesce(
        (
            select min(a.recorded_at)
            from contact_audit_log a
            where a.context_identifier = s.context_identifier and a.contact_id = s.contact_id and a.outcome is not null
        ),
        now()
    ),
    now()
from rebuild_shadow s
where s.live and s.row_wrong
on conflict (context_identifier, contact_id) do update set
    name = excluded.name, kananame = excluded.kananame, department = excluded.department,
    number1 = excluded.number1, number2 = excluded.number2, org_nr = excluded.org_nr,
    sound_ex = excluded.sound_ex, dbi_key = excluded.dbi_key, associate_id = excluded.associate_id,
    country_id = excluded.country_id, business_idx = excluded.business_idx,
    category_idx = excluded.category_idx, registered_associate_id = excluded.registered_associate_id,
    updated_associate_id = excluded.updated_associate_id, text_id = excluded.text_id,
    mother_id = excluded.mother_id, userdef_id = excluded.userdef_id, userdef2_id = excluded.userdef2_id,
    group_id = excluded.group_id, tz_location_id = excluded.tz_location_id,
    ticket_priority_id = excluded.ticket_priority_id, support_language_id = excluded.support_language_id,
    support_associate_id = excluded.support_associate_id, support_person_id = excluded.support_person_id,
    dbi_agent_id = excluded.dbi_agent_id, source = excluded.source,
    active_interests = excluded.active_interests, updated_count = excluded.updated_count,
    deleted = excluded.deleted, active_erp_links = excluded.active_erp_links, xstop = excluded.xstop,
    nomailing = excluded.nomailing, registered = excluded.registered, updated = excluded.updated,
    deleted_date = excluded.deleted_date, dbi_last_syncronized = excluded.dbi_last_syncronized,
    dbi_last_modified = excluded.dbi_last_modified,
    soft_deleted = excluded.soft_deleted, soft_deleted_at = excluded.soft_deleted_at,
    pending_columns = excluded.pending_columns, last_event = excluded.last_event,
    last_event_id = excluded.last_event_id, last_event_at = excluded.last_event_at,
    last_event_ticks = excluded.last_event_ticks,
    last_changed_by_associate_id = excluded.last_changed_by_associate_id, mirrored_at = excluded.mirrored_at
