-- As of: the mirror as it was at another time, at the source (contacts_as_of) or here
-- (contacts_as_known_at), and all of its versions (contact_history).
--
-- A contact about which nothing happened since is a row of contacts. The others are
-- folded from their facts up to that time. For most of those the newest fact says
-- everything: it gives all columns that any fact gave (given_columns), and no fact
-- soft-deleted the contact. Such a fact is found in an index; the other contacts are
-- folded as the program does it.

-- +goose Up

-- The functions of this file find the tables whatever the caller's search_path is.
-- The setting lasts as long as the migration's transaction.
select set_config('search_path', quote_ident(current_schema()) || ', pg_temp', true);

create type contactmirror_fact as (
    event                   text,
    event_id                uuid,
    occurred_at             timestamptz,
    occurred_ticks          bigint,
    changed_by_associate_id bigint,
    soft_deleted            boolean,
    field_values            jsonb,
    named                   text[]
);

comment on type contactmirror_fact is 'What the fold reads of a row of contact_audit_log.';

create type contact_as_of as (
    context_identifier           text,
    contact_id                   bigint,
    name                         text,
    kananame                     text,
    department                   text,
    number1                      text,
    number2                      text,
    org_nr                       text,
    sound_ex                     text,
    dbi_key                      text,
    associate_id                 bigint,
    country_id                   bigint,
    business_idx                 bigint,
    category_idx                 bigint,
    registered_associate_id      bigint,
    updated_associate_id         bigint,
    text_id                      bigint,
    mother_id                    bigint,
    userdef_id                   bigint,
    userdef2_id                  bigint,
    group_id                     bigint,
    tz_location_id               bigint,
    ticket_priority_id           bigint,
    support_language_id          bigint,
    support_associate_id         bigint,
    support_person_id            bigint,
    dbi_agent_id                 bigint,
    source                       integer,
    active_interests             integer,
    updated_count                integer,
    deleted                      integer,
    active_erp_links             integer,
    xstop                        boolean,
    nomailing                    boolean,
    registered                   timestamptz,
    updated                      timestamptz,
    deleted_date                 timestamptz,
    dbi_last_syncronized         timestamp,
    dbi_last_modified            timestamp,
    soft_deleted                 boolean,
    soft_deleted_at              timestamptz,
    pending_columns              text[],
    last_event                   text,
    last_event_id                uuid,
    last_event_at                timestamptz,
    last_event_ticks             bigint,
    last_changed_by_associate_id bigint
);

comment on type contact_as_of is 'A row of contacts as of another time: its columns, but first_seen_at and mirrored_at, which are about this database.';

-- +goose StatementBegin
create function contactmirror_known(at timestamptz) returns table (before bigint, through bigint)
language plpgsql stable parallel restricted
rows 1
set search_path from current
as $$
begin
    return query -- which may use several processes, where "select into" may not
    with later as (
        -- A filter, or the planner would walk the key from its beginning.
        select min(a.audit_seq) filter (where a.recorded_at > at) as first
        from contact_audit_log a
        where a.recorded_at > at
    )
    select coalesce(l.first, 9223372036854775807), coalesce(k.last, 0)
    from later l
    cross join lateral (
        select max(a.audit_seq) as last
        from contact_audit_log a
        where a.audit_seq > l.first and a.recorded_at <= at
    ) k;
end
$$;
-- +goose StatementEnd

comment on function contactmirror_known(timestamptz) is 'Of the log at a time: before which row all had been written, and after which none. Rows between them belong to transactions that ran concurrently then.';

-- +goose StatementBegin
create function contactmirror_newest(at timestamptz, by_arrival boolean, tenant text) returns table (
    sent_rows bigint[], more_rows bigint[], given bigint[], other_contacts text[]
)
language plpgsql stable
rows 1
set search_path from current
-- Both sides of each join are read in order: several processes would only read as
-- much each.
set max_parallel_workers_per_gather = 0
as $$
#variable_conflict use_column
declare
    -- The facts are those of ticks and rows before these. SuperOffice's years are
    -- 1753 to 9998, and microseconds are cut from ticks.
    ticks   bigint := (extract(epoch from least(greatest(at, '1000-01-01 Z'), '9999-01-01 Z')) * 1000000)::bigint * 10 + 10;
    before  bigint := 9223372036854775807;
    through bigint := 0;
