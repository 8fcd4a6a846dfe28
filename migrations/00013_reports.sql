-- What reports ask: timelines, changes, deletions, where a value comes from, how
-- fresh the mirror is, and what it said at another time.
--
-- Everything here is computed from the facts in contact_audit_log, in the order
-- of the fold: by occurred_ticks, by kind of event, by event_id. So it is right
-- whatever arrived late, and nothing of it is stored. Names that begin with
-- contactmirror_ are for the views and functions of this file alone.
--
-- A migration runs in one transaction, where indexes can't come and go concurrently:
-- writes wait for these five once. How long to wait for locks, and for the
-- statements, is for whoever runs it to say, in the URL's options.
-- squawk-ignore-file require-concurrent-index-creation, require-concurrent-index-deletion, require-lock-timeout, require-statement-timeout

-- +goose Up

-- One entry for each event that soft- or hard-deletes, or speaks of a contact in
-- the recycle bin. Others cost the test of two booleans.
create index contact_audit_log_deletions on contact_audit_log (context_identifier, occurred_at) where soft_deleted or hard_deleted;

-- A few bytes for 32 pages of the log, written once when they are full: the log is
-- nearly in order of time, and the operator class bears with the late ones.
create index contact_audit_log_occurred_at on contact_audit_log
    using brin (occurred_at timestamptz_minmax_multi_ops) with (pages_per_range = 32, autosummarize = on);

-- The same for the order of writing, so that what was written of late is found
-- without reading the log.
create index contact_audit_log_recorded_at on contact_audit_log
    using brin (recorded_at timestamptz_minmax_multi_ops) with (pages_per_range = 32, autosummarize = on);

-- One entry for each contact in the recycle bin. Updates of others stay in place:
-- what is indexed changes only with the flag.
create index contacts_recycle_bin on contacts (context_identifier, soft_deleted_at) where soft_deleted;

-- +goose StatementBegin
create function contactmirror_rank(event text) returns integer
language sql immutable parallel safe
return case event when 'contact.created' then 0 when 'contact.changed' then 1 when 'contact.softdeleted' then 2 else 3 end;
-- +goose StatementEnd

comment on function contactmirror_rank is 'Place of an event''s kind among those of one instant.';

-- The values in field_values have passed the program's decoder, contact.Decode.
-- These functions are its second implementation, over a value's text: they read
-- the same strings as the same values. Anything else is NULL and never an error,
-- for one value that raises would fail every report of every tenant.
--
-- What almost every value looks like is read in SQL, which the planner inlines.
-- The rest goes to a contactmirror_read_ function, which knows the whole grammar
-- and costs several times as much.

-- +goose StatementBegin
create function contactmirror_read_integer(value text, lowest bigint, highest bigint) returns bigint
language plpgsql immutable strict parallel safe
as $$
begin
    if value like '[I:%]' then
        value := substr(value, 4, length(value) - 4);
    end if;
    if octet_length(value) > 32 or value !~ '^-?(0|[1-9][0-9]*)(\.0+)?$' then
        return null;
    end if;
    if value::numeric not between lowest and highest then
        return null;
    end if;
    return value::numeric;
end
$$;
-- +goose StatementEnd

comment on function contactmirror_read_integer(text, bigint, bigint) is 'The integer from lowest to highest that value is: 6, 6.0 or [I:6], without leading zeros and in at most 32 characters; NULL for any other text.';

-- +goose StatementBegin
create function contactmirror_bigint(value text) returns bigint
language sql immutable parallel safe
return case
    when octet_length(value) < 19 and value <> '' and value not like '0_%' and ltrim(value, '0123456789') = '' then value::bigint
    else contactmirror_read_integer(value, -9223372036854775808, 9223372036854775807)
end;
-- +goose StatementEnd

comment on function contactmirror_bigint(text) is 'The bigint that value is, as events write it: 6, 6.0 or [I:6]; NULL where it is none.';

-- +goose StatementBegin
create function contactmirror_integer(value text) returns integer
language sql immutable parallel safe
return case
    when octet_length(value) < 10 and value <> '' and value not like '0_%' and ltrim(value, '0123456789') = '' then value::integer
    else contactmirror_read_integer(value, -2147483648, 2147483647)::integer
end;
-- +goose StatementEnd

comment on function contactmirror_integer(text) is 'The integer that value is, as events write it: 6, 6.0 or [I:6]; NULL where it is none.';

-- +goose StatementBegin
create function contactmirror_boolean(value text) returns boolean
language sql immutable parallel safe
return case
    when value in ('1', 'true', 'True', '[B:1]', '[B:true]', '[B:True]', '[I:1]', '[I:true]', '[I:True]') then true
    when value in ('0', 'false', 'False', '[B:0]', '[B:false]', '[B:False]', '[I:0]', '[I:false]', '[I:False]') then false
end;
-- +goose StatementEnd

comment on function contactmirror_boolean(text) is 'The flag that value is, as events write it: 1, true, True, [B:1] or [I:1]; NULL where it is none.';

-- +goose StatementBegin
create function contactmirror_deleted(value text) returns integer
language sql immutable parallel safe
return coalesce(contactmirror_integer(value), contactmirror_boolean(value)::integer);
-- +goose StatementEnd

comment on function contactmirror_deleted(text) is 'The value of the deleted column as events write it: an integer or a flag; NULL where it is neither.';

