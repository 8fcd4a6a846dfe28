-- The account at any size: the logs only grow, so what lies below the horizon is
-- counted once, and the view adds the rows above it.

-- +goose Up

-- The functions of this file act as the owner. They find its tables and nothing
-- that a caller has put in the way: a temporary table would come first unless
-- pg_temp is named last. It lasts as long as the migration's transaction.
select set_config('search_path', quote_ident(current_schema()) || ', pg_temp', true);

comment on function contactmirror_append_only is 'Refuses what a trigger calls it for.';

-- The rule of the horizon, on which the account and the change feed rest.
--
-- Numbers are drawn in order and become visible out of order: 100 may be
-- committed when 99 is still under way. A number is settled when no transaction
-- that drew it, or a lower one, can still commit.
--
--   1. Whoever writes to a log has its transaction id before it draws a number.
--   2. A note is made of the highest number seen, S, and after that of an id
--      drawn for the purpose, X. So whoever drew a number up to S has a lower id
--      than X.
--   3. Once all transactions up to X have ended, S is settled: the oldest one
--      under way, pg_snapshot_xmin, is then above X.
--
-- pg_snapshot_xmax will not do for X: it follows the newest transaction that has
-- ended, and higher ids may have drawn numbers and be under way.
--
-- All of this needs sequences that never give a number up to S again. A data-only
-- restore, or an upgrade by logical replication, leaves them behind the rows.
-- Statements that draw a number refuse one up to S (contactmirror_number_taken),
-- for it may be free; and contactmirror_advance_sequences moves the sequences on.
create table log_horizon (
    id              smallint primary key,
    event_seq       bigint not null,
    audit_seq       bigint not null,
    noted_event_seq bigint not null,
    noted_audit_seq bigint not null,
    noted_by        xid8,
    constraint log_horizon_one_row check (id = 1),
    constraint log_horizon_noted check (event_seq <= noted_event_seq and audit_seq <= noted_audit_seq)
);

insert into log_horizon (id, event_seq, audit_seq, noted_event_seq, noted_audit_seq) values (1, 0, 0, 0, 0);

comment on table log_horizon is 'One row: how far the two logs are complete. No row up to there can appear any more.';
comment on column log_horizon.id is 'Always 1.';
comment on column log_horizon.event_seq is 'Up to here webhook_events is complete.';
comment on column log_horizon.audit_seq is 'Up to here contact_audit_log is complete.';
comment on column log_horizon.noted_event_seq is 'The next event_seq, once all transactions up to noted_by have ended.';
comment on column log_horizon.noted_audit_seq is 'The next audit_seq, likewise.';
comment on column log_horizon.noted_by is 'The transaction that made the note, after it had seen these numbers; NULL before the first.';

create table accounting_seal (
    id        smallint primary key,
    event_seq bigint not null,
    audit_seq bigint not null,
    constraint accounting_seal_one_row check (id = 1)
);

insert into accounting_seal (id, event_seq, audit_seq) values (1, 0, 0);

comment on table accounting_seal is 'One row: how far sealed_accounts has counted the logs. Whoever counts on locks it.';
comment on column accounting_seal.id is 'Always 1.';
comment on column accounting_seal.event_seq is 'Up to here webhook_events is counted.';
comment on column accounting_seal.audit_seq is 'Up to here contact_audit_log is counted.';

create table sealed_accounts (
    context_identifier text primary key,
    newest_event_seq   bigint,
    accepted           bigint not null,
    ignored            bigint not null,
    applied            bigint not null,
    no_op              bigint not null,
    superseded         bigint not null,
    after_delete       bigint not null
) with (fillfactor = 50); -- leaves room for updates in place

comment on table sealed_accounts is 'What event_accounting counts, of the part of the logs that accounting_seal has behind it.';
comment on column sealed_accounts.context_identifier is 'SuperOffice''s ContextIdentifier, the tenant.';
comment on column sealed_accounts.newest_event_seq is 'The tenant''s newest event there.';
comment on column sealed_accounts.accepted is 'Rows of webhook_events.';
comment on column sealed_accounts.ignored is 'Of those, the ignored ones.';
comment on column sealed_accounts.applied is 'Rows of contact_audit_log that came by webhook, with this outcome.';
comment on column sealed_accounts.no_op is 'Likewise.';
comment on column sealed_accounts.superseded is 'Likewise.';
comment on column sealed_accounts.after_delete is 'Likewise.';