begin
    if by_arrival then
        ticks := before;
        select k.before, k.through
        into before, through
        from contactmirror_known(at) k;
    end if;

    return query
    with told as (
        -- Live contacts and dead ones each by themselves: so both sides come in the
        -- index's order. Where two facts are the newest, the two rows differ.
        select c.context_identifier, c.contact_id,
            max(array[a.occurred_ticks, a.audit_seq, a.given_columns]) as newest, -(max(array[a.occurred_ticks, -a.audit_seq]))[2] as also_newest,
            bit_or(a.given_columns) as given, bool_or(a.soft_deleted is true) as soft_deleted, bool_or(a.hard_deleted) as hard_deleted
        from contacts c
        join contact_audit_log a on a.context_identifier = c.context_identifier and a.contact_id = c.contact_id
        where (tenant is null or c.context_identifier = tenant)
            and (by_arrival and c.mirrored_at > at or not by_arrival and c.last_event_at > at)
            and a.outcome is not null and a.occurred_ticks < ticks and a.audit_seq < before
        group by c.context_identifier, c.contact_id
        union all
        select t.context_identifier, t.contact_id,
            max(array[a.occurred_ticks, a.audit_seq, a.given_columns]), -(max(array[a.occurred_ticks, -a.audit_seq]))[2],
            bit_or(a.given_columns), bool_or(a.soft_deleted is true), bool_or(a.hard_deleted)
        from contact_tombstones t
        join contact_audit_log a on a.context_identifier = t.context_identifier and a.contact_id = t.contact_id
        where (tenant is null or t.context_identifier = tenant)
            and (by_arrival or t.deleted_at > at)
            and a.outcome is not null and a.occurred_ticks < ticks and a.audit_seq < before
        group by t.context_identifier, t.contact_id
    ), beside as (
        select distinct a.context_identifier, a.contact_id
        from contact_audit_log a
        where (tenant is null or a.context_identifier = tenant)
            and a.outcome is not null and a.audit_seq between before and through and a.recorded_at <= at
    ), judged as (
        select context_identifier, contact_id, t.newest[2] as newest, t.given,
            b.contact_id is null and t.newest[2] = t.also_newest and t.newest[3] = t.given and not t.soft_deleted as alone
        from told t
        full join beside b using (context_identifier, contact_id)
        where t.hard_deleted is not true
    )
    select array_agg(j.newest) filter (where j.alone and j.given & ~contactmirror_sent() = 0),
        array_agg(j.newest) filter (where j.alone and j.given & ~contactmirror_sent() <> 0),
        array_agg(distinct j.given) filter (where j.alone),
        array_agg(j.contact_id || ' ' || j.context_identifier) filter (where not j.alone)
    from judged j;
end
$$;
-- +goose StatementEnd

comment on function contactmirror_newest(timestamptz, boolean, text) is 'Of the contacts that contactmirror_refold folds: the newest row in the log of each one about which that row says everything, in two lists: rows that give no other columns than SuperOffice sends, and rows that do; the different given_columns of these rows; and the id and tenant of all other contacts.';

-- +goose StatementBegin
create function contactmirror_pending(given bigint[]) returns table (given_columns bigint, pending_columns text[])
language sql immutable
set search_path from current
as $$
select g.given_columns,
    case when g.given_columns <> contactmirror_sent() then array(
        select c.column_name
        from unnest(array[
            'name', 'kananame', 'department', 'number1', 'number2', 'org_nr', 'sound_ex', 'dbi_key',
            'associate_id', 'country_id', 'business_idx', 'category_idx', 'registered_associate_id',
            'updated_associate_id', 'text_id', 'mother_id', 'userdef_id', 'userdef2_id', 'group_id',
            'tz_location_id', 'ticket_priority_id', 'support_language_id', 'support_associate_id',
            'support_person_id', 'dbi_agent_id', 'source', 'active_interests', 'updated_count', 'deleted',
            'active_erp_links', 'xstop', 'nomailing', 'registered', 'updated', 'deleted_date',
            'dbi_last_syncronized', 'dbi_last_modified'
        ]) with ordinality as c (column_name, bit)
        where g.given_columns & (1::bigint << c.bit::integer) = 0
        order by c.bit
    ) end
from unnest(given) as g (given_columns)
$$;
-- +goose StatementEnd

comment on function contactmirror_pending(bigint[]) is 'For some different given_columns (given), the columns that are not in it; NULL where it is exactly the columns that SuperOffice sends.';

-- +goose StatementBegin
create function contactmirror_refold(at timestamptz, by_arrival boolean, tenant text, contact bigint) returns setof contact_as_of
language plpgsql stable parallel restricted
rows 100000
set search_path from current
-- The arguments decide between an index and the whole log. The log's rows are in
-- order of arrival, so reading many contacts by index reads a page for each row,
-- whatever the planner expects to find in memory.
set plan_cache_mode = force_custom_plan
set effective_cache_size = '64MB'
set work_mem = '64MB'
set jit = off
as $$
#variable_conflict use_column
declare
    newest bigint[];
    more   bigint[];
    given  bigint[]; -- few
    others text[];
