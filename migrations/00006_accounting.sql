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
-- 00009_restore. And it needs rows that have drawn their numbers: see
-- contactmirror_require_drawn.
create table log_horizon (
    id              smallint primary key,
    event_seq       bigint not null,
    audit_seq       bigint not null,
    noted_event_seq bigint not null,
    noted_audit_seq bigint not null,
    noted_by        xid8,
    noted_at        timestamptz,
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
comment on column log_horizon.noted_at is 'When the note was made. While the horizon is not at the ends of the logs, it has waited since then for transactions up to noted_by to end.';
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
    mirrored_since     timestamptz,
    newest_received_at timestamptz,
    newest_occurred_at timestamptz,
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
comment on column sealed_accounts.mirrored_since is 'When the first of the tenant''s contact events there was received; NULL if there is none, as in the next two columns.';
comment on column sealed_accounts.newest_received_at is 'When the last of them was received.';
comment on column sealed_accounts.newest_occurred_at is 'The greatest of their Timestamps.';
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
            noted_by = pg_current_xact_id(),
            noted_at = clock_timestamp()
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
                noted_by = pg_current_xact_id(),
                noted_at = clock_timestamp()
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
        select e.event_seq, e.context_identifier, e.ignored, e.received_at, e.occurred_at
        from webhook_events e
        where e.event_seq > s.event_seq and e.event_seq <= h.event_seq
        order by e.event_seq
        limit max_rows
    ), counted as materialized (
        select c.context_identifier, count(*) as accepted, count(*) filter (where c.ignored) as ignored, max(c.event_seq) as last,
            min(c.received_at) filter (where not c.ignored) as mirrored_since,
            max(c.received_at) filter (where not c.ignored) as newest_received_at,
            max(c.occurred_at) filter (where not c.ignored) as newest_occurred_at
        from closed c
        group by c.context_identifier
    ), added as (
        insert into sealed_accounts as a (
            context_identifier, newest_event_seq, mirrored_since, newest_received_at, newest_occurred_at,
            accepted, ignored, applied, no_op, superseded, after_delete
        )
        select c.context_identifier, c.last, c.mirrored_since, c.newest_received_at, c.newest_occurred_at, c.accepted, c.ignored, 0, 0, 0, 0
        from counted c
        on conflict (context_identifier) do update
        set newest_event_seq = greatest(a.newest_event_seq, excluded.newest_event_seq),
            mirrored_since = least(a.mirrored_since, excluded.mirrored_since),
            newest_received_at = greatest(a.newest_received_at, excluded.newest_received_at),
            newest_occurred_at = greatest(a.newest_occurred_at, excluded.newest_occurred_at),
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

-- The tails of the logs are read by functions because of their settings: the planner
-- does not know the seal, and would read a whole log, or compile the query. They find
-- the rows after the seal by their index, so a gap in the numbers costs nothing,
-- however wide it is.
-- +goose StatementBegin
create function contactmirror_unsealed_events()
returns table (
    context_identifier text, accepted bigint, ignored bigint,
    mirrored_since timestamptz, newest_received_at timestamptz, newest_occurred_at timestamptz
)
language sql stable security definer
set search_path from current
set jit = off
set enable_seqscan = off
set enable_bitmapscan = off
set max_parallel_workers_per_gather = 0
as $$
    select e.context_identifier, count(*), count(*) filter (where e.ignored),
        min(e.received_at) filter (where not e.ignored),
        max(e.received_at) filter (where not e.ignored),
        max(e.occurred_at) filter (where not e.ignored)
    from webhook_events e
    where e.event_seq > (select s.event_seq from accounting_seal s where s.id = 1)
    group by e.context_identifier
$$;
-- +goose StatementEnd

comment on function contactmirror_unsealed_events() is 'What sealed_accounts lacks of webhook_events: the counts and times of the events after accounting_seal, for each tenant.';

-- +goose StatementBegin
create function contactmirror_unsealed_outcomes()
returns table (context_identifier text, applied bigint, no_op bigint, superseded bigint, after_delete bigint)
language sql stable security definer
set search_path from current
set jit = off
set enable_seqscan = off
set enable_bitmapscan = off
set max_parallel_workers_per_gather = 0
as $$
    select a.context_identifier,
        count(*) filter (where a.outcome = 'applied'),
        count(*) filter (where a.outcome = 'no_op'),
        count(*) filter (where a.outcome = 'superseded'),
        count(*) filter (where a.outcome = 'after_delete')
    from contact_audit_log a
    where a.audit_seq > (select s.audit_seq from accounting_seal s where s.id = 1) and a.origin = 'webhook'
    group by a.context_identifier
$$;
-- +goose StatementEnd

comment on function contactmirror_unsealed_outcomes() is 'What sealed_accounts lacks of contact_audit_log: the outcomes of the webhook events after accounting_seal, for each tenant.';

-- A row whose number was chosen, not drawn, breaks the rule of the horizon. One with a
-- huge number moves the horizon and then the sequence to it, and at the end of bigint
-- no number is left; one below the horizon is counted by nobody. The same goes for
-- numbers that refer to events, which contactmirror_advance_sequences looks at.
-- Column privileges can't keep a role from choosing: the numbers of the two logs are
-- drawn before their rows are written, because bodies, queue and links need them.
--
-- The owner may choose, and does where rows are restored or replicated.
-- +goose StatementBegin
create function contactmirror_require_drawn() returns trigger
language plpgsql
set jit = off
as $$
declare
    lowest bigint;
    highest bigint;
    above boolean; -- no note of the horizon that this transaction does not keep from being settled covers them
    event bigint; -- the greatest that a row refers to
    fine boolean;
begin
    if pg_has_role((select c.relowner from pg_class c where c.oid = tg_relid), 'usage') then
        return null;
    end if;
    case tg_table_name
        when 'webhook_events' then
            select min(i.event_seq), max(i.event_seq) into lowest, highest from inserted i;
            select lowest > h.event_seq and (lowest > h.noted_event_seq or h.noted_by > pg_current_xact_id()) into above from log_horizon h where h.id = 1;
            fine := above and highest <= coalesce(pg_sequence_last_value('webhook_events_event_seq_seq'), 0);
        when 'contact_audit_log' then
            select min(i.audit_seq), max(i.audit_seq), max(i.event_seq) into lowest, highest, event from inserted i;
            select lowest > h.audit_seq and (lowest > h.noted_audit_seq or h.noted_by > pg_current_xact_id()) into above from log_horizon h where h.id = 1;
            fine := above and highest <= coalesce(pg_sequence_last_value('contact_audit_log_audit_seq_seq'), 0);
        else
            select max(i.event_seq) into event from inserted i;
    end case;
    if not (coalesce(fine, true) and coalesce(event, 0) <= coalesce(pg_sequence_last_value('webhook_events_event_seq_seq'), 0)) then
        raise exception 'permission denied to choose numbers of %', tg_table_name
            using errcode = 'insufficient_privilege', hint = 'draw them from the sequence';
    end if;
    return null;
end
$$;
-- +goose StatementEnd

comment on function contactmirror_require_drawn() is 'Refuses rows of roles other than the owner whose numbers, or the numbers of events that they refer to, were not drawn from the sequence, or are not above log_horizon.';

create trigger webhook_events_drawn
    after insert on webhook_events referencing new table as inserted
    for each statement execute function contactmirror_require_drawn();
create trigger contact_audit_log_drawn
    after insert on contact_audit_log referencing new table as inserted
    for each statement execute function contactmirror_require_drawn();
create trigger duplicate_deliveries_drawn
    after insert on duplicate_deliveries referencing new table as inserted
    for each statement execute function contactmirror_require_drawn();
create trigger quarantined_deliveries_drawn
    after insert on quarantined_deliveries referencing new table as inserted
    for each statement execute function contactmirror_require_drawn();

create view event_accounting as
with queued as (
    select context_identifier, count(*) as queued
    from sync_queue
    group by context_identifier
), quarantined as (
    -- A retried one is in the queue or in the audit log again.
    select context_identifier, count(*) as quarantined
    from quarantined_deliveries
    where event_seq is not null and resolution is distinct from 'retried'
    group by context_identifier
), part as (
    select context_identifier, accepted, ignored, 0 as queued, 0 as quarantined, applied, no_op, superseded, after_delete
    from sealed_accounts
    where accepted + applied + no_op + superseded + after_delete > 0
    union all
    select context_identifier, accepted, ignored, 0, 0, 0, 0, 0, 0
    from contactmirror_unsealed_events()
    union all
    select context_identifier, 0, 0, queued, 0, 0, 0, 0, 0
    from queued
    union all
    select context_identifier, 0, 0, 0, quarantined, 0, 0, 0, 0
    from quarantined
    union all
    select context_identifier, 0, 0, 0, 0, applied, no_op, superseded, after_delete
    from contactmirror_unsealed_outcomes()
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
drop trigger quarantined_deliveries_drawn on quarantined_deliveries;
drop trigger duplicate_deliveries_drawn on duplicate_deliveries;
drop trigger contact_audit_log_drawn on contact_audit_log;
drop trigger webhook_events_drawn on webhook_events;
drop function contactmirror_require_drawn();
drop function contactmirror_unsealed_outcomes();
drop function contactmirror_unsealed_events();
drop function seal_accounts(integer);
drop function advance_log_horizon();
drop table sealed_accounts;
drop table accounting_seal;
drop table log_horizon;