-- +goose StatementBegin
create function contactmirror_require_keys() returns boolean
language plpgsql stable
set jit = off
as $$
begin
    if (
        select count(*) < 8
        from pg_index i
        where i.indisvalid and i.indexrelid = any (array[
            to_regclass('webhook_events_pkey')::oid, to_regclass('webhook_bodies_pkey'), to_regclass('sync_queue_pkey'),
            to_regclass('contact_audit_log_pkey'), to_regclass('contact_audit_log_event_seq'),
            to_regclass('contacts_pkey'), to_regclass('contact_tombstones_pkey'), to_regclass('log_horizon_pkey')
        ])
    ) then
        raise exception 'the tables lack keys: a restore is under way, or has failed'
            using errcode = 'object_not_in_prerequisite_state';
    end if;
    return true;
end
$$;
-- +goose StatementEnd

comment on function contactmirror_require_keys is 'Fails unless the logs, the queue and the mirror have their keys. A restore makes keys after all rows are there: without them, neither the rows nor the sequences need be complete, and nothing is to be applied or counted.';

-- +goose StatementBegin
create function advance_log_horizon() returns table (moved boolean, settled boolean, unsealed bigint)
language plpgsql security definer
set search_path from current
set jit = off
as $$
declare
    seen_event_seq bigint;
    seen_audit_seq bigint;
    h log_horizon;
    s accounting_seal;
begin
    if pg_current_xact_id_if_assigned() is not null then
        raise exception 'advance_log_horizon must be called before its transaction writes'
            using errcode = 'active_sql_transaction';
    end if;
    perform contactmirror_require_keys();
    select coalesce(max(e.event_seq), 0) into seen_event_seq from webhook_events e;
    select coalesce(max(a.audit_seq), 0) into seen_audit_seq from contact_audit_log a;
    -- The lock draws this transaction's id, after the numbers have been seen.
    select * into h from log_horizon l where l.id = 1 for update skip locked;
    if not found then
        return;
    end if;
    moved := false;
    if h.noted_by is null or h.noted_by > pg_current_xact_id() then
        -- There is no note, or one from another cluster, that was dumped.
        update log_horizon l
        set noted_event_seq = greatest(h.event_seq, seen_event_seq),
            noted_audit_seq = greatest(h.audit_seq, seen_audit_seq),
            noted_by = pg_current_xact_id()
        where l.id = 1
        returning * into h;
    elsif h.noted_by < pg_snapshot_xmin(pg_current_snapshot()) then
        moved := (h.noted_event_seq, h.noted_audit_seq) <> (h.event_seq, h.audit_seq);
        if moved or seen_event_seq > h.noted_event_seq or seen_audit_seq > h.noted_audit_seq then
            update log_horizon l
            set event_seq = h.noted_event_seq,
                audit_seq = h.noted_audit_seq,
                noted_event_seq = greatest(h.noted_event_seq, seen_event_seq),
                noted_audit_seq = greatest(h.noted_audit_seq, seen_audit_seq),
                noted_by = pg_current_xact_id()
            where l.id = 1
            returning * into h;
        end if;
        if moved then
            perform pg_notify('contactmirror_settled', '');
        end if;
    end if;
    settled := greatest(h.noted_event_seq, seen_event_seq) = h.event_seq and greatest(h.noted_audit_seq, seen_audit_seq) = h.audit_seq;
    select * into s from accounting_seal c where c.id = 1;
    unsealed := greatest(h.event_seq - s.event_seq, h.audit_seq - s.audit_seq);
    return next;
end
$$;
-- +goose StatementEnd

comment on function advance_log_horizon is 'Moves log_horizon up as far as is certain; returns whether it moved, whether both logs are now settled to their ends, and how many numbers sealed_accounts is behind it; notifies contactmirror_settled of a move. No row where another one is at it. Fails while keys are missing.';