begin
    perform contactmirror_require_tenant(tenant);
    -- Of most contacts the newest fact says everything. It is found in an index, in
    -- whose order the log is grouped; the log itself is read once, and never sorted.
    if contact is null then
        select n.sent_rows, n.more_rows, n.given, n.other_contacts
        into newest, more, given, others
        from contactmirror_newest(at, by_arrival, tenant) n;

        return query
        select a.context_identifier, a.contact_id,
            null::text, null::text, null::text, null::text, null::text, null::text, null::text, null::text,
            contactmirror_bigint(v.associate_id), contactmirror_bigint(v.country_id),
            contactmirror_bigint(v.business_idx), contactmirror_bigint(v.category_idx),
            contactmirror_bigint(v.registered_associate_id), null::bigint, null::bigint, null::bigint,
            contactmirror_bigint(v.userdef_id), contactmirror_bigint(v.userdef2_id), null::bigint,
            null::bigint, null::bigint, null::bigint, null::bigint, null::bigint, null::bigint,
            contactmirror_integer(v.source), contactmirror_integer(v."activeInterests"),
            null::integer, contactmirror_deleted(v.deleted), null::integer, null::boolean, null::boolean,
            contactmirror_time(v.registered) at time zone 'UTC',
            contactmirror_time(v.updated) at time zone 'UTC',
            contactmirror_time(v."DeletedDate") at time zone 'UTC', null::timestamp, null::timestamp,
            false, null::timestamptz,
            p.pending_columns,
            a.event, a.event_id, a.occurred_at, a.occurred_ticks, a.changed_by_associate_id
        from unnest(newest) n
        join contact_audit_log a on a.audit_seq = n
        join contactmirror_pending(given) p on p.given_columns = a.given_columns
        -- "offset 0" takes each value out once, however often its function looks at it.
        cross join lateral (
            select a.field_values ->> 'associate_id' as associate_id, a.field_values ->> 'country_id' as country_id,
                a.field_values ->> 'business_idx' as business_idx, a.field_values ->> 'category_idx' as category_idx,
                a.field_values ->> 'registered_associate_id' as registered_associate_id,
                a.field_values ->> 'userdef_id' as userdef_id, a.field_values ->> 'userdef2_id' as userdef2_id,
                a.field_values ->> 'source' as source, a.field_values ->> 'activeInterests' as "activeInterests",
                a.field_values ->> 'deleted' as deleted, a.field_values ->> 'registered' as registered,
                a.field_values ->> 'updated' as updated, a.field_values ->> 'DeletedDate' as "DeletedDate"
            offset 0
        ) v;

        return query
        select a.context_identifier, a.contact_id,
            r.name, r.kananame, r.department, r.number1, r.number2, r."orgNr", r."soundEx", r.dbi_key,
            contactmirror_bigint(r.associate_id), contactmirror_bigint(r.country_id),
            contactmirror_bigint(r.business_idx), contactmirror_bigint(r.category_idx),
            contactmirror_bigint(r.registered_associate_id), contactmirror_bigint(r.updated_associate_id),
            contactmirror_bigint(r.text_id), contactmirror_bigint(r.mother_id),
            contactmirror_bigint(r.userdef_id), contactmirror_bigint(r.userdef2_id),
            contactmirror_bigint(r.group_id), contactmirror_bigint(r."tzLocationId"),
            contactmirror_bigint(r."ticketPriorityId"), contactmirror_bigint(r."supportLanguageId"),
            contactmirror_bigint(r."supportAssociateId"), contactmirror_bigint(r."supportPersonId"),
            contactmirror_bigint(r.dbi_agent_id), contactmirror_integer(r.source),
            contactmirror_integer(r."activeInterests"), contactmirror_integer(r."updatedCount"),
            contactmirror_deleted(r.deleted), contactmirror_integer(r."activeErpLinks"),
            contactmirror_boolean(r.xstop), contactmirror_boolean(r.nomailing),
            contactmirror_time(r.registered) at time zone 'UTC', contactmirror_time(r.updated) at time zone 'UTC',
            contactmirror_time(r."DeletedDate") at time zone 'UTC', contactmirror_time(r.dbi_last_syncronized),
            contactmirror_time(r.dbi_last_modified),
            false, null::timestamptz, p.pending_columns,
            a.event, a.event_id, a.occurred_at, a.occurred_ticks, a.changed_by_associate_id
        from unnest(more) n
        join contact_audit_log a on a.audit_seq = n
        join contactmirror_pending(given) p on p.given_columns = a.given_columns
        cross join lateral jsonb_to_record(a.field_values) as r (
            name text, kananame text, department text, number1 text, number2 text, "orgNr" text, "soundEx" text,
            dbi_key text, associate_id text, country_id text, business_idx text, category_idx text,
            registered_associate_id text, updated_associate_id text, text_id text, mother_id text, userdef_id text,
            userdef2_id text, group_id text, "tzLocationId" text, "ticketPriorityId" text, "supportLanguageId" text,
            "supportAssociateId" text, "supportPersonId" text, dbi_agent_id text, source text,
            "activeInterests" text, "updatedCount" text, deleted text, "activeErpLinks" text, xstop text,
            nomailing text, registered text, updated text, "DeletedDate" text, dbi_last_syncronized text,
            dbi_last_modified text
        );

        if others is null then
            return;
        end if;
    end if;

    return query
    with facts as (
        select a.context_identifier, a.contact_id, a.event, a.event_id, a.occurred_at, a.occurred_ticks, a.changed_by_associate_id,
            a.soft_deleted, a.hard_deleted, a.field_values,
            a.changed_columns || a.unreadable_columns || coalesce(a.erased_columns, '{}') as named
        from contacts c
        join contact_audit_log a on a.context_identifier = c.context_identifier and a.contact_id = c.contact_id
        where (tenant is null or c.context_identifier = tenant)
            and (contact is null or c.contact_id = contact)
            and (others is null or c.contact_id || ' ' || c.context_identifier = any (others))
            and (by_arrival and c.mirrored_at > at or not by_arrival and c.last_event_at > at)
            and a.outcome is not null
            and (by_arrival and a.recorded_at <= at or not by_arrival and a.occurred_at <= at)
        union all
        select a.context_identifier, a.contact_id, a.event, a.event_id, a.occurred_at, a.occurred_ticks, a.changed_by_associate_id,
            a.soft_deleted, a.hard_deleted, a.field_values,
            a.changed_columns || a.unreadable_columns || coalesce(a.erased_columns, '{}') as named
        from contact_tombstones t
        join contact_audit_log a on a.context_identifier = t.context_identifier and a.contact_id = t.contact_id
        where (tenant is null or t.context_identifier = tenant)
            and (contact is null or t.contact_id = contact)
            and (others is null or t.contact_id || ' ' || t.context_identifier = any (others))
            and (by_arrival or t.deleted_at > at)
            and a.outcome is not null
            and (by_arrival and a.recorded_at <= at or not by_arrival and a.occurred_at <= at)
    ), told as (
        select a.context_identifier, a.contact_id,
            array_agg(
                row(
                    a.event, a.event_id, a.occurred_at, a.occurred_ticks, a.changed_by_associate_id,
                    a.soft_deleted, a.field_values, a.named
                )::contactmirror_fact
                order by a.occurred_ticks, contactmirror_rank(a.event), a.event_id
            ) as facts,
            coalesce(bool_or(a.soft_deleted), false) as was_soft_deleted,
            bool_and(coalesce(a.field_values, '{}') = '{}') as bare
        from facts a
        group by a.contact_id, a.context_identifier
        having not bool_or(a.hard_deleted)
    )
    select t.context_identifier, t.contact_id,
        r.name, r.kananame, r.department, r.number1, r.number2, r."orgNr", r."soundEx", r.dbi_key,
        contactmirror_bigint(r.associate_id), contactmirror_bigint(r.country_id),
        contactmirror_bigint(r.business_idx), contactmirror_bigint(r.category_idx),
        contactmirror_bigint(r.registered_associate_id), contactmirror_bigint(r.updated_associate_id),
        contactmirror_bigint(r.text_id), contactmirror_bigint(r.mother_id),
        contactmirror_bigint(r.userdef_id), contactmirror_bigint(r.userdef2_id),
        contactmirror_bigint(r.group_id), contactmirror_bigint(r."tzLocationId"),
        contactmirror_bigint(r."ticketPriorityId"), contactmirror_bigint(r."supportLanguageId"),
        contactmirror_bigint(r."supportAssociateId"), contactmirror_bigint(r."supportPersonId"),
        contactmirror_bigint(r.dbi_agent_id), contactmirror_integer(r.source),
        contactmirror_integer(r."activeInterests"), contactmirror_integer(r."updatedCount"),
        contactmirror_deleted(r.deleted), contactmirror_integer(r."activeErpLinks"),
        contactmirror_boolean(r.xstop), contactmirror_boolean(r.nomailing),
        contactmirror_time(r.registered) at time zone 'UTC', contactmirror_time(r.updated) at time zone 'UTC',
        contactmirror_time(r."DeletedDate") at time zone 'UTC', contactmirror_time(r.dbi_last_syncronized),
        contactmirror_time(r.dbi_last_modified),
        coalesce(bin.soft_deleted, false), bin.since, p.pending_columns,
        (l.last).event, (l.last).event_id, (l.last).occurred_at, (l.last).occurred_ticks, (l.last).changed_by_associate_id
    from told t
    -- "offset 0" keeps what is used often from being computed as often.
    cross join lateral (select t.facts[cardinality(t.facts)] as last offset 0) l
    cross join lateral (
        select case when t.bare then (l.last).field_values else (
            select contactmirror_values(f.field_values order by f.place)
            from unnest(t.facts) with ordinality f (event, event_id, occurred_at, occurred_ticks, changed_by, soft_deleted, field_values, named, place)
        ) end as known
        offset 0
    ) v
    cross join lateral jsonb_to_record(coalesce(v.known, '{}')) as r (
        name text, kananame text, department text, number1 text, number2 text, "orgNr" text, "soundEx" text,
        dbi_key text, associate_id text, country_id text, business_idx text, category_idx text,
        registered_associate_id text, updated_associate_id text, text_id text, mother_id text, userdef_id text,
        userdef2_id text, group_id text, "tzLocationId" text, "ticketPriorityId" text, "supportLanguageId" text,
        "supportAssociateId" text, "supportPersonId" text, dbi_agent_id text, source text,
        "activeInterests" text, "updatedCount" text, deleted text, "activeErpLinks" text, xstop text,
        nomailing text, registered text, updated text, "DeletedDate" text, dbi_last_syncronized text,
        dbi_last_modified text
    )
    left join lateral (
        -- The stretch in the recycle bin that has not ended.
        select true as soft_deleted,
            coalesce(
                (array_agg(s.deleted_date order by s.place desc) filter (where s.deleted_date is not null))[1],
                (array_agg(s.occurred_at order by s.place))[1]
            ) as since
        from (
            select f.place, f.occurred_at, f.soft_deleted,
                contactmirror_time(f.field_values ->> 'DeletedDate') at time zone 'UTC' as deleted_date,
                max(f.place) filter (where not f.soft_deleted) over () as restored
            from unnest(t.facts) with ordinality f (event, event_id, occurred_at, occurred_ticks, changed_by, soft_deleted, field_values, named, place)
        ) s
        where t.was_soft_deleted and s.soft_deleted and s.place > coalesce(s.restored, 0)
        having count(*) > 0
    ) bin on true
    cross join lateral (
        select case
            when t.bare then array[
                    'name', 'kananame', 'department', 'number1', 'number2', 'org_nr', 'sound_ex', 'dbi_key',
                    'associate_id', 'country_id', 'business_idx', 'category_idx', 'registered_associate_id',
                    'updated_associate_id', 'text_id', 'mother_id', 'userdef_id', 'userdef2_id', 'group_id',
                    'tz_location_id', 'ticket_priority_id', 'support_language_id', 'support_associate_id',
                    'support_person_id', 'dbi_agent_id', 'source', 'active_interests', 'updated_count',
                    'deleted', 'active_erp_links', 'xstop', 'nomailing', 'registered', 'updated',
                    'deleted_date', 'dbi_last_syncronized', 'dbi_last_modified'
            ]
            else (
                select coalesce(array_agg(c.column_name order by c.place) filter (where not k.settled ? c.source_name), '{}')
                from (
                    select contactmirror_settled(f.named, f.field_values order by f.place) as settled
                    from unnest(t.facts) with ordinality f (event, event_id, occurred_at, occurred_ticks, changed_by, soft_deleted, field_values, named, place)
                ) k
                cross join unnest(array[
                    'name', 'kananame', 'department', 'number1', 'number2', 'orgNr', 'soundEx', 'dbi_key',
                    'associate_id', 'country_id', 'business_idx', 'category_idx', 'registered_associate_id',
                    'updated_associate_id', 'text_id', 'mother_id', 'userdef_id', 'userdef2_id', 'group_id',
                    'tzLocationId', 'ticketPriorityId', 'supportLanguageId', 'supportAssociateId',
                    'supportPersonId', 'dbi_agent_id', 'source', 'activeInterests', 'updatedCount', 'deleted',
                    'activeErpLinks', 'xstop', 'nomailing', 'registered', 'updated', 'DeletedDate',
                    'dbi_last_syncronized', 'dbi_last_modified'
                ], array[
                    'name', 'kananame', 'department', 'number1', 'number2', 'org_nr', 'sound_ex', 'dbi_key',
                    'associate_id', 'country_id', 'business_idx', 'category_idx', 'registered_associate_id',
                    'updated_associate_id', 'text_id', 'mother_id', 'userdef_id', 'userdef2_id', 'group_id',
                    'tz_location_id', 'ticket_priority_id', 'support_language_id', 'support_associate_id',
                    'support_person_id', 'dbi_agent_id', 'source', 'active_interests', 'updated_count',
                    'deleted', 'active_erp_links', 'xstop', 'nomailing', 'registered', 'updated',
                    'deleted_date', 'dbi_last_syncronized', 'dbi_last_modified'
                ]) with ordinality c (source_name, column_name, place)
            )
        end as pending_columns
        offset 0
    ) p;