-- The grammar of dates is written down in internal/contact/time.go.
-- +goose StatementBegin
create function contactmirror_read_time(value text) returns timestamp
language plpgsql immutable strict parallel safe
as $$
declare
    clock    text := left(value, 19); -- 2006-01-02T15:04:05
    rest     text := substr(value, 20);
    digits   text;
    fields   bigint; -- 20060102150405
    fraction text := '';
    days     bigint;
    minutes  integer := 0;
    read     timestamp;
begin
    if value like '[DT:__/__/____ __:__:__%]' then
        clock := substr(value, 11, 4) || '-' || substr(value, 5, 2) || '-' || substr(value, 8, 2) || 'T' || substr(value, 16, 8);
        rest := substr(value, 24, length(value) - 24);
        if ltrim(rest, '.0123456789') <> '' then
            return null;
        end if;
    end if;

    digits := translate(clock, '-T:', '');
    if clock not like '____-__-__T__:__:__' or octet_length(digits) <> 14 or ltrim(digits, '0123456789') <> '' then
        return null;
    end if;
    fields := digits::bigint;
    days := case fields / 100000000 % 100
        when 2 then
            case when fields / 10000000000 % 4 = 0 and (fields / 10000000000 % 100 <> 0 or fields / 10000000000 % 400 = 0) then 29 else 28 end
        when 4 then 30
        when 6 then 30
        when 9 then 30
        when 11 then 30
        else 31
    end;
    if fields / 100000000 % 100 not between 1 and 12 or fields / 1000000 % 100 not between 1 and days
        or fields % 1000000 > 235959 or fields % 10000 > 5959 or fields % 100 > 59
    then
        return null;
    end if;

    if rest like '.%' then
        digits := ltrim(substr(rest, 2), '0123456789');
        fraction := left(rest, length(rest) - length(digits));
        if fraction = '.' then
            return null;
        end if;
        rest := digits;
    end if;
    if rest <> '' and rest <> 'Z' then
        digits := substr(rest, 2, 2) || substr(rest, 5, 2);
        if rest not like '___:__' or left(rest, 1) not in ('+', '-') or ltrim(digits, '0123456789') <> '' then
            return null;
        end if;
        minutes := left(digits, 2)::integer * 60 + right(digits, 2)::integer;
        if minutes > 14 * 60 or right(digits, 2)::integer > 59 then
            return null;
        end if;
        if rest like '-%' then
            minutes := -minutes;
        end if;
    end if;

    if fields < 10000000000 then -- PostgreSQL has no year 0, and no offset leads out of what is not set
        return '-infinity';
    end if;
    read := (clock || left(fraction, 7))::timestamp - minutes * interval '1 minute';
    if read < '0001-01-03' or read between '1759-12-31' and '1760-01-02' then
        return '-infinity';
    end if;
    return case when read < '10000-01-01' then read end;
end
$$;
-- +goose StatementEnd

comment on function contactmirror_read_time(text) is 'The date that value is, in UTC, cut to microseconds; -infinity where it means that no date is set, NULL for any other text.';

-- +goose StatementBegin
create function contactmirror_usual_clock(value text) returns boolean
language sql immutable parallel safe
return value like '20__-__-__T__:__:__%'
    and substr(value, 3, 2) = any ('{00,01,02,03,04,05,06,07,08,09,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31,32,33,34,35,36,37,38,39,40,41,42,43,44,45,46,47,48,49,50,51,52,53,54,55,56,57,58,59}')
    and substr(value, 6, 2) = any ('{01,02,03,04,05,06,07,08,09,10,11,12}')
    and (
        substr(value, 9, 2) = any ('{01,02,03,04,05,06,07,08,09,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28}')
        or substr(value, 6, 5) = any ('{01-29,01-30,01-31,03-29,03-30,03-31,04-29,04-30,05-29,05-30,05-31,06-29,06-30,07-29,07-30,07-31,08-29,08-30,08-31,09-29,09-30,10-29,10-30,10-31,11-29,11-30,12-29,12-30,12-31}')
    )
    and substr(value, 12, 2) = any ('{00,01,02,03,04,05,06,07,08,09,10,11,12,13,14,15,16,17,18,19,20,21,22,23}')
    and substr(value, 15, 2) = any ('{00,01,02,03,04,05,06,07,08,09,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31,32,33,34,35,36,37,38,39,40,41,42,43,44,45,46,47,48,49,50,51,52,53,54,55,56,57,58,59}')
    and substr(value, 18, 2) = any ('{00,01,02,03,04,05,06,07,08,09,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31,32,33,34,35,36,37,38,39,40,41,42,43,44,45,46,47,48,49,50,51,52,53,54,55,56,57,58,59}');
-- +goose StatementEnd

comment on function contactmirror_usual_clock(text) is 'Whether value begins with a date and time of day of 2000 to 2059, but for 29 February. Hash lookups tell that sooner than a regular expression.';

-- +goose StatementBegin
create function contactmirror_time(value text) returns timestamp
language sql stable parallel safe
return case
    when value in ('0001-01-01T00:00:00', '0001-01-01T00:00:00Z') then null
    -- What passes these tests PostgreSQL reads itself, and raises on none of it.
    when (octet_length(value) = 19 or value like '___________________._%' and ltrim(substr(value, 21), '0123456789') = '')
        and contactmirror_usual_clock(value)
        then left(value, 26)::timestamp
    when value like '___________________._%+0_:00'
        and ltrim(substr(value, 21), '0123456789') = any ('{+00:00,+01:00,+02:00,+03:00,+04:00,+05:00,+06:00,+07:00,+08:00,+09:00}')
        and contactmirror_usual_clock(value)
        then (left(value, least(26, length(value) - 6)) || right(value, 6))::timestamptz at time zone 'UTC'
    when (value like '___________________Z' or value like '___________________._%Z' and ltrim(substr(value, 21), '0123456789') = 'Z')
        and contactmirror_usual_clock(value)
        then rtrim(left(value, 26), 'Z')::timestamp
    else nullif(contactmirror_read_time(value), '-infinity')
