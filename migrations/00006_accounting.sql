-- The account of every event, at any size.
--
-- event_accounting says of each tenant how many events were accepted and what became
-- of them. Both logs only grow, so the rows below a horizon, above which rows may
-- still appear, are counted once into sealed_accounts, and the view adds the rows
-- after them. The change feed reads up to the same horizon.

-- +goose Up

-- The functions of this file run as the owner. They find its tables and nothing that
-- a caller puts in the way: a temporary table would come first unless pg_temp is
-- named last. The setting lasts as long as the migration's transaction.
select set_config('search_path', quote_ident(current_schema()) || ', pg_temp', true);

-- The rule of the horizon, on which the account and the change feed rest.
--
-- Numbers are drawn in order and become visible out of order: 100 may be committed
-- while the transaction that drew 99 still runs. A number is settled when no
-- transaction that drew it, or a lower one, can still commit.
--
--   1. A transaction that writes to a log gets its transaction id before it draws a
--      number.
--   2. The highest number seen, S, is noted, and after that the id of a transaction
--      that began later, X. So every transaction that drew a number up to S has a
--      lower id than X.
--   3. Once all transactions up to X have ended, S is settled: the oldest running
--      one, pg_snapshot_xmin, is then above X.
--
-- pg_snapshot_xmax can't be used for X: it follows the newest transaction that has
-- ended, and higher ids may have drawn numbers and be running.
--
-- All of this needs sequences that never give a number up to S again: see
-- 00009_restore.
create table log_horizon (
    id              smallint primary key,
    event_seq       bigint not null,
    audit_seq       bigint not null,
    noted_event_seq bigint not null,
    noted_audit_seq bigint not null,
    noted_by        xid8,
    constraint log_horizon_one_row check (id = 1),
    constraint log_horizon_range check (event_seq >= 0 and audit_seq >= 0),
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
comment on index log_horizon_pkey is 'Keeps it one row.';

create table accounting_seal (
    id        smallint primary key,
    event_seq bigint not null,
    audit_seq bigint not null,
    constraint accounting_seal_one_row check (id = 1),
    constraint accounting_seal_range check (event_seq >= 0 and audit_seq >= 0)
);

insert into accounting_seal (id, event_seq, audit_seq) values (1, 0, 0);

comment on table accounting_seal is 'One row: how far sealed_accounts has counted the logs. A transaction that counts further locks it.';
comment on column accounting_seal.id is 'Always 1.';
comment on column accounting_seal.event_seq is 'Up to here webhook_events is counted.';
comment on column accounting_seal.audit_seq is 'Up to here contact_audit_log is counted.';
comment on index accounting_seal_pkey is 'Keeps it one row.';

create table sealed_accounts (
    context_identifier text primary key,
    newest_event_seq   bigint,
    accepted           bigint not null,
    ignored            bigint not null,
    applied            bigint not null,
    no_op              bigint not null,
    superseded         bigint not null,
    after_delete       bigint not null,
    constraint sealed_accounts_counts check (
        accepted >= 0 and ignored >= 0 and applied >= 0 and no_op >= 0 and superseded >= 0 and after_delete >= 0
    )
) with (fillfactor = 50); -- leaves room for updates in place

comment on table sealed_accounts is 'What event_accounting counts, of the part of the logs up to accounting_seal.';
comment on column sealed_accounts.context_identifier is 'SuperOffice''s ContextIdentifier, the tenant.';
comment on column sealed_accounts.newest_event_seq is 'The tenant''s newest event there.';
comment on column sealed_accounts.accepted is 'Rows of webhook_events.';
comment on column sealed_accounts.ignored is 'Of those, the ignored ones.';
comment on column sealed_accounts.applied is 'Rows of contact_audit_log that came by webhook, with this outcome.';
comment on column sealed_accounts.no_op is 'Likewise.';
comment on column sealed_accounts.superseded is 'Likewise.';
comment on column sealed_accounts.after_delete is 'Likewise.';
comment on index sealed_accounts_pkey is 'For seal_accounts, which adds to the counts of some tenants.';

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
    perform contactmirror_require_restored();
    select coalesce(max(e.event_seq), 0) into seen_event_seq from webhook_events e;
    select coalesce(max(a.audit_seq), 0) into seen_audit_seq from contact_audit_log a;
    -- The lock gives this transaction its id, after the numbers have been seen.
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

comment on function advance_log_horizon is 'Moves log_horizon up as far as is certain; returns whether it moved, whether both logs are now settled to their ends, and how many numbers sealed_accounts is behind it; notifies contactmirror_settled of a move. Returns no row while another session runs it. Fails in the middle of a restore, and where rows are missing after it.';

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
    perform contactmirror_require_restored(sealed => true);
    select * into s from accounting_seal c where c.id = 1 for update skip locked;
    if not found then
        return null;
    end if;
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

comment on function seal_accounts is 'seal_accounts(max_rows): counts up to max_rows rows of each log, below log_horizon, into sealed_accounts, and returns how many it found; NULL while another session runs it. Fails in the middle of a restore, and where rows are missing after it.';

revoke all on function advance_log_horizon() from public;
revoke all on function seal_accounts(integer) from public;

-- The tail of a log is read in slices of 1,000 numbers. Order and limit change
-- nothing in a slice; they tell the planner, which does not know the seal, how few
-- rows there are, so that it neither reads the whole log nor compiles the query.
create view event_accounting as
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

comment on view event_accounting is 'One row for each tenant: every accepted event has exactly one outcome, so accepted is the sum of the columns after it.';

-- +goose Down

drop view event_accounting;
drop function seal_accounts(integer);
drop function advance_log_horizon();
drop table sealed_accounts;
drop table accounting_seal;
drop table log_horizon;