end
$$;
-- +goose StatementEnd

comment on function contactmirror_refold(timestamptz, boolean, text, bigint) is 'The contacts about which anything happened (or, by arrival, was written) after a time, folded from their facts up to it. pending_columns is NULL where it holds the columns that SuperOffice 11 sends no value for: that would be most of a row.';

-- +goose StatementBegin
create function contactmirror_standing(at timestamptz, by_arrival boolean, tenant text, contact bigint) returns setof contact_as_of
language sql stable parallel restricted
rows 100000
begin atomic
    -- Nothing has happened to these since or, by arrival, been written.
    select
        c.context_identifier, c.contact_id,
        c.name, c.kananame, c.department, c.number1, c.number2, c.org_nr, c.sound_ex, c.dbi_key, c.associate_id,
        c.country_id, c.business_idx, c.category_idx, c.registered_associate_id, c.updated_associate_id,
        c.text_id, c.mother_id, c.userdef_id, c.userdef2_id, c.group_id, c.tz_location_id, c.ticket_priority_id,
        c.support_language_id, c.support_associate_id, c.support_person_id, c.dbi_agent_id, c.source,
        c.active_interests, c.updated_count, c.deleted, c.active_erp_links, c.xstop, c.nomailing, c.registered,
        c.updated, c.deleted_date, c.dbi_last_syncronized, c.dbi_last_modified,
        c.soft_deleted, c.soft_deleted_at, c.pending_columns,
        c.last_event, c.last_event_id, c.last_event_at, c.last_event_ticks, c.last_changed_by_associate_id
    from contacts c
    where (tenant is null or c.context_identifier = tenant)
        and (contact is null or c.contact_id = contact)
        and (by_arrival and c.mirrored_at <= at or not by_arrival and c.last_event_at <= at)
    union all
    select
        r.context_identifier, r.contact_id,
        r.name, r.kananame, r.department, r.number1, r.number2, r.org_nr, r.sound_ex, r.dbi_key, r.associate_id,
        r.country_id, r.business_idx, r.category_idx, r.registered_associate_id, r.updated_associate_id,
        r.text_id, r.mother_id, r.userdef_id, r.userdef2_id, r.group_id, r.tz_location_id, r.ticket_priority_id,
        r.support_language_id, r.support_associate_id, r.support_person_id, r.dbi_agent_id, r.source,
        r.active_interests, r.updated_count, r.deleted, r.active_erp_links, r.xstop, r.nomailing, r.registered,
        r.updated, r.deleted_date, r.dbi_last_syncronized, r.dbi_last_modified,
        r.soft_deleted, r.soft_deleted_at, coalesce(r.pending_columns, array[
            'name', 'kananame', 'department', 'number1', 'number2', 'org_nr', 'sound_ex', 'dbi_key',
            'updated_associate_id', 'text_id', 'mother_id', 'group_id', 'tz_location_id',
            'ticket_priority_id', 'support_language_id', 'support_associate_id', 'support_person_id',
            'dbi_agent_id', 'updated_count', 'active_erp_links', 'xstop', 'nomailing',
            'dbi_last_syncronized', 'dbi_last_modified'
        ]),
        r.last_event, r.last_event_id, r.last_event_at, r.last_event_ticks, r.last_changed_by_associate_id
    from contactmirror_refold(at, by_arrival, tenant, contact) r;