end;
-- +goose StatementEnd

comment on function contactmirror_time(text) is 'The date that value is, as events write it, in UTC, cut to microseconds; NULL where it means that no date is set, or is none.';

-- +goose StatementBegin
create function contactmirror_value(type text, source_name text, value jsonb) returns jsonb
language sql stable parallel safe
return case
    when jsonb_typeof(value) = 'null' then value
    when type = 'text' then case jsonb_typeof(value) when 'string' then value end
    when source_name = 'deleted' then to_jsonb(contactmirror_deleted(value #>> '{}'))
    when type = 'bigint' then to_jsonb(contactmirror_bigint(value #>> '{}'))
    when type = 'integer' then to_jsonb(contactmirror_integer(value #>> '{}'))
    when type = 'boolean' then to_jsonb(contactmirror_boolean(value #>> '{}'))
    else coalesce(
        to_jsonb((to_jsonb(contactmirror_time(value #>> '{}')) #>> '{}') || case type when 'timestamptz' then 'Z' else '' end),
        case contactmirror_read_time(value #>> '{}') when '-infinity' then 'null'::jsonb end
    )
end;
-- +goose StatementEnd

comment on function contactmirror_value(text, text, jsonb) is 'The value of a column of the type as JSON, in one form, so that equal values are equal: JSON''s null where it is NULL, SQL''s NULL where it can''t be read.';

create aggregate contactmirror_values (jsonb) (sfunc = jsonb_concat, stype = jsonb, initcond = '{}', parallel = safe);

comment on aggregate contactmirror_values (jsonb) is 'The last value given of each column, over field_values in order.';

-- +goose StatementBegin
create function contactmirror_settle(settled jsonb, named text[], given jsonb) returns jsonb
language sql immutable parallel safe
return (settled - named) || coalesce(given, '{}');
-- +goose StatementEnd

comment on function contactmirror_settle is 'What is settled after a fact: what it gives, and what it does not name.';

create aggregate contactmirror_settled (text[], jsonb) (sfunc = contactmirror_settle, stype = jsonb, initcond = '{}', parallel = safe);

comment on aggregate contactmirror_settled (text[], jsonb) is 'The columns whose last mention gave a value, over the names and field_values of facts in order.';

-- +goose StatementBegin
create function contactmirror_second(first jsonb, second jsonb) returns jsonb
language sql immutable strict parallel safe
return second;
-- +goose StatementEnd

comment on function contactmirror_second is 'Its second argument.';

create aggregate contactmirror_last (jsonb) (sfunc = contactmirror_second, stype = jsonb, parallel = safe);

comment on aggregate contactmirror_last (jsonb) is 'The last of the values that are not SQL''s NULL, in order.';

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
create function contactmirror_plain(field_values jsonb, soft_deleted boolean, erased_columns text[]) returns boolean
language sql immutable parallel safe
-- An object of fewer members sorts before one of more.
return coalesce(
    not soft_deleted and erased_columns is null and field_values ?& array[
        'activeInterests', 'associate_id', 'business_idx', 'category_idx', 'country_id', 'deleted',
        'DeletedDate', 'registered', 'registered_associate_id', 'source', 'updated', 'userdef2_id', 'userdef_id'
    ] and field_values < '{"":0,"1":0,"2":0,"3":0,"4":0,"5":0,"6":0,"7":0,"8":0,"9":0,"a":0,"b":0,"c":0,"d":0}',
    false
);
-- +goose StatementEnd

comment on function contactmirror_plain is 'Whether a fact gives exactly the columns that SuperOffice 11 gives with every event, and a place outside the recycle bin: all that facts like it said before is overwritten then.';

-- One entry for each fact that is not plain; others cost a look at their values.
create index contact_audit_log_odd on contact_audit_log (context_identifier, contact_id, occurred_ticks)
where not contactmirror_plain(field_values, soft_deleted, erased_columns);

-- How many those are decides whether they are read by that index.
create statistics contact_audit_log_plain on (contactmirror_plain(field_values, soft_deleted, erased_columns)) from contact_audit_log;

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

comment on function contactmirror_known is 'Of the log at a time: before which row all had been written, and after which none. Between them are those of transactions that ran side by side then.';

-- +goose StatementBegin
create function contactmirror_newest(at timestamptz, by_arrival boolean, tenant text) returns table (plain_rows bigint[], other_contacts text[])
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
        select c.context_identifier, c.contact_id, count(*) as facts,
            (max(array[a.occurred_ticks, a.audit_seq]))[2] as newest, -(max(array[a.occurred_ticks, -a.audit_seq]))[2] as also_newest
        from contacts c
        join contact_audit_log a on a.context_identifier = c.context_identifier and a.contact_id = c.contact_id
        where (tenant is null or c.context_identifier = tenant)
            and (by_arrival and c.mirrored_at > at or not by_arrival and c.last_event_at > at)
            and a.occurred_ticks < ticks and a.audit_seq < before
        group by c.context_identifier, c.contact_id
        union all
        select t.context_identifier, t.contact_id, count(*),
            (max(array[a.occurred_ticks, a.audit_seq]))[2], -(max(array[a.occurred_ticks, -a.audit_seq]))[2]
        from contact_tombstones t
        join contact_audit_log a on a.context_identifier = t.context_identifier and a.contact_id = t.contact_id
        where (tenant is null or t.context_identifier = tenant)
            and (by_arrival or t.deleted_at > at)
            and a.occurred_ticks < ticks and a.audit_seq < before
        group by t.context_identifier, t.contact_id
    ), odd as (
        select t.context_identifier, t.contact_id, count(*) as facts, bool_or(a.hard_deleted) as dead,
            bool_and(coalesce(a.field_values, '{}') = '{}' and a.soft_deleted is not true) as bare
        from told t
        join contact_audit_log a on a.context_identifier = t.context_identifier and a.contact_id = t.contact_id
        where not contactmirror_plain(a.field_values, a.soft_deleted, a.erased_columns)
            and a.occurred_ticks < ticks and a.audit_seq < before
        group by t.context_identifier, t.contact_id
    ), beside as (
        select distinct a.context_identifier, a.contact_id
        from contact_audit_log a
        where (tenant is null or a.context_identifier = tenant)
            and a.audit_seq between before and through and a.recorded_at <= at
    ), judged as (
        select context_identifier, contact_id, t.newest,
            b.contact_id is null and t.newest = t.also_newest and coalesce(o.bare and o.facts = t.facts, true) as plain
        from told t
        left join odd o using (context_identifier, contact_id)
        full join beside b using (context_identifier, contact_id)
        where o.dead is not true
    )
    select array_agg(j.newest) filter (where j.plain), array_agg(j.contact_id || ' ' || j.context_identifier) filter (where not j.plain)
    from judged j;
end
$$;
-- +goose StatementEnd

comment on function contactmirror_newest is 'Of the contacts that contactmirror_refold folds: the newest row in the log of each plain one, and the id and tenant of all others.';

-- +goose StatementBegin
create function contactmirror_refold(at timestamptz, by_arrival boolean, tenant text, contact bigint) returns setof contact_as_of
language plpgsql stable parallel restricted
rows 100000
set search_path from current
-- The arguments decide between an index and the whole log. The log's rows lie in
-- order of arrival, so to read many contacts by index reads a page for each row,
-- whatever the planner hopes to find in memory.
set plan_cache_mode = force_custom_plan
set effective_cache_size = '64MB'
set work_mem = '64MB'
set jit = off
as $$
#variable_conflict use_column
declare
    newest bigint[];
    others text[];
begin
    -- Most contacts are plain: each of their facts is, or none gave anything. Of
    -- those the newest says all. It is found in an index, in whose order the log is
    -- grouped; the log itself is read once, and never sorted.
    if contact is null then
        select n.plain_rows, n.other_contacts
        into newest, others
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
            case when a.field_values is null or a.field_values = '{}' then array[
                'name', 'kananame', 'department', 'number1', 'number2', 'org_nr', 'sound_ex', 'dbi_key',
                'associate_id', 'country_id', 'business_idx', 'category_idx', 'registered_associate_id',
                'updated_associate_id', 'text_id', 'mother_id', 'userdef_id', 'userdef2_id', 'group_id',
                'tz_location_id', 'ticket_priority_id', 'support_language_id', 'support_associate_id',
                'support_person_id', 'dbi_agent_id', 'source', 'active_interests', 'updated_count', 'deleted',
                'active_erp_links', 'xstop', 'nomailing', 'registered', 'updated', 'deleted_date',
                'dbi_last_syncronized', 'dbi_last_modified'
            ] end,
            a.event, a.event_id, a.occurred_at, a.occurred_ticks, a.changed_by_associate_id
        from unnest(newest) n
        join contact_audit_log a on a.audit_seq = n
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

comment on function contactmirror_refold is 'The contacts of which anything happened (or, by arrival, was written) after a time, folded from their facts up to it. pending_columns is NULL where it is what SuperOffice 11 leaves without a value, for that is most of a row.';

-- +goose StatementBegin
create function contactmirror_standing(at timestamptz, by_arrival boolean, tenant text, contact bigint) returns setof contact_as_of
language sql stable parallel restricted
rows 100000
begin atomic
    -- Of these nothing has happened since, or by arrival, been written.
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

comment on function contactmirror_standing is 'The mirror as of a time, by when facts occurred or by when they arrived.';

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

comment on function contacts_as_of is 'contacts_as_of(at, context_identifier, contact_id): the mirror as it stood at the source at a time, from all facts that occurred by then, whenever they arrived. context_identifier and contact_id may be left out: then of all tenants, or all contacts.';

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

comment on function contacts_as_known_at is 'contacts_as_known_at(at, context_identifier, contact_id): the mirror as this database knew it at a time, from all facts recorded by then, exact to the longest apply transaction. context_identifier and contact_id may be left out: then of all tenants, or all contacts.';

-- As a subquery in the select list: it is asked for the lines of a page only, after
-- they were sorted.
create view contact_timeline as
select a.context_identifier, a.contact_id, a.occurred_at, a.event,
    case
        when a.hard_deleted then 'hard_deleted'
        -- Against what was said of the flag before, by events that say anything of it.
        when a.soft_deleted <> coalesce((
            select b.soft_deleted
            from contact_audit_log b
            where b.context_identifier = a.context_identifier and b.contact_id = a.contact_id and b.soft_deleted is not null
                and b.occurred_ticks <= a.occurred_ticks
                and (b.occurred_ticks, contactmirror_rank(b.event), b.event_id) < (a.occurred_ticks, contactmirror_rank(a.event), a.event_id)
            order by b.occurred_ticks desc, contactmirror_rank(b.event) desc, b.event_id desc
            limit 1
        ), false) then case when a.soft_deleted then 'soft_deleted' else 'restored' end
    end as turn,
    a.changed_by_associate_id, a.changed_columns, a.field_values, a.unreadable_columns, a.id_values,
    a.soft_deleted, a.hard_deleted, a.outcome, a.origin, a.webhook_name,
    a.received_at, a.recorded_at, a.last_known, a.erased_columns, a.event_id, a.event_seq, a.audit_seq,
    a.occurred_ticks, contactmirror_rank(a.event) as event_rank
from contact_audit_log a;

comment on view contact_timeline is 'One line for each event of a contact: when, what, by whom, and what became of it. In the source''s order by occurred_ticks, event_rank, event_id; newest recorded first by audit_seq desc.';
comment on column contact_timeline.context_identifier is 'SuperOffice''s ContextIdentifier, the tenant.';
comment on column contact_timeline.contact_id is 'The contact.';
comment on column contact_timeline.occurred_at is 'SuperOffice''s Timestamp, cut to microseconds.';
comment on column contact_timeline.event is 'SuperOffice''s name of the event.';
comment on column contact_timeline.turn is 'The turn of the contact''s life that it was: soft_deleted, restored, hard_deleted; NULL for any other event.';
comment on column contact_timeline.changed_by_associate_id is 'Who caused the event; NULL where it does not say.';
comment on column contact_timeline.changed_columns is 'SuperOffice''s Changes: names of columns, verbatim.';
comment on column contact_timeline.field_values is 'The values the event gave contact columns, under SuperOffice''s names, as sent.';
comment on column contact_timeline.unreadable_columns is 'Columns to which the event gave a value that can''t be read.';
comment on column contact_timeline.id_values is 'SuperOffice''s Values, the ids of a dead row.';
comment on column contact_timeline.soft_deleted is 'What the event says of the soft-delete flag; NULL where it says nothing, and on a hard delete.';
comment on column contact_timeline.hard_deleted is 'The event is a hard delete.';
comment on column contact_timeline.outcome is 'What became of it: applied, no_op, superseded, after_delete.';
comment on column contact_timeline.origin is 'Where the fact came from: webhook, backfill, fetch or reconcile.';
comment on column contact_timeline.webhook_name is 'Name of the webhook definition at SuperOffice.';
comment on column contact_timeline.received_at is 'When the event arrived, by the receiver''s clock.';
comment on column contact_timeline.recorded_at is 'When it was applied, by the database''s clock.';
comment on column contact_timeline.last_known is 'On a hard delete: the row that contacts held until then.';
comment on column contact_timeline.erased_columns is 'The columns that it gave values which were erased since; NULL where nothing was.';
comment on column contact_timeline.event_id is 'SuperOffice''s EventId.';
comment on column contact_timeline.event_seq is 'The event in webhook_events; NULL where the fact did not come by webhook.';
comment on column contact_timeline.audit_seq is 'The row in contact_audit_log.';
comment on column contact_timeline.occurred_ticks is 'SuperOffice''s Timestamp in units of 100 ns since 1970-01-01 UTC.';
comment on column contact_timeline.event_rank is 'Place of the event''s kind among those of one instant.';

create view contact_changes as
select context_identifier, contact_id, column_name, occurred_at, old_value, old_known, new_value, value_known,
    changed_by_associate_id, event, event_id, outcome, origin, recorded_at, event_seq, audit_seq, occurred_ticks, event_rank
from (
    select said.*,
        contactmirror_last(new_value) over before as old_value,
        coalesce(lag(value_known) over in_order, false) as old_known
    from (
        select a.context_identifier, a.contact_id, a.event, a.event_id, a.occurred_at, a.occurred_ticks, contactmirror_rank(a.event) as event_rank,
            a.changed_by_associate_id, a.outcome, a.origin, a.recorded_at, a.event_seq, a.audit_seq, s.column_name, s.new_value,
            s.new_value is not null as value_known
        from (
            select l.context_identifier, l.contact_id, l.event, l.event_id, l.occurred_at, l.occurred_ticks, l.changed_by_associate_id,
                l.outcome, l.origin, l.recorded_at, l.event_seq, l.audit_seq, l.changed_columns, l.field_values, l.unreadable_columns, l.erased_columns,
                bool_or(l.hard_deleted) over (
                    partition by l.context_identifier, l.contact_id
                    order by l.occurred_ticks, contactmirror_rank(l.event), l.event_id
                ) as gone
            from contact_audit_log l
        ) a
        cross join lateral (
            select c.column_name, contactmirror_value(c.type, c.source_name, g.value) as new_value
            from jsonb_each(a.field_values) g (source_name, value)
            join contact_columns c using (source_name)
            where c.column_name <> 'contact_id'
            union all
            select distinct c.column_name, null::jsonb
            from unnest(a.changed_columns || a.unreadable_columns || coalesce(a.erased_columns, '{}')) n (source_name)
            join contact_columns c using (source_name)
            where c.column_name <> 'contact_id' and not coalesce(a.field_values ? n.source_name, false)
        ) s
        where not a.gone
    ) said
    window in_order as (partition by context_identifier, contact_id, column_name order by occurred_ticks, event_rank, event_id),
        before as (in_order rows between unbounded preceding and 1 preceding)
) changed
where not (value_known and old_known and new_value = old_value);

comment on view contact_changes is 'One line for each change of a column of a contact, in the source''s order also after late events. Name the tenant and the contact: then it reads that contact''s events only.';
comment on column contact_changes.context_identifier is 'SuperOffice''s ContextIdentifier, the tenant.';
comment on column contact_changes.contact_id is 'The contact.';
comment on column contact_changes.column_name is 'The column of contacts.';
comment on column contact_changes.occurred_at is 'When it changed: SuperOffice''s Timestamp of the event that says so, cut to microseconds.';
comment on column contact_changes.old_value is 'The value last known before; SQL''s NULL where none was, JSON''s null where it was NULL. Dates are in UTC.';
comment on column contact_changes.old_known is 'Whether that was the value right before, rather than an older one.';
comment on column contact_changes.new_value is 'The value that the event gives; SQL''s NULL where the event only says that it changed.';
comment on column contact_changes.value_known is 'Whether the event gives a value.';
comment on column contact_changes.changed_by_associate_id is 'Who caused the event; NULL where it does not say.';
comment on column contact_changes.event is 'SuperOffice''s name of the event.';
comment on column contact_changes.event_id is 'SuperOffice''s EventId.';
comment on column contact_changes.outcome is 'What became of the event: applied, no_op, superseded, after_delete.';
comment on column contact_changes.origin is 'Where the fact came from: webhook, backfill, fetch or reconcile.';
comment on column contact_changes.recorded_at is 'When the event was applied, by the database''s clock.';
comment on column contact_changes.event_seq is 'The event in webhook_events; NULL where the fact did not come by webhook.';
comment on column contact_changes.audit_seq is 'The row in contact_audit_log.';
comment on column contact_changes.occurred_ticks is 'SuperOffice''s Timestamp in units of 100 ns since 1970-01-01 UTC.';
comment on column contact_changes.event_rank is 'Place of the event''s kind among those of one instant.';

create view deleted_contacts as
select d.context_identifier, d.contact_id, d.occurred_at as deleted_at,
    case when d.hard_deleted then 'hard' else 'soft' end as deletion,
    d.changed_by_associate_id as deleted_by_associate_id,
    coalesce(k.last_known ->> 'name', c.name) as name,
    coalesce(k.last_known, contactmirror_row(c)) as last_known,
    r.occurred_at as restored_at, t.deleted_at as hard_deleted_at,
    d.event, d.event_id, d.event_seq, d.audit_seq, d.origin,
    d.occurred_at, d.occurred_ticks, contactmirror_rank(d.event) as event_rank
from contact_audit_log d
left join contact_tombstones t on t.context_identifier = d.context_identifier and t.contact_id = d.contact_id
left join contacts c on c.context_identifier = d.context_identifier and c.contact_id = d.contact_id
left join lateral (
    -- Of several hard deletes the first to arrive took the row away.
    select h.last_known
    from contact_audit_log h
    where t.contact_id is not null
        and h.context_identifier = d.context_identifier and h.contact_id = d.contact_id and h.hard_deleted and h.last_known is not null
    limit 1
) k on true
left join lateral (
    select n.occurred_at
    from contact_audit_log n
    where not d.hard_deleted
        and n.context_identifier = d.context_identifier and n.contact_id = d.contact_id and not n.soft_deleted
        and n.occurred_ticks >= d.occurred_ticks
        and (n.occurred_ticks, contactmirror_rank(n.event), n.event_id) > (d.occurred_ticks, contactmirror_rank(d.event), d.event_id)
        and (t.occurred_ticks is null or (n.occurred_ticks, contactmirror_rank(n.event), n.event_id) < (t.occurred_ticks, 3, t.event_id))
    order by n.occurred_ticks, contactmirror_rank(n.event), n.event_id
    limit 1
) r on true
where (d.soft_deleted or d.hard_deleted)
    and case
        when d.hard_deleted then (d.occurred_ticks, d.event_id) = (t.occurred_ticks, t.event_id)
        -- The first of a stretch in the recycle bin, and not said of a dead contact.
        else (t.occurred_ticks is null or (d.occurred_ticks, contactmirror_rank(d.event), d.event_id) < (t.occurred_ticks, 3, t.event_id))
            and not coalesce((
                select b.soft_deleted
                from contact_audit_log b
                where b.context_identifier = d.context_identifier and b.contact_id = d.contact_id and b.soft_deleted is not null
                    and b.occurred_ticks <= d.occurred_ticks
                    and (b.occurred_ticks, contactmirror_rank(b.event), b.event_id) < (d.occurred_ticks, contactmirror_rank(d.event), d.event_id)
                order by b.occurred_ticks desc, contactmirror_rank(b.event) desc, b.event_id desc
                limit 1
            ), false)
    end;

comment on view deleted_contacts is 'One line for each deletion: each time a contact came into the recycle bin, and its hard delete (of several the earliest).';
comment on column deleted_contacts.context_identifier is 'SuperOffice''s ContextIdentifier, the tenant.';
comment on column deleted_contacts.contact_id is 'The contact.';
comment on column deleted_contacts.deleted_at is 'When: SuperOffice''s Timestamp of the event, cut to microseconds.';
comment on column deleted_contacts.deletion is 'soft: into the recycle bin; hard: for good.';
comment on column deleted_contacts.deleted_by_associate_id is 'Who caused the event; NULL where it does not say.';
comment on column deleted_contacts.name is 'The contact''s name as last known; NULL where it never was.';
comment on column deleted_contacts.last_known is 'The contact''s row as last known, by column name: as it stands in contacts, or stood there until the hard delete; NULL where there was none.';
comment on column deleted_contacts.restored_at is 'Of a soft deletion: when the contact came back out of the recycle bin; NULL where it did not.';
comment on column deleted_contacts.hard_deleted_at is 'When the contact was deleted for good; NULL where it was not.';
comment on column deleted_contacts.event is 'SuperOffice''s name of the event that says so.';
comment on column deleted_contacts.event_id is 'Its EventId.';
comment on column deleted_contacts.event_seq is 'It in webhook_events; NULL where the fact did not come by webhook.';
comment on column deleted_contacts.audit_seq is 'It in contact_audit_log.';
comment on column deleted_contacts.origin is 'Where the fact came from: webhook, backfill, fetch or reconcile.';
comment on column deleted_contacts.occurred_at is 'The same as deleted_at.';
comment on column deleted_contacts.occurred_ticks is 'SuperOffice''s Timestamp in units of 100 ns since 1970-01-01 UTC.';
comment on column deleted_contacts.event_rank is 'Place of the event''s kind among those of one instant.';

create view restorable_contacts as
select context_identifier, contact_id, name, department, soft_deleted_at,
    soft_deleted_at + interval '14 days' as expires_at,
    greatest(0, extract(epoch from soft_deleted_at + interval '14 days' - now()) / 86400)::numeric(9, 1) as days_left,
    last_changed_by_associate_id, pending_columns
from contacts
where soft_deleted;

comment on view restorable_contacts is 'Contacts in the recycle bin, out of which SuperOffice can restore them. It empties the bin after 14 days, unless its preference SoftDeleteRetention says otherwise.';
comment on column restorable_contacts.context_identifier is 'SuperOffice''s ContextIdentifier, the tenant.';
comment on column restorable_contacts.contact_id is 'The contact.';
comment on column restorable_contacts.name is 'Its name, as far as known.';
comment on column restorable_contacts.department is 'Its department, as far as known.';
comment on column restorable_contacts.soft_deleted_at is 'Since when in the recycle bin.';
comment on column restorable_contacts.expires_at is 'When the 14 days are over.';
comment on column restorable_contacts.days_left is 'How many of them are left; 0 where they are over and SuperOffice has not said that it deleted the contact.';
comment on column restorable_contacts.last_changed_by_associate_id is 'Who caused the newest event; NULL where it does not say.';
comment on column restorable_contacts.pending_columns is 'Columns whose current value is not known here.';

create view pending_contacts as
select context_identifier, contact_id, name, department, cardinality(pending_columns) as pending, pending_columns,
    soft_deleted, last_event_at, last_changed_by_associate_id
from contacts
where pending_columns <> '{}';

comment on view pending_contacts is 'Contacts of which a column changed to a value that is not known here.';
comment on column pending_contacts.context_identifier is 'SuperOffice''s ContextIdentifier, the tenant.';
comment on column pending_contacts.contact_id is 'The contact.';
comment on column pending_contacts.name is 'Its name, as far as known.';
comment on column pending_contacts.department is 'Its department, as far as known.';
comment on column pending_contacts.pending is 'How many columns are pending.';
comment on column pending_contacts.pending_columns is 'Which.';
comment on column pending_contacts.soft_deleted is 'In SuperOffice''s recycle bin.';
comment on column pending_contacts.last_event_at is 'Timestamp of the newest event.';
comment on column pending_contacts.last_changed_by_associate_id is 'Who caused it; NULL where it does not say.';

-- +goose StatementBegin
create function column_provenance(context_identifier text, contact_id bigint) returns table (
    column_name text, source_name text, value jsonb, pending boolean, occurred_at timestamptz, event text, event_id uuid,
    changed_by_associate_id bigint, origin text, pending_since timestamptz
)
language sql stable parallel safe
rows 37
-- To compile it takes longer than to run it: the planner overrates it.
set jit = off
begin atomic
    with live as (
        select
        from contacts c
        where c.context_identifier = column_provenance.context_identifier and c.contact_id = column_provenance.contact_id
        limit 1
    ), facts as (
        select a.*, row_number() over (order by a.occurred_ticks, contactmirror_rank(a.event), a.event_id) as place
        from live
        cross join lateral (
            select l.event, l.event_id, l.occurred_at, l.occurred_ticks, l.changed_by_associate_id, l.origin,
                l.changed_columns, l.field_values, l.unreadable_columns, l.erased_columns
            from contact_audit_log l
            where l.context_identifier = column_provenance.context_identifier and l.contact_id = column_provenance.contact_id
            offset 0 -- stays a subquery, and so an index scan
        ) a
    )
    select s.column_name, s.source_name, g.value, g.value is null or n.place is not null,
        g.occurred_at, g.event, g.event_id, g.changed_by_associate_id, g.origin, n.occurred_at
    from live
    cross join contact_columns s
    left join lateral (
        -- The last fact that gives the column a value.
        select f.*, contactmirror_value(s.type, s.source_name, f.field_values -> s.source_name) as value
        from facts f
        where f.field_values ? s.source_name
        order by f.place desc
        limit 1
    ) g on true
    left join lateral (
        -- The first after it that says no more than that it changed.
        select f.place, f.occurred_at
        from facts f
        where f.place > coalesce(g.place, 0)
            and s.source_name = any (f.changed_columns || f.unreadable_columns || coalesce(f.erased_columns, '{}'))
        order by f.place
        limit 1
    ) n on true
    where s.column_name <> 'contact_id';
end;
-- +goose StatementEnd

comment on function column_provenance is 'column_provenance(context_identifier, contact_id): where each value of a live contact comes from: the event that gave it, when, by whom; and whether it is pending, since when an event named the column without a value (NULL where none has). value is SQL''s NULL where none was ever given.';

create view mirror_waiting as
-- Not only the first of each lane: what comes out of a spool is older than what
-- was queued before it.
select context_identifier, 'queue' as place, min(received_at) as since, null::uuid as receiver_id
from sync_queue
group by context_identifier
union all
select context_identifier, 'quarantine', min(received_at), null
from quarantined_deliveries
where resolved_at is null
group by context_identifier
union all
-- Nothing received within the last two seconds before a heartbeat need be in the
-- database yet, for no answer takes longer.
select null, case when spool_oldest_at is null and moved_aside_oldest_at is null then 'receiver' else 'spool' end,
    least(coalesce(spool_oldest_at, observed_at - interval '2 seconds'), moved_aside_oldest_at), receiver_id
from receivers
where 'receive' = any (roles) or spool_records > 0 or moved_aside_files > 0;

comment on view mirror_waiting is 'What keeps the mirror from being complete: the oldest of all that was received and may not have been applied, for each place where it may wait.';
comment on column mirror_waiting.context_identifier is 'The tenant; NULL where it may be any.';
comment on column mirror_waiting.place is 'queue; quarantine (open entries); spool of a receiver, with the files in it that were moved aside; receiver: one with an empty spool, which can vouch only for the time before its last heartbeat.';
comment on column mirror_waiting.since is 'Receipt time from which on something may be missing.';
comment on column mirror_waiting.receiver_id is 'The receiver, where it is one.';

create view mirror_freshness as
with tail as (
    -- Events that no seal has behind it, read in slices as event_accounting does.
    select e.context_identifier, max(e.event_seq) as newest
    from accounting_seal s
    cross join unnest(array(
        select generate_series(s.event_seq + 1, (select max(event_seq) from webhook_events), 1000)
    )) as slice (first)
    cross join lateral (
        select w.context_identifier, w.event_seq
        from webhook_events w
        where w.event_seq >= slice.first and w.event_seq < slice.first + 1000
        order by w.event_seq
        limit 1000
    ) e
    where s.id = 1
    group by e.context_identifier
), tenants as (
    select context_identifier, greatest(a.newest_event_seq, t.newest) as newest
    from sealed_accounts a
    full join tail t using (context_identifier)
    where coalesce(a.newest_event_seq, t.newest) is not null
)
select t.context_identifier, e.received_at as newest_received_at, e.occurred_at as newest_occurred_at,
    coalesce(q.backlog, 0) as backlog, w.oldest_queued_at,
    coalesce(now() - w.oldest_queued_at, interval '0') as lag,
    coalesce(o.open_quarantine, 0) as open_quarantine,
    least(now(), w.since) as complete_through
from tenants t
cross join lateral (
    select n.received_at, n.occurred_at
    from webhook_events n
    where n.event_seq = t.newest
    limit 1
) e
left join (
    select context_identifier, count(*) as backlog
    from sync_queue
    group by context_identifier
) q using (context_identifier)
left join (
    select context_identifier, count(*) as open_quarantine
    from quarantined_deliveries
    where resolved_at is null
    group by context_identifier
) o using (context_identifier)
left join lateral (
    select min(m.since) as since, min(m.since) filter (where m.place = 'queue') as oldest_queued_at
    from mirror_waiting m
    where m.context_identifier = t.context_identifier or m.context_identifier is null
) w on true;

comment on view mirror_freshness is 'How fresh the mirror is, for each tenant. A report is final for everything received before complete_through.';
comment on column mirror_freshness.context_identifier is 'SuperOffice''s ContextIdentifier, the tenant.';
comment on column mirror_freshness.newest_received_at is 'When the newest stored event arrived, by the receiver''s clock.';
comment on column mirror_freshness.newest_occurred_at is 'Its Timestamp.';
comment on column mirror_freshness.backlog is 'Events that are still to be applied.';
comment on column mirror_freshness.oldest_queued_at is 'When the oldest of them arrived; NULL where nothing waits.';
comment on column mirror_freshness.lag is 'For how long it has waited.';
comment on column mirror_freshness.open_quarantine is 'The tenant''s entries in quarantine that nobody has resolved.';
comment on column mirror_freshness.complete_through is 'Receipt time up to which every accepted event is applied. A receiver that has fallen silent holds it back until its spool drains or contactmirror receivers forget is told; a spool file that was moved aside, until contactmirror spool retry or discard has dealt with it.';

-- +goose Down

drop view mirror_freshness;
drop view mirror_waiting;
drop function column_provenance;
drop view pending_contacts;
drop view restorable_contacts;
drop view deleted_contacts;
drop view contact_changes;
drop view contact_timeline;
drop function contacts_as_known_at;
drop function contacts_as_of;
drop function contactmirror_standing;
drop function contactmirror_refold;
drop function contactmirror_newest;
drop function contactmirror_known;
drop statistics contact_audit_log_plain;
drop index contact_audit_log_odd;
drop function contactmirror_plain;
drop type contact_as_of;
drop type contactmirror_fact;
drop aggregate contactmirror_last (jsonb);
drop function contactmirror_second;
drop aggregate contactmirror_settled (text[], jsonb);
drop function contactmirror_settle;
drop aggregate contactmirror_values (jsonb);
drop function contactmirror_value;
drop function contactmirror_time;
drop function contactmirror_usual_clock;
drop function contactmirror_read_time;
drop function contactmirror_deleted;
drop function contactmirror_boolean;
drop function contactmirror_integer;
drop function contactmirror_bigint;
drop function contactmirror_read_integer;
drop function contactmirror_rank;
drop index contacts_recycle_bin;
drop index contact_audit_log_recorded_at;
drop index contact_audit_log_occurred_at;
drop index contact_audit_log_deletions;
