-- Functions: how reports read the values and the order of facts.
--
-- The values in field_values have passed the program's decoder, contact.Decode.
-- These functions are its twins in SQL, over a value's text: they read the same
-- strings as the same values, which a test holds them to. Anything else is NULL and
-- never an error, because one value that raises would fail every report of every
-- tenant.
--
-- What almost every value looks like is read in SQL, which the planner inlines. The
-- rest goes to a contactmirror_read_ function, which knows the whole grammar and
-- costs several times as much.
--
-- Names that begin with contactmirror_ are for the views and functions of this
-- schema alone.

-- +goose Up

-- Functions with a search_path of their own find the tables whatever the caller's is.
-- The setting lasts as long as the migration's transaction.
select set_config('search_path', quote_ident(current_schema()) || ', pg_temp', true);

-- +goose StatementBegin
create function contactmirror_rank(event text) returns integer
language sql immutable parallel safe
return case event when 'contact.created' then 0 when 'contact.changed' then 1 when 'contact.softdeleted' then 2 else 3 end;
-- +goose StatementEnd

comment on function contactmirror_rank(text) is 'Order of an event''s kind among events of the same instant.';

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

comment on function contactmirror_usual_clock(text) is 'Whether value begins with a date and time of day of 2000 to 2059, except 29 February. Hash lookups are faster than a regular expression.';

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

-- In PL/pgSQL so that it is not inlined: a report calls it in several places, and
-- compiling the expressions (jit) would take longer than evaluating them.
-- +goose StatementBegin
create function contactmirror_value(type text, source_name text, value jsonb) returns jsonb
language plpgsql stable parallel safe
as $$
declare
    literal text := value #>> '{}';
begin
    if jsonb_typeof(value) = 'null' then
        return value;
    elsif type = 'text' then
        return case jsonb_typeof(value) when 'string' then value end;
    elsif source_name = 'deleted' then
        return to_jsonb(contactmirror_deleted(literal));
    elsif type = 'bigint' then
        return to_jsonb(contactmirror_bigint(literal));
    elsif type = 'integer' then
        return to_jsonb(contactmirror_integer(literal));
    elsif type = 'boolean' then
        return to_jsonb(contactmirror_boolean(literal));
    end if;
    return coalesce(
        to_jsonb((to_jsonb(contactmirror_time(literal)) #>> '{}') || case type when 'timestamptz' then 'Z' else '' end),
        case contactmirror_read_time(literal) when '-infinity' then 'null'::jsonb end
    );
end
$$;
-- +goose StatementEnd

comment on function contactmirror_value(text, text, jsonb) is 'The value of a column of the type as JSON, in one form, so that equal values are equal: JSON''s null where it is NULL, SQL''s NULL where it can''t be read.';

-- +goose StatementBegin
create function contactmirror_second(first jsonb, second jsonb) returns jsonb
language sql immutable strict parallel safe
return second;
-- +goose StatementEnd

comment on function contactmirror_second(jsonb, jsonb) is 'Its second argument.';

create aggregate contactmirror_last (jsonb) (sfunc = contactmirror_second, stype = jsonb, parallel = safe);

comment on aggregate contactmirror_last (jsonb) is 'The last of the values that are not SQL''s NULL, in order.';

create aggregate contactmirror_values (jsonb) (sfunc = jsonb_concat, stype = jsonb, initcond = '{}', parallel = safe);

comment on aggregate contactmirror_values (jsonb) is 'The last value given of each column, over field_values in order.';

-- +goose StatementBegin
create function contactmirror_settle(settled jsonb, named text[], given jsonb) returns jsonb
language sql immutable parallel safe
return (settled - named) || coalesce(given, '{}');
-- +goose StatementEnd

comment on function contactmirror_settle(jsonb, text[], jsonb) is 'What is settled after a fact: what it gives, and what it does not name.';

create aggregate contactmirror_settled (text[], jsonb) (sfunc = contactmirror_settle, stype = jsonb, initcond = '{}', parallel = safe);

comment on aggregate contactmirror_settled (text[], jsonb) is 'The columns whose last mention gave a value, over the names and field_values of facts in order.';

-- +goose StatementBegin
create function contactmirror_sent() returns bigint
language sql immutable parallel safe
return 60868148736;
-- +goose StatementEnd

comment on function contactmirror_sent() is 'The columns whose values SuperOffice 11 sends with its events, as in given_columns. Others are only read faster for knowing it: no result depends on it.';

-- +goose StatementBegin
create function contactmirror_given(given_columns bigint) returns text[]
language sql immutable parallel safe
begin atomic
    select coalesce(array_agg(c.column_name order by c.bit), '{}')
    from unnest(array[
        'name', 'kananame', 'department', 'number1', 'number2', 'org_nr', 'sound_ex', 'dbi_key',
        'associate_id', 'country_id', 'business_idx', 'category_idx', 'registered_associate_id',
        'updated_associate_id', 'text_id', 'mother_id', 'userdef_id', 'userdef2_id', 'group_id',
        'tz_location_id', 'ticket_priority_id', 'support_language_id', 'support_associate_id',
        'support_person_id', 'dbi_agent_id', 'source', 'active_interests', 'updated_count', 'deleted',
        'active_erp_links', 'xstop', 'nomailing', 'registered', 'updated', 'deleted_date',
        'dbi_last_syncronized', 'dbi_last_modified'
    ]) with ordinality c (column_name, bit)
    where contactmirror_given.given_columns & (1::bigint << c.bit::integer) <> 0;
end;
-- +goose StatementEnd

comment on function contactmirror_given(bigint) is 'The columns of contacts in a bit set, as given_columns of contact_audit_log is one.';

-- +goose StatementBegin
create function contactmirror_require_tenant(tenant text) returns boolean
language plpgsql stable parallel safe
set search_path from current
set enable_seqscan = off -- which a plan for any tenant would choose, and read the whole log for an unknown one
set enable_bitmapscan = off
as $$
begin
    if tenant is null
        or exists (select from contact_audit_log a where a.context_identifier = tenant and a.outcome is not null)
        or exists (select from contacts c where c.context_identifier = tenant)
        or exists (select from webhook_events e where e.context_identifier = tenant and e.event <> 'test')
    then
        return true;
    end if;
    raise exception 'unknown tenant %', quote_literal(tenant)
        using errcode = 'invalid_parameter_value',
            hint = 'The name is SuperOffice''s ContextIdentifier, upper and lower case as there. mirror_freshness lists the tenants.';
end
$$;
-- +goose StatementEnd

comment on function contactmirror_require_tenant(text) is 'Fails with invalid_parameter_value for a tenant of which no event was accepted, or only the test events of a webhook''s registration. Otherwise, and for NULL, true.';

-- +goose Down

drop function contactmirror_require_tenant(text);
drop function contactmirror_given(bigint);
drop function contactmirror_sent();
drop aggregate contactmirror_settled (text[], jsonb);
drop function contactmirror_settle(jsonb, text[], jsonb);
drop aggregate contactmirror_values (jsonb);
drop aggregate contactmirror_last (jsonb);
drop function contactmirror_second(jsonb, jsonb);
drop function contactmirror_value(text, text, jsonb);
drop function contactmirror_time(text);
drop function contactmirror_usual_clock(text);
drop function contactmirror_read_time(text);
drop function contactmirror_deleted(text);
drop function contactmirror_boolean(text);
drop function contactmirror_integer(text);
drop function contactmirror_bigint(text);
drop function contactmirror_read_integer(text, bigint, bigint);
drop function contactmirror_rank(text);
