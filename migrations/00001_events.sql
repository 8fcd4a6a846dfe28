-- Events: what was accepted, the bodies it came in, repeated deliveries, and
-- deliveries that were not understood.
--
-- webhook_events is a log: rows are only added, and it is never partitioned or
-- dropped, because the idempotency key must hold for as long as SuperOffice may
-- repeat a delivery, which is for ever. The bodies, which are nine tenths of the
-- bytes, are in a table of their own, which retention drops by day.
--
-- None of the tables of events, contacts and audit rows has a foreign key:
-- SuperOffice's ids refer to rows that are not here, and 0 in them means none;
-- bodies are dropped while their events stay, and a dead letter may have no event;
-- and each key would cost every event a lookup and a row lock.
--
-- Each log numbers its rows with a sequence of its own, owned by the column. A
-- sequence is drawn from explicitly, in order, by the statement that stores the
-- rows; numbers have gaps and may become visible out of order.

-- +goose Up

-- +goose StatementBegin
create function contactmirror_append_only() returns trigger
language plpgsql as $$
begin
    raise exception '% is append-only: % is not allowed', tg_table_name, lower(tg_op)
        using errcode = 'insufficient_privilege';
end
$$;
-- +goose StatementEnd

comment on function contactmirror_append_only() is 'Refuses the operation that its trigger fires for.';

-- In REPEATABLE READ and SERIALIZABLE, which may be the default of the database or
-- the role, a transaction sees nothing that was committed after its first statement
-- began: not even after it has waited for the transaction that committed it.
-- +goose StatementBegin
create function contactmirror_require_read_committed() returns boolean
language plpgsql stable as $$
begin
    if current_setting('transaction_isolation') not in ('read committed', 'read uncommitted') then
        raise exception 'this works in READ COMMITTED only: an older snapshot does not see what others have committed meanwhile'
            using errcode = 'object_not_in_prerequisite_state', hint = 'begin isolation level read committed';
    end if;
    return true;
end
$$;
-- +goose StatementEnd

comment on function contactmirror_require_read_committed() is 'Fails in any transaction that is not READ COMMITTED. For functions and statements that wait for a lock and then look.';

-- The insert-only tables are vacuumed after every 500,000 rows (by default after a
-- fifth of the table, which grows without bound), so that index-only scans find the
-- visibility map current. What is vacuumed is frozen at once: it does not change
-- any more, and no later vacuum has to read it again to keep transaction ids from
-- wrapping around. Without dead rows vacuum leaves the indexes alone, so
-- vacuum_index_cleanup stays at its default.

create sequence webhook_events_event_seq_seq as bigint;

create table webhook_events (
    event_seq          bigint default nextval('webhook_events_event_seq_seq') primary key,
    context_identifier text not null,
    event_id           uuid,
    event              text not null,
    entity             text,
    primary_key        bigint,
    occurred_at        timestamptz,
    occurred_ticks     bigint,
    received_at        timestamptz not null,
    ignored            boolean not null,
    keyless_sha256     bytea,
    constraint webhook_events_key unique (context_identifier, event_id, event, primary_key),
    constraint webhook_events_keyless check
        ((keyless_sha256 is null) = (event_id is not null and primary_key is not null)),
    constraint webhook_events_contact_event check
        (ignored or (event_id is not null and primary_key > 0 and occurred_at is not null and occurred_ticks is not null))
) with (
    autovacuum_vacuum_insert_scale_factor = 0, autovacuum_vacuum_insert_threshold = 500000, autovacuum_freeze_min_age = 0
);

alter sequence webhook_events_event_seq_seq owned by webhook_events.event_seq;

create unique index webhook_events_keyless_sha256 on webhook_events (keyless_sha256) where keyless_sha256 is not null;
create index webhook_events_ignored on webhook_events (context_identifier, primary_key) where ignored;