end;
-- +goose StatementEnd

comment on function contactmirror_standing(timestamptz, boolean, text, bigint) is 'The mirror as of a time, by when facts occurred or by when they were recorded.';

-- +goose StatementBegin
create function contacts_as_of(at timestamptz, context_identifier text default null, contact_id bigint default null)
returns setof contact_as_of
language sql stable parallel restricted
rows 100000
begin atomic
    select *
    from contactmirror_standing(contacts_as_of.at, false, contacts_as_of.context_identifier, contacts_as_of.contact_id);
end;
-- +goose StatementEnd

comment on function contacts_as_of(timestamptz, text, bigint) is 'contacts_as_of(at, context_identifier, contact_id): the mirror as it was at the source at a time, from all facts that occurred by then, whenever they arrived. A fact occurred at its occurred_at, which is cut to microseconds: so one whose occurred_ticks are up to 900 ns later than at is included. context_identifier and contact_id may be left out: then of all tenants, or all contacts. Fails for an unknown tenant.';

-- +goose StatementBegin
create function contacts_as_known_at(at timestamptz, context_identifier text default null, contact_id bigint default null)
returns setof contact_as_of
language sql stable parallel restricted
rows 100000
begin atomic
    select *
    from contactmirror_standing(contacts_as_known_at.at, true, contacts_as_known_at.context_identifier, contacts_as_known_at.contact_id);