-- +goose StatementBegin
create function seal_accounts(max_rows integer) returns bigint
language plpgsql security definer
set search_path from current
set jit = off
set enable_seqscan = off
set enable_bitmapscan = off
as $$
declare
    s accounting_seal;
    h log_horizon;
    events bigint;
    audited bigint;
    last_event_seq bigint;
    last_audit_seq bigint;
begin
    if max_rows is null or max_rows < 1 then
        raise exception 'max_rows must be 1 or more' using errcode = 'invalid_parameter_value';
    end if;
    select * into s from accounting_seal c where c.id = 1 for update skip locked;
    if not found then
        return null;
    end if;
    perform contactmirror_require_keys();
    select * into h from log_horizon l where l.id = 1;

    with closed as (
        select e.event_seq, e.context_identifier, e.ignored
        from webhook_events e
        where e.event_seq > s.event_seq and e.event_seq <= h.event_seq
        order by e.event_seq
        limit max_rows
    ), counted as materialized (
        select c.context_identifier, count(*) as accepted, count(*) filter (where c.ignored) as ignored, max(c.event_seq) as last
        from closed c
        group by c.context_identifier
    ), added as (
        insert into sealed_accounts as a (context_identifier, newest_event_seq, accepted, ignored, applied, no_op, superseded, after_delete)
        select c.context_identifier, c.last, c.accepted, c.ignored, 0, 0, 0, 0
        from counted c
        on conflict (context_identifier) do update
        set newest_event_seq = greatest(a.newest_event_seq, excluded.newest_event_seq),
            accepted = a.accepted + excluded.accepted,
            ignored = a.ignored + excluded.ignored
    )
    select coalesce(sum(c.accepted), 0), max(c.last) into events, last_event_seq from counted c;

    with closed as (
        select a.audit_seq, a.context_identifier, a.outcome, a.origin
        from contact_audit_log a
        where a.audit_seq > s.audit_seq and a.audit_seq <= h.audit_seq
        order by a.audit_seq
        limit max_rows
    ), counted as materialized (
        select c.context_identifier, count(*) as all_rows, max(c.audit_seq) as last,
            count(*) filter (where c.origin = 'webhook' and c.outcome = 'applied') as applied,
            count(*) filter (where c.origin = 'webhook' and c.outcome = 'no_op') as no_op,
            count(*) filter (where c.origin = 'webhook' and c.outcome = 'superseded') as superseded,
            count(*) filter (where c.origin = 'webhook' and c.outcome = 'after_delete') as after_delete
        from closed c
        group by c.context_identifier
    ), added as (
        insert into sealed_accounts as a (context_identifier, accepted, ignored, applied, no_op, superseded, after_delete)
        select c.context_identifier, 0, 0, c.applied, c.no_op, c.superseded, c.after_delete
        from counted c
        on conflict (context_identifier) do update
        set applied = a.applied + excluded.applied,
            no_op = a.no_op + excluded.no_op,
            superseded = a.superseded + excluded.superseded,
            after_delete = a.after_delete + excluded.after_delete
    )
    select coalesce(sum(c.all_rows), 0), max(c.last) into audited, last_audit_seq from counted c;

    update accounting_seal c
    set event_seq = case when events < max_rows then greatest(s.event_seq, h.event_seq) else last_event_seq end,
        audit_seq = case when audited < max_rows then greatest(s.audit_seq, h.audit_seq) else last_audit_seq end
    where c.id = 1 and (s.event_seq < h.event_seq or s.audit_seq < h.audit_seq);
    return events + audited;
end
$$;
-- +goose StatementEnd

comment on function seal_accounts is 'seal_accounts(max_rows): counts up to max_rows rows of each log, below log_horizon, into sealed_accounts, and returns how many it found. NULL where another one is at it. Fails while keys are missing.';

-- +goose StatementBegin
create function contactmirror_advance_sequences()
returns table (sequence_name text, numbers text, moved_from bigint, moved_to bigint)
language plpgsql security definer
set search_path from current
set lock_timeout = '500ms'
as $$
declare
    s record;
    next bigint;
    highest bigint;