comment on table webhook_events is 'Every accepted event, once; never removed, and never changed but for keyless_sha256 by an erasure. The bytes it came in are in webhook_bodies.';
comment on column webhook_events.event_seq is 'The order in which events were stored. Numbers have gaps and may become visible out of order.';
comment on column webhook_events.context_identifier is 'SuperOffice''s ContextIdentifier, the tenant; empty where the event had none.';
comment on column webhook_events.event_id is 'SuperOffice''s EventId. Not unique: its own samples give a created and a changed event the same one.';
comment on column webhook_events.event is 'SuperOffice''s name of the event, for example contact.changed.';
comment on column webhook_events.entity is 'SuperOffice''s Entity, as sent.';
comment on column webhook_events.primary_key is 'SuperOffice''s PrimaryKey, for contact events the contact_id.';
comment on column webhook_events.occurred_at is 'SuperOffice''s Timestamp, cut to microseconds.';
comment on column webhook_events.occurred_ticks is 'SuperOffice''s Timestamp in units of 100 ns since 1970-01-01 UTC.';
comment on column webhook_events.received_at is 'When the first delivery of the event arrived, by the receiver''s clock.';
comment on column webhook_events.ignored is 'Not a contact event: never queued, no audit row.';
comment on column webhook_events.keyless_sha256 is 'Of an ignored event without a usable EventId or PrimaryKey: SHA-256 of its body, its idempotency key. Of an erased contact a hash of what the other columns say, by which no body can be guessed; two events of which they say the same count as one.';
comment on index webhook_events_pkey is 'For inbox_bodies, erasure and verify, which read events by number, and for seal_accounts, which counts them in order.';
comment on index webhook_events_key is 'The idempotency key: inbox_put ignores a conflict on it, and inbox_duplicate finds the event by it.';
comment on index webhook_events_keyless_sha256 is 'The idempotency key of ignored events without the other one, for the same statements.';
comment on index webhook_events_ignored is 'For contactmirror_erase: ignored events may be about the contact, and no audit row leads to them.';

create trigger webhook_events_append_only
    before delete or truncate on webhook_events
    for each statement execute function contactmirror_append_only();

-- An erasure may put another key in the place of a hash of a body. The setting
-- contactmirror.erasing only prevents accidents, as in contactmirror_only_erasure.
-- +goose StatementBegin
create function contactmirror_only_new_key() returns trigger
language plpgsql as $$
begin
    if current_setting('contactmirror.erasing', true) is distinct from 'on'
        or tg_level = 'ROW' and (
            to_jsonb(new) - 'keyless_sha256' is distinct from to_jsonb(old) - 'keyless_sha256'
            or old.keyless_sha256 is null or new.keyless_sha256 is null
        )
    then
        raise exception '% is append-only: % is not allowed', tg_table_name, lower(tg_op)
            using errcode = 'insufficient_privilege';
    end if;
    if tg_level = 'ROW' then
        return new;
    end if;
    return null;
end
$$;
-- +goose StatementEnd

comment on function contactmirror_only_new_key() is 'Refuses updates of events but those by which an erasure replaces keyless_sha256.';

create trigger webhook_events_only_new_key
    before update on webhook_events
    for each statement execute function contactmirror_only_new_key();

create trigger webhook_events_only_new_key_of_rows
    before update on webhook_events
    for each row execute function contactmirror_only_new_key();

-- Bodies are the only partitioned table, because they are the only rows that are
-- dropped: contact events' bodies after one retention, ignored events' after
-- another. So they are in two branches, by ignored, each in partitions of a day of
-- receipt (UTC), which 00007_retention makes and drops. The columns that decide
-- the partition are those of the event; a statement that names them reads one
-- partition. A body that has no partition goes to the default one of its branch,
-- so none is ever refused: it may have waited in a spool for days, and a
-- receiver's clock may be ahead.
create table webhook_bodies (
    event_seq   bigint not null,
    received_at timestamptz not null,
    ignored     boolean not null,
    body        bytea not null,
    primary key (event_seq, received_at, ignored)
) partition by list (ignored);

comment on table webhook_bodies is 'The bytes that each event came in, until retention drops them: in partitions of a day of receipt, contact events and ignored ones apart.';
comment on column webhook_bodies.event_seq is 'The event in webhook_events.';
comment on column webhook_bodies.received_at is 'When it arrived, as in webhook_events. With ignored, it decides the partition.';
comment on column webhook_bodies.ignored is 'Whether it is not a contact event, as in webhook_events.';
comment on column webhook_bodies.body is 'The request body, byte for byte, as it was signed; or the redacted body of an event of an erased contact.';
comment on index webhook_bodies_pkey is 'For inbox_bodies and every other statement that reads or removes the bodies of some events. It has the columns of the partition key because a unique index of a partitioned table must.';

create table webhook_bodies_contact partition of webhook_bodies for values in (false) partition by range (received_at);

comment on table webhook_bodies_contact is 'The bodies of contact events.';
comment on column webhook_bodies_contact.event_seq is 'As in webhook_bodies.';
comment on column webhook_bodies_contact.received_at is 'As in webhook_bodies.';
comment on column webhook_bodies_contact.ignored is 'As in webhook_bodies.';
comment on column webhook_bodies_contact.body is 'As in webhook_bodies.';

create table webhook_bodies_contact_default partition of webhook_bodies_contact default;

comment on table webhook_bodies_contact_default is 'Bodies of contact events whose day had no partition when they came. Nearly empty as a rule: it is read through whenever a partition is made.';
comment on column webhook_bodies_contact_default.event_seq is 'As in webhook_bodies.';
comment on column webhook_bodies_contact_default.received_at is 'As in webhook_bodies.';
comment on column webhook_bodies_contact_default.ignored is 'As in webhook_bodies.';
comment on column webhook_bodies_contact_default.body is 'As in webhook_bodies.';