end;
-- +goose StatementEnd

comment on function contacts_as_known_at(timestamptz, text, bigint) is 'contacts_as_known_at(at, context_identifier, contact_id): the mirror as this database knew it at a time, from all facts recorded by then, exact to the longest apply transaction. context_identifier and contact_id may be left out: then of all tenants, or all contacts. Fails for an unknown tenant.';

-- Facts within one microsecond make one version, for valid_from tells no more. Each
-- window is partitioned by the contact, so that a condition on it reads one contact.
create view contact_history as
select v.context_identifier, v.contact_id, v.occurred_at as valid_from,
    coalesce(lead(v.occurred_at) over in_order, v.hard_deleted_at) as valid_to,
    v.name, v.kananame, v.department, v.number1, v.number2, v.org_nr, v.sound_ex, v.dbi_key, v.associate_id,
    v.country_id, v.business_idx, v.category_idx, v.registered_associate_id, v.updated_associate_id, v.text_id,
    v.mother_id, v.userdef_id, v.userdef2_id, v.group_id, v.tz_location_id, v.ticket_priority_id,
    v.support_language_id, v.support_associate_id, v.support_person_id, v.dbi_agent_id, v.source,
    v.active_interests, v.updated_count, v.deleted, v.active_erp_links, v.xstop, v.nomailing, v.registered,
    v.updated, v.deleted_date, v.dbi_last_syncronized, v.dbi_last_modified,
    v.soft_deleted, v.soft_deleted_at, v.pending_columns, v.changed_by_associate_id,
    v.event, v.event_id, v.audit_seq, v.occurred_at, v.occurred_ticks, v.event_rank