begin
    perform contactmirror_require_keys();
    for s in
        select q.oid::regclass as sequence, format('%s.%I', t.oid::regclass, a.attname) as numbered,
            format('select last_value + is_called::integer from %s', q.oid::regclass) as next_number,
            -- Numbers are held against all columns of the name, where an index makes
            -- that cheap: a row may refer to an event that is gone.
            (
                select format('select max(n) from (%s) all_columns', string_agg(
                    format('select max(%I) as n from %s', c.attname, c.attrelid::regclass), ' union all '
                ))
                from pg_attribute c
                join pg_class r on r.oid = c.attrelid
                where c.attname in (a.attname, 'noted_' || a.attname) and c.atttypid = a.atttypid and not c.attisdropped
                    and r.relnamespace = h.relnamespace and r.relowner = h.relowner
                    and r.relkind in ('r', 'p') and not r.relispartition
                    and (
                        c.attrelid = t.oid or c.attrelid = h.oid
                        or exists (select from pg_index i where i.indrelid = r.oid and i.indkey[0] = c.attnum and i.indisvalid)
                    )
            ) as highest_number
        from pg_class h
        join pg_class q on q.relnamespace = h.relnamespace and q.relowner = h.relowner and q.relkind = 'S'
        join pg_depend d on d.classid = 'pg_class'::regclass and d.objid = q.oid
            and d.refclassid = 'pg_class'::regclass and d.deptype in ('a', 'i')
        join pg_class t on t.oid = d.refobjid
        join pg_attribute a on a.attrelid = t.oid and a.attnum = d.refobjsubid
        where h.oid = 'log_horizon'::regclass
        order by q.relname
    loop
        execute s.next_number into next;
        execute s.highest_number into highest;
        continue when highest is null or next > highest;
        -- Changes nothing, but waits for all transactions that have drawn a number,
        -- and keeps others from it until this one ends.
        execute format('alter sequence %s no cycle', s.sequence);
        execute s.next_number into next;
        execute s.highest_number into highest;
        continue when next > highest; -- moved by another call meanwhile
        perform setval(s.sequence, highest);
        sequence_name := s.sequence::text;
        numbers := s.numbered;
        moved_from := next;
        moved_to := highest + 1;
        raise warning 'sequence % was behind %: moved from % to %', sequence_name, numbers, moved_from, moved_to;
        return next;
    end loop;
end
$$;
-- +goose StatementEnd

comment on function contactmirror_advance_sequences is 'Moves every sequence that is behind the column it numbers forward, never back, and returns those that it moved, with their next numbers before and after. Costs a look into the indexes when none is behind. Fails while keys are missing.';

-- +goose StatementBegin
create function contactmirror_number_taken(table_name text) returns boolean
language plpgsql as $$
begin
    raise exception 'the sequence of % is behind its table', table_name
        using errcode = 'unique_violation', table = table_name, constraint = table_name || '_pkey',
            hint = 'select * from contactmirror_advance_sequences()';
end
$$;
-- +goose StatementEnd

comment on function contactmirror_number_taken is 'Fails as the primary key of a table does when a number is taken: for numbers that log_horizon has counted already, though no row has them.';

revoke all on function advance_log_horizon() from public;
revoke all on function seal_accounts(integer) from public;
revoke all on function contactmirror_advance_sequences() from public;