create table webhook_bodies_ignored partition of webhook_bodies for values in (true) partition by range (received_at);

comment on table webhook_bodies_ignored is 'The bodies of ignored events.';
comment on column webhook_bodies_ignored.event_seq is 'As in webhook_bodies.';
comment on column webhook_bodies_ignored.received_at is 'As in webhook_bodies.';
comment on column webhook_bodies_ignored.ignored is 'As in webhook_bodies.';
comment on column webhook_bodies_ignored.body is 'As in webhook_bodies.';

create table webhook_bodies_ignored_default partition of webhook_bodies_ignored default;

comment on table webhook_bodies_ignored_default is 'Bodies of ignored events whose day had no partition when they came. Nearly empty as a rule: it is read through whenever a partition is made.';
comment on column webhook_bodies_ignored_default.event_seq is 'As in webhook_bodies.';
comment on column webhook_bodies_ignored_default.received_at is 'As in webhook_bodies.';
comment on column webhook_bodies_ignored_default.ignored is 'As in webhook_bodies.';
comment on column webhook_bodies_ignored_default.body is 'As in webhook_bodies.';

-- Statistics would keep some of the bodies, and no query filters by a body.
alter table webhook_bodies alter column body set statistics 0;

-- A plan for any range of time opens and locks every partition, in the worker's
-- transaction until it commits, so the worker's statement is planned for the range
-- that it asks for. The worker keeps the plans of its other statements
-- (plan_cache_mode = force_generic_plan), which is why this one is a function.
-- +goose StatementBegin
create function contactmirror_bodies(event_seqs bigint[], first timestamptz, last timestamptz)
returns table (event_seq bigint, body bytea)
language plpgsql stable
set plan_cache_mode = force_custom_plan
set work_mem = '16MB' -- keeps the bodies of a batch in memory
as $$
begin
    return query
    select b.event_seq, b.body
    from webhook_bodies b
    where b.event_seq = any (event_seqs) and not b.ignored and b.received_at between first and last;
end
$$;
-- +goose StatementEnd

comment on function contactmirror_bodies(bigint[], timestamptz, timestamptz) is 'The bodies of some contact events (event_seqs) that were received within a range of time (first, last): it reads the partitions of those days only.';

alter table webhook_events alter column keyless_sha256 set statistics 0; -- as that of bodies

create sequence duplicate_deliveries_duplicate_seq_seq as bigint;

create table duplicate_deliveries (
    duplicate_seq bigint default nextval('duplicate_deliveries_duplicate_seq_seq') primary key,
    event_seq     bigint not null,
    received_at   timestamptz not null,
    retry         integer,
    body_sha256   bytea not null,
    constraint duplicate_deliveries_body_sha256 check (octet_length(body_sha256) in (0, 32))
) with (
    autovacuum_vacuum_insert_scale_factor = 0, autovacuum_vacuum_insert_threshold = 500000, autovacuum_freeze_min_age = 0
);

alter sequence duplicate_deliveries_duplicate_seq_seq owned by duplicate_deliveries.duplicate_seq;
alter table duplicate_deliveries alter column body_sha256 set statistics 0; -- as that of bodies

create index duplicate_deliveries_event_seq on duplicate_deliveries (event_seq);

comment on table duplicate_deliveries is 'One row for each delivery of an event that had been accepted already.';
comment on column duplicate_deliveries.duplicate_seq is 'Key.';
comment on column duplicate_deliveries.event_seq is 'The event in webhook_events.';
comment on column duplicate_deliveries.received_at is 'When this delivery arrived, by the receiver''s clock.';
comment on column duplicate_deliveries.retry is 'The X-SuperOffice-Retry header, 0 where absent, NULL where it is no number, or of a delivery that was retried from quarantine.';
comment on column duplicate_deliveries.body_sha256 is 'SHA-256 of this delivery''s body; differs from the stored body''s where the sender reused a key for other content. Empty where the contact has been erased.';
comment on index duplicate_deliveries_pkey is 'Keeps numbers unique; no statement reads by it.';
comment on index duplicate_deliveries_event_seq is 'For contactmirror_strip_events and contactmirror_redact_event, which blank the hashes of an erased contact''s events.';

create sequence quarantined_deliveries_quarantine_seq_seq as bigint;