from (
    select f.context_identifier, f.contact_id, f.occurred_at, f.occurred_ticks, f.event_rank, f.event, f.event_id, f.audit_seq,
        f.changed_by_associate_id, f.hard_deleted_at,
        x.name, x.kananame, x.department, x.number1, x.number2, x.org_nr, x.sound_ex, x.dbi_key, x.associate_id,
        x.country_id, x.business_idx, x.category_idx, x.registered_associate_id, x.updated_associate_id,
        x.text_id, x.mother_id, x.userdef_id, x.userdef2_id, x.group_id, x.tz_location_id, x.ticket_priority_id,
        x.support_language_id, x.support_associate_id, x.support_person_id, x.dbi_agent_id, x.source,
        x.active_interests, x.updated_count, x.deleted, x.active_erp_links, x.xstop, x.nomailing, x.registered,
        x.updated, x.deleted_date, x.dbi_last_syncronized, x.dbi_last_modified,
        b.soft_deleted, b.soft_deleted_at, p.pending_columns,
        row(x.*, b.*, p.*) is distinct from lag(row(x.*, b.*, p.*)) over (
            partition by f.context_identifier, f.contact_id
            order by f.occurred_at
        ) as differs
    from (
        select f.*,
            contactmirror_last(f.deleted_date) over in_stretch as last_deleted_date,
            min(f.occurred_at) filter (where f.soft_deleted) over in_stretch as first_deleted_at
        from (
            select a.context_identifier, a.contact_id, a.occurred_at, a.occurred_ticks, contactmirror_rank(a.event) as event_rank,
                a.event, a.event_id, a.audit_seq, a.changed_by_associate_id, a.soft_deleted,
                case when a.soft_deleted then to_jsonb(contactmirror_time(a.field_values ->> 'DeletedDate') at time zone 'UTC') end as deleted_date,
                contactmirror_values(a.field_values) over in_order as known,
                contactmirror_settled(a.changed_columns || a.unreadable_columns || a.erased_columns, a.field_values) over in_order as settled,
                count(*) filter (where not a.soft_deleted) over in_order as stretch,
                bool_or(a.hard_deleted) over in_order as gone,
                min(a.occurred_at) filter (where a.hard_deleted) over (partition by a.context_identifier, a.contact_id) as hard_deleted_at,
                lead(a.occurred_at) over in_order as next_at
            from contact_audit_log a
            where a.outcome is not null
            window in_order as (
                partition by a.context_identifier, a.contact_id
                order by a.occurred_ticks, contactmirror_rank(a.event), a.event_id
                rows unbounded preceding
            )
        ) f
        -- What follows a restore, up to the next one: at most one stay in the recycle bin.
        window in_stretch as (
            partition by f.context_identifier, f.contact_id, f.stretch
            order by f.occurred_ticks, f.event_rank, f.event_id
            rows unbounded preceding
        )
    ) f
    cross join lateral jsonb_to_record(f.known) as r (
        name text, kananame text, department text, number1 text, number2 text, "orgNr" text, "soundEx" text,
        dbi_key text, associate_id text, country_id text, business_idx text, category_idx text,
        registered_associate_id text, updated_associate_id text, text_id text, mother_id text, userdef_id text,
        userdef2_id text, group_id text, "tzLocationId" text, "ticketPriorityId" text, "supportLanguageId" text,
        "supportAssociateId" text, "supportPersonId" text, dbi_agent_id text, source text,
        "activeInterests" text, "updatedCount" text, deleted text, "activeErpLinks" text, xstop text,
        nomailing text, registered text, updated text, "DeletedDate" text, dbi_last_syncronized text,
        dbi_last_modified text
    )
    -- "offset 0" takes each value out once, however often its function looks at it.
    cross join lateral (
        select
            r.name as name, r.kananame as kananame, r.department as department, r.number1 as number1,
            r.number2 as number2, r."orgNr" as org_nr, r."soundEx" as sound_ex, r.dbi_key as dbi_key,
            contactmirror_bigint(r.associate_id) as associate_id,
            contactmirror_bigint(r.country_id) as country_id,
            contactmirror_bigint(r.business_idx) as business_idx,
            contactmirror_bigint(r.category_idx) as category_idx,
            contactmirror_bigint(r.registered_associate_id) as registered_associate_id,
            contactmirror_bigint(r.updated_associate_id) as updated_associate_id,
            contactmirror_bigint(r.text_id) as text_id, contactmirror_bigint(r.mother_id) as mother_id,
            contactmirror_bigint(r.userdef_id) as userdef_id,
            contactmirror_bigint(r.userdef2_id) as userdef2_id, contactmirror_bigint(r.group_id) as group_id,
            contactmirror_bigint(r."tzLocationId") as tz_location_id,
            contactmirror_bigint(r."ticketPriorityId") as ticket_priority_id,
            contactmirror_bigint(r."supportLanguageId") as support_language_id,
            contactmirror_bigint(r."supportAssociateId") as support_associate_id,
            contactmirror_bigint(r."supportPersonId") as support_person_id,
            contactmirror_bigint(r.dbi_agent_id) as dbi_agent_id, contactmirror_integer(r.source) as source,
            contactmirror_integer(r."activeInterests") as active_interests,
            contactmirror_integer(r."updatedCount") as updated_count,
            contactmirror_deleted(r.deleted) as deleted,
            contactmirror_integer(r."activeErpLinks") as active_erp_links,
            contactmirror_boolean(r.xstop) as xstop, contactmirror_boolean(r.nomailing) as nomailing,
            contactmirror_time(r.registered) at time zone 'UTC' as registered,
            contactmirror_time(r.updated) at time zone 'UTC' as updated,
            contactmirror_time(r."DeletedDate") at time zone 'UTC' as deleted_date,
            contactmirror_time(r.dbi_last_syncronized) as dbi_last_syncronized,
            contactmirror_time(r.dbi_last_modified) as dbi_last_modified
        offset 0
    ) x
    cross join lateral (
        select f.first_deleted_at is not null as soft_deleted,
            case when f.first_deleted_at is not null then coalesce((f.last_deleted_date #>> '{}')::timestamptz, f.first_deleted_at) end as soft_deleted_at
    ) b
    cross join lateral (
        select coalesce(array_agg(c.column_name order by c.place) filter (where not f.settled ? c.source_name), '{}') as pending_columns
        from unnest(array[
            'name', 'kananame', 'department', 'number1', 'number2', 'orgNr', 'soundEx', 'dbi_key',
            'associate_id', 'country_id', 'business_idx', 'category_idx', 'registered_associate_id',
            'updated_associate_id', 'text_id', 'mother_id', 'userdef_id', 'userdef2_id', 'group_id',
            'tzLocationId', 'ticketPriorityId', 'supportLanguageId', 'supportAssociateId', 'supportPersonId',
            'dbi_agent_id', 'source', 'activeInterests', 'updatedCount', 'deleted', 'activeErpLinks', 'xstop',
            'nomailing', 'registered', 'updated', 'DeletedDate', 'dbi_last_syncronized', 'dbi_last_modified'
        ], array[
            'name', 'kananame', 'department', 'number1', 'number2', 'org_nr', 'sound_ex', 'dbi_key',
            'associate_id', 'country_id', 'business_idx', 'category_idx', 'registered_associate_id',
            'updated_associate_id', 'text_id', 'mother_id', 'userdef_id', 'userdef2_id', 'group_id',
            'tz_location_id', 'ticket_priority_id', 'support_language_id', 'support_associate_id',
            'support_person_id', 'dbi_agent_id', 'source', 'active_interests', 'updated_count', 'deleted',
            'active_erp_links', 'xstop', 'nomailing', 'registered', 'updated', 'deleted_date',
            'dbi_last_syncronized', 'dbi_last_modified'
        ]) with ordinality c (source_name, column_name, place)
    ) p
    where not f.gone and f.next_at is distinct from f.occurred_at
) v
where v.differs
window in_order as (partition by v.context_identifier, v.contact_id order by v.occurred_at);

comment on view contact_history is 'One line for each version of a contact at the source, in which some column, the soft-delete flag or pending_columns differs from the version before: a slowly changing dimension of type 2. Name the tenant and the contact, or use the function of the same name.';
comment on column contact_history.context_identifier is 'SuperOffice''s ContextIdentifier, the tenant.';
comment on column contact_history.contact_id is 'The contact.';
comment on column contact_history.valid_from is 'Since when the contact was so: the Timestamp of the event that made the version, cut to microseconds.';
comment on column contact_history.valid_to is 'Until when, not included: the next version''s valid_from, or the time of the hard delete; NULL while it is still so.';
comment on column contact_history.soft_deleted is 'Whether it was in the recycle bin.';
comment on column contact_history.soft_deleted_at is 'Since when; NULL where it was not.';
comment on column contact_history.pending_columns is 'Columns whose value then is not known; an older value may stand in the version.';
comment on column contact_history.changed_by_associate_id is 'Who caused the event that made the version; NULL where it does not say.';
comment on column contact_history.event is 'SuperOffice''s name of that event.';
comment on column contact_history.event_id is 'Its EventId.';
comment on column contact_history.audit_seq is 'Its row in contact_audit_log.';
comment on column contact_history.occurred_at is 'The same as valid_from.';
comment on column contact_history.occurred_ticks is 'SuperOffice''s Timestamp in units of 100 ns since 1970-01-01 UTC.';
comment on column contact_history.event_rank is 'Order of the event''s kind among events of the same instant.';

-- +goose StatementBegin
create function contact_history(context_identifier text, contact_id bigint) returns setof contact_history
language sql stable parallel safe
rows 10
begin atomic
    select h.*
    from contact_history h
    where h.context_identifier = contact_history.context_identifier and h.contact_id = contact_history.contact_id;
end;
-- +goose StatementEnd

comment on function contact_history(text, bigint) is 'contact_history(context_identifier, contact_id): the versions of one contact.';

-- +goose Down

drop function contact_history(text, bigint);
drop view contact_history;
drop function contacts_as_known_at(timestamptz, text, bigint);
drop function contacts_as_of(timestamptz, text, bigint);
drop function contactmirror_standing(timestamptz, boolean, text, bigint);
drop function contactmirror_refold(timestamptz, boolean, text, bigint);
drop function contactmirror_pending(bigint[]);
drop function contactmirror_newest(timestamptz, boolean, text);
drop function contactmirror_known(timestamptz);
drop type contact_as_of;
drop type contactmirror_fact;