-- A log's tail is read in slices of 1,000 numbers. Order and limit change nothing
-- in a slice; they tell a planner that knows nothing of the seal how little there
-- is, so that it neither reads the whole log nor compiles the query.
create or replace view event_accounting as
with accepted as (
    select e.context_identifier, count(*) as accepted, count(*) filter (where e.ignored) as ignored
    from accounting_seal s
    cross join unnest(array(
        select generate_series(s.event_seq + 1, (select max(event_seq) from webhook_events), 1000)
    )) as slice (first)
    cross join lateral (
        select w.context_identifier, w.ignored
        from webhook_events w
        where w.event_seq >= slice.first and w.event_seq < slice.first + 1000
        order by w.event_seq
        limit 1000
    ) e
    where s.id = 1
    group by e.context_identifier
), queued as (
    select context_identifier, count(*) as queued
    from sync_queue
    group by context_identifier
), quarantined as (
    -- A retried one is in the queue or in the audit log again.
    select context_identifier, count(*) as quarantined
    from quarantined_deliveries
    where event_seq is not null and resolution is distinct from 'retried'
    group by context_identifier
), audited as (
    select a.context_identifier,
        count(*) filter (where a.outcome = 'applied') as applied,
        count(*) filter (where a.outcome = 'no_op') as no_op,
        count(*) filter (where a.outcome = 'superseded') as superseded,
        count(*) filter (where a.outcome = 'after_delete') as after_delete
    from accounting_seal s
    cross join unnest(array(
        select generate_series(s.audit_seq + 1, (select max(audit_seq) from contact_audit_log), 1000)
    )) as slice (first)
    cross join lateral (
        select l.context_identifier, l.outcome, l.origin
        from contact_audit_log l
        where l.audit_seq >= slice.first and l.audit_seq < slice.first + 1000
        order by l.audit_seq
        limit 1000
    ) a
    where s.id = 1 and a.origin = 'webhook'
    group by a.context_identifier
), part as (
    select context_identifier, accepted, ignored, 0 as queued, 0 as quarantined, applied, no_op, superseded, after_delete
    from sealed_accounts
    where accepted + applied + no_op + superseded + after_delete > 0
    union all
    select context_identifier, accepted, ignored, 0, 0, 0, 0, 0, 0
    from accepted
    union all
    select context_identifier, 0, 0, queued, 0, 0, 0, 0, 0
    from queued
    union all
    select context_identifier, 0, 0, 0, quarantined, 0, 0, 0, 0
    from quarantined
    union all
    select context_identifier, 0, 0, 0, 0, applied, no_op, superseded, after_delete
    from audited
), account as (
    select context_identifier,
        sum(accepted)::bigint as accepted,
        sum(ignored)::bigint as ignored,
        sum(queued)::bigint as queued,
        sum(quarantined)::bigint as quarantined,
        sum(applied)::bigint as applied,
        sum(no_op)::bigint as no_op,
        sum(superseded)::bigint as superseded,
        sum(after_delete)::bigint as after_delete
    from part
    group by context_identifier
)
select context_identifier, accepted, ignored, queued, quarantined, applied, no_op, superseded, after_delete,
    accepted = ignored + queued + quarantined + applied + no_op + superseded + after_delete as balanced
from account;

-- +goose Down

create or replace view event_accounting as
with accepted as (
    select context_identifier, count(*) as accepted, count(*) filter (where ignored) as ignored
    from webhook_events
    group by context_identifier
), queued as (
    select context_identifier, count(*) as queued
    from sync_queue
    group by context_identifier
), quarantined as (
    -- A retried one is in the queue or in the audit log again.
    select context_identifier, count(*) as quarantined
    from quarantined_deliveries
    where event_seq is not null and resolution is distinct from 'retried'
    group by context_identifier
), audited as (
    select context_identifier,
        count(*) filter (where outcome = 'applied') as applied,
        count(*) filter (where outcome = 'no_op') as no_op,
        count(*) filter (where outcome = 'superseded') as superseded,
        count(*) filter (where outcome = 'after_delete') as after_delete
    from contact_audit_log
    where origin = 'webhook'
    group by context_identifier
), account as (
    select context_identifier,
        coalesce(accepted, 0) as accepted,
        coalesce(ignored, 0) as ignored,
        coalesce(queued, 0) as queued,
        coalesce(quarantined, 0) as quarantined,
        coalesce(applied, 0) as applied,
        coalesce(no_op, 0) as no_op,
        coalesce(superseded, 0) as superseded,
        coalesce(after_delete, 0) as after_delete
    from accepted
    full join queued using (context_identifier)
    full join quarantined using (context_identifier)
    full join audited using (context_identifier)
)
select context_identifier, accepted, ignored, queued, quarantined, applied, no_op, superseded, after_delete,
    accepted = ignored + queued + quarantined + applied + no_op + superseded + after_delete as balanced
from account;

comment on function contactmirror_append_only is null;
drop function contactmirror_number_taken(text);
drop function contactmirror_advance_sequences();
drop function seal_accounts(integer);
drop function advance_log_horizon();
drop function contactmirror_require_keys();
drop table sealed_accounts;
drop table accounting_seal;
drop table log_horizon;