create table quarantined_deliveries (
    quarantine_seq     bigint default nextval('quarantined_deliveries_quarantine_seq_seq') primary key,
    received_at        timestamptz not null,
    reason             text not null,
    context_identifier text,
    vouched_for        text[],
    vouched_except     text[],
    event_seq          bigint,
    headers            jsonb,
    signatures         jsonb,
    verified           boolean not null default false,
    body               bytea not null,
    body_sha256        bytea not null,
    deliveries         integer not null default 1,
    attempts           integer not null default 1,
    resolved_at        timestamptz,
    resolution         text,
    bytes_removed_at   timestamptz,
    constraint quarantined_deliveries_vouched check
        (vouched_for is null or context_identifier is null and event_seq is null and cardinality(vouched_for) > 0),
    constraint quarantined_deliveries_vouched_except check ((vouched_except is not null) = coalesce(vouched_for @> '{*}', false)),
    constraint quarantined_deliveries_deliveries check (deliveries > 0),
    constraint quarantined_deliveries_attempts check (attempts > 0),
    constraint quarantined_deliveries_resolution check
        (resolution in ('retried', 'discarded') and resolved_at is not null or resolution is null and resolved_at is null),
    constraint quarantined_deliveries_bytes_removed check (bytes_removed_at is null or headers is null and signatures is null)
);

alter sequence quarantined_deliveries_quarantine_seq_seq owned by quarantined_deliveries.quarantine_seq;
alter table quarantined_deliveries -- as that of bodies
    alter column reason set statistics 0, alter column headers set statistics 0,
    alter column body set statistics 0, alter column body_sha256 set statistics 0;

create unique index quarantined_deliveries_event on quarantined_deliveries (event_seq) where event_seq is not null;
create unique index quarantined_deliveries_body on quarantined_deliveries (body_sha256) where event_seq is null;
create index quarantined_deliveries_open on quarantined_deliveries (quarantine_seq) where resolved_at is null;

comment on table quarantined_deliveries is 'Deliveries that could not be understood, and accepted events that could not be applied, with the reason.';
comment on column quarantined_deliveries.quarantine_seq is 'Key.';
comment on column quarantined_deliveries.received_at is 'When the delivery first arrived, by the receiver''s clock.';
comment on column quarantined_deliveries.reason is 'Why it could not be accepted or applied.';
comment on column quarantined_deliveries.context_identifier is 'The tenant, where it could be read.';
comment on column quarantined_deliveries.vouched_for is 'Of a delivery whose tenant can''t be read: the tenants with a secret of their own that gives its signature; * for the tenants without one. NULL where the tenant is known, or the secret is not: then it may be any tenant''s.';
comment on column quarantined_deliveries.vouched_except is 'Where vouched_for holds *: the tenants that had secrets of their own when the delivery came.';
comment on column quarantined_deliveries.event_seq is 'The event in webhook_events; NULL where the delivery never became one.';
comment on column quarantined_deliveries.headers is 'The first request''s headers, credentials masked; of a delivery that the database refused as an event, its signature.';
comment on column quarantined_deliveries.signatures is 'Of a delivery that never became an event: every signature that the same bytes were delivered with, with the time when it first came; an empty one for a delivery without. A retry verifies them again.';
comment on column quarantined_deliveries.verified is 'Whether one of the signatures was verified under context_identifier when it came. Of a redacted entry this is all that is left of them.';
comment on column quarantined_deliveries.body is 'The request body, byte for byte; or the redacted body of an event of an erased contact.';
comment on column quarantined_deliveries.body_sha256 is 'SHA-256 of the body, so that the same bytes are counted in one entry. Once the body was removed, or redacted: random bytes, or of an erased contact a hash of what the entry keeps.';
comment on column quarantined_deliveries.deliveries is 'How often the same bytes were delivered.';
comment on column quarantined_deliveries.attempts is 'How often accepting or applying it was tried.';
comment on column quarantined_deliveries.resolved_at is 'When an operator resolved it; NULL while open.';
comment on column quarantined_deliveries.resolution is 'retried (put back to be applied) or discarded; NULL while open.';
comment on column quarantined_deliveries.bytes_removed_at is 'When headers, signatures, hash and body were removed, by retention or by erasure; NULL while they are kept. An erasure leaves a redacted body, one without values, where an event can still be applied.';
comment on index quarantined_deliveries_pkey is 'For quarantine_show and every other statement about one entry, quarantine_list, and contactmirror_prune_quarantine, which goes through the entries in order.';
comment on index quarantined_deliveries_event is 'For inbox_blame, which updates the entry on a conflict, and for mirror_unquarantine, erasure and retention, which look entries up by event.';
comment on index quarantined_deliveries_body is 'For inbox_quarantine, which counts the same bytes again by a conflict on it.';
comment on index quarantined_deliveries_open is 'For quarantine_list, report_backlog, mirror_waiting and mirror_unquarantine, which read the open entries of a table that keeps all of them.';

-- +goose Down

drop table quarantined_deliveries;
drop table duplicate_deliveries;
drop function contactmirror_bodies(bigint[], timestamptz, timestamptz);
drop table webhook_bodies;
drop table webhook_events;
drop function contactmirror_only_new_key();
drop function contactmirror_require_read_committed();
drop function contactmirror_append_only();
