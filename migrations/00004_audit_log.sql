-- The audit log: one row for each fact about a contact, and one for each erasure of a
-- contact and each lifting of one.
--
-- What a row says the event said does not depend on when it arrived, so the mirror
-- and every report can be computed from the rows in the source's order. Rows are
-- only added, and the log is never partitioned or dropped. An erasure alone may
-- blank the values of a row, and leaves a commitment to them: each row is a link of
-- the hash chain of its shard, and the chain can be checked without the values.
--
-- A row with an outcome is a fact. Whatever folds, counts or reports facts leaves out
-- the rows without one: erasures say nothing of the contact at the source.

-- +goose Up

-- Vacuumed and frozen as webhook_events is, for the same reasons: see 00001_events.
create sequence contact_audit_log_audit_seq_seq as bigint;

create table contact_audit_log (
    audit_seq               bigint default nextval('contact_audit_log_audit_seq_seq') primary key,
    event_seq               bigint,
    shard                   smallint not null,
    context_identifier      text not null,
    contact_id              bigint not null,
    event                   text not null,
    event_id                uuid not null,
    occurred_at             timestamptz not null,
    occurred_ticks          bigint not null,
    received_at             timestamptz not null,
    recorded_at             timestamptz not null,
    changed_columns         text[] not null,
    field_values            jsonb,
    given_columns           bigint not null,
    id_values               jsonb,
    unreadable_columns      text[] not null,
    noticed_columns         text[],
    irregular               boolean not null default false,
    soft_deleted            boolean,
    hard_deleted            boolean not null,
    outcome                 text,
    effect                  text not null,
    changed_by_associate_id bigint,
    webhook_name            text,
    origin                  text not null,
    last_known              jsonb,
    chain_seq               bigint not null,
    chain                   bytea not null,
    salt                    bytea,
    commitment              bytea,
    erased_columns          text[],
    constraint contact_audit_log_shard check (shard between 0 and 31),
    constraint contact_audit_log_contact_id check (contact_id > 0),
    constraint contact_audit_log_event check (event in (
        'contact.created', 'contact.changed', 'contact.softdeleted', 'contact.deleted', 'mirror.erased', 'mirror.erasure_lifted'
    )),
    constraint contact_audit_log_outcome check (outcome in ('applied', 'no_op', 'superseded', 'after_delete')),
    constraint contact_audit_log_effect check (effect in ('upserted', 'soft_deleted', 'restored', 'deleted', 'erased', 'unchanged') and (effect = 'erased') = (event = 'mirror.erased')),
    constraint contact_audit_log_given_columns check (given_columns between 0 and (1::bigint << 38) - 1 and (given_columns = 0 or field_values is not null)),
    constraint contact_audit_log_fact check ((outcome is null) = (event in ('mirror.erased', 'mirror.erasure_lifted'))),
    constraint contact_audit_log_origin check (origin in ('webhook', 'backfill', 'fetch', 'reconcile', 'operator')),
    constraint contact_audit_log_chain_seq check (chain_seq > 0),
    constraint contact_audit_log_chain check (octet_length(chain) = 36),
    constraint contact_audit_log_salt check (octet_length(salt) = 16),
    constraint contact_audit_log_commitment check (octet_length(commitment) = 32),
    constraint contact_audit_log_erased check
        (erased_columns is null or field_values is null and id_values is null and last_known is null and salt is null)
) with (
    autovacuum_vacuum_insert_scale_factor = 0, autovacuum_vacuum_insert_threshold = 500000, autovacuum_freeze_min_age = 0
);

alter sequence contact_audit_log_audit_seq_seq owned by contact_audit_log.audit_seq;

create unique index contact_audit_log_event_seq on contact_audit_log (event_seq);

-- Facts only, with what tells, in the index alone, whether a contact's newest fact says
-- everything about it.
create index contact_audit_log_contact on contact_audit_log (context_identifier, contact_id, occurred_ticks)
    include (audit_seq, given_columns, soft_deleted, hard_deleted)
    where outcome is not null;

create index contact_audit_log_irregular on contact_audit_log (context_identifier, contact_id) where irregular;

-- One entry for each event that soft- or hard-deletes, or is about a contact in the
-- recycle bin. Other events cost the test of two booleans.
create index contact_audit_log_deletions on contact_audit_log (context_identifier, occurred_at) where soft_deleted or hard_deleted;

-- A few bytes for 32 pages of the log, written once when they are full: the log is
-- nearly in order of time, and the operator class tolerates the late rows.
create index contact_audit_log_occurred_at on contact_audit_log
    using brin (occurred_at timestamptz_minmax_multi_ops) with (pages_per_range = 32, autosummarize = on);

create index contact_audit_log_recorded_at on contact_audit_log
    using brin (recorded_at timestamptz_minmax_multi_ops) with (pages_per_range = 32, autosummarize = on);

comment on table contact_audit_log is 'One row for each contact event, written in the transaction that applied it, and one for each erasure of a contact and each lifting; never removed, and never changed except by erasure, which removes values. What the event said does not depend on when it arrived; outcome, effect, last_known, noticed_columns and irregular do. Rows with an outcome are the facts about contacts.';
comment on column contact_audit_log.audit_seq is 'Key, in the order of writing. Numbers have gaps and may become visible out of order.';
comment on column contact_audit_log.event_seq is 'The event in webhook_events; NULL where the row did not come by webhook.';
comment on column contact_audit_log.shard is 'The shard of the contact.';
comment on column contact_audit_log.context_identifier is 'SuperOffice''s ContextIdentifier, the tenant.';
comment on column contact_audit_log.contact_id is 'The contact.';
comment on column contact_audit_log.event is 'SuperOffice''s name of the event; mirror.erased: an operator erased the contact; mirror.erasure_lifted: values of later events are kept again.';
comment on column contact_audit_log.event_id is 'SuperOffice''s EventId; of an erasure or a lifting a random UUID.';
comment on column contact_audit_log.occurred_at is 'SuperOffice''s Timestamp, cut to microseconds; of an erasure or a lifting the same as recorded_at.';
comment on column contact_audit_log.occurred_ticks is 'SuperOffice''s Timestamp in units of 100 ns since 1970-01-01 UTC.';
comment on column contact_audit_log.received_at is 'When the event arrived, by the receiver''s clock.';
comment on column contact_audit_log.recorded_at is 'When it was applied, by the database''s clock.';
comment on column contact_audit_log.changed_columns is 'SuperOffice''s Changes, verbatim: names of columns, and others that the mirror does not have. Erasure removes the others, which may be any text.';
comment on column contact_audit_log.field_values is 'The readable values the event gave contact columns, under SuperOffice''s names, as sent; NULL where it gave none at all. A date before 0001-01-03, or from 1759-12-31 to 1760-01-02, means that none is set.';
comment on column contact_audit_log.given_columns is 'The columns to which field_values gives a readable value, as a bit set: 1 << n is the n-th row of contact_columns, counted from 0; contact_id is never in it. 0 once the values were erased.';
comment on column contact_audit_log.id_values is 'SuperOffice''s Values, the ids of a dead row; no column takes its value from them.';
comment on column contact_audit_log.unreadable_columns is 'Columns to which the event gave a value that can''t be read: one outside their type or outside the grammar of dates, or a DeletedDate before 1980 or more than a day after the event. They are pending, and the value decides nothing.';
comment on column contact_audit_log.noticed_columns is 'For contact_changes: the columns that changed although no event said so, as the facts recorded by then tell: the event gives them a value without naming them, and the last fact that named them or gave them a value gave another one. NULL where there are none, and of an irregular row.';
comment on column contact_audit_log.irregular is 'For contact_changes: the fact was not later than all facts of the contact recorded before, or it names a column twice, or gives a column that it does not name a value that can''t be read or was erased. What the facts of such a contact notice is computed from all of them, and not read from noticed_columns.';
comment on column contact_audit_log.soft_deleted is 'What the event says of the soft-delete flag; NULL where it says nothing, and on a hard delete.';
comment on column contact_audit_log.hard_deleted is 'The event is a hard delete.';
comment on column contact_audit_log.outcome is 'applied; no_op: the row was so already; superseded: later events had overwritten all it says; after_delete: later than the hard delete. NULL of an erasure and a lifting, which are no facts.';
comment on column contact_audit_log.effect is 'What this row did to the contact in contacts, compared with the contact just before it, in the order of audit_seq: upserted; soft_deleted: the flag was set, or the contact was first seen with it; restored: the flag was cleared; deleted: hard delete; erased: its values were erased, here and in earlier rows; unchanged: at most last_… columns changed, or an erasure was lifted. It depends on arrival order. rebuild and replay write no rows: they restore what the effects say.';
comment on column contact_audit_log.changed_by_associate_id is 'Who caused the event; NULL where it does not say.';
comment on column contact_audit_log.webhook_name is 'Name of the webhook definition at SuperOffice.';
comment on column contact_audit_log.origin is 'Where the fact came from: webhook, backfill, fetch or reconcile; operator: an erasure or a lifting.';
comment on column contact_audit_log.last_known is 'On a hard delete: the row that contacts held until then, by column name; NULL where there was none.';
comment on column contact_audit_log.chain_seq is 'Place in the chain of the shard, from 1, without gaps.';
comment on column contact_audit_log.chain is 'Link of the chain: an id of the key it was made with (4 bytes, zeros: none), and a hash (32 bytes) of the link before it, of a row or of an adoption, and of this row.';
comment on column contact_audit_log.salt is 'Random bytes that the link''s commitment to changed_columns, field_values, given_columns, id_values and last_known is made with; NULL once those were erased.';
comment on column contact_audit_log.commitment is 'The commitment to the values that were erased; NULL while they are here, because it can be computed from them.';
comment on column contact_audit_log.erased_columns is 'Of a row whose values were erased: the names in its field_values, in SuperOffice''s spelling and in ascending order; the link covers them. The columns count as changed to what is not known. NULL where nothing was erased.';
comment on index contact_audit_log_pkey is 'For changes_since, seal_accounts, verify_chain and the feed''s cursors, which read the log in the order of writing.';
comment on index contact_audit_log_event_seq is 'One row for each event. For verify_events, verify_lost and contactmirror_strip_events, which look rows up by event.';
comment on index contact_audit_log_contact is 'For audit_facts, refold_facts_of, contact_timeline, contact_changes, column_provenance, erasure and the as-of functions, which read the rows of some contacts, and for audit_tenants, which jumps from tenant to tenant.';
comment on index contact_audit_log_irregular is 'For contact_changes: whether a contact has an irregular row.';
comment on index contact_audit_log_deletions is 'For deleted_contacts, which lists a tenant''s newest deletions or those of some time.';
comment on index contact_audit_log_occurred_at is 'For contact_timeline and reports on the log of some time, such as a day, which read a few ranges of pages.';
comment on index contact_audit_log_recorded_at is 'For refold_facts (replay, rebuild --since) and contactmirror_known, which read what was written in some time.';

-- An update of the log is refused unless it is an erasure: a row loses its values,
-- names in changed_columns that are of no column and its salt, gains the commitment to
-- them, and no other column changes. The
-- setting contactmirror.erasing only prevents accidents; the check of each row does
-- not depend on it.
-- +goose StatementBegin
create function contactmirror_only_erasure() returns trigger
language plpgsql as $$
declare
    erasable constant text[] := array['changed_columns', 'field_values', 'given_columns', 'id_values', 'last_known', 'salt', 'commitment', 'erased_columns'];
begin
    if current_setting('contactmirror.erasing', true) is distinct from 'on' then
        raise exception '% is append-only: % is not allowed', tg_table_name, lower(tg_op)
            using errcode = 'insufficient_privilege';
    end if;
    if tg_level = 'ROW' then
        if to_jsonb(new) - erasable is distinct from to_jsonb(old) - erasable
            or old.erased_columns is not null or new.erased_columns is null
            or num_nonnulls(new.field_values, new.id_values, new.last_known, new.salt) > 0
            or new.commitment is null or new.given_columns <> 0
            or new.changed_columns is distinct from array(
                select c.name
                from unnest(old.changed_columns) with ordinality as c (name, place)
                where c.name in (select k.source_name from contact_columns k)
                order by c.place
            )
        then
            raise exception '% is append-only: this update is no erasure', tg_table_name
                using errcode = 'insufficient_privilege';
        end if;
        return new;
    end if;
    return null;
end
$$;
-- +goose StatementEnd

comment on function contactmirror_only_erasure() is 'Refuses updates of the audit log that are not erasures.';

create trigger contact_audit_log_append_only
    before delete or truncate on contact_audit_log
    for each statement execute function contactmirror_append_only();

create trigger contact_audit_log_only_erasure
    before update on contact_audit_log
    for each statement execute function contactmirror_only_erasure();

create trigger contact_audit_log_only_erasure_of_rows
    before update on contact_audit_log
    for each row execute function contactmirror_only_erasure();

-- Whoever runs audit adopt accepts the rows of a shard as they are. The link of an
-- adoption takes a place in the shard's chain, after the row numbered through_seq.
create table audit_adoptions (
    shard         smallint not null,
    ordinal       bigint not null,
    through_seq   bigint not null,
    adopted_rows  bigint not null,
    digest        bytea not null,
    adopted_count bigint not null,
    adopted_head  bytea,
    link          bytea not null,
    adopted_at    timestamptz not null,
    actor         text not null,
    reason        text not null,
    primary key (shard, ordinal),
    constraint audit_adoptions_shard check (shard between 0 and 31),
    constraint audit_adoptions_ordinal check (ordinal > 0),
    constraint audit_adoptions_rows check (adopted_rows >= 0),
    constraint audit_adoptions_digest check (octet_length(digest) = 32),
    constraint audit_adoptions_count check (adopted_count >= 0),
    constraint audit_adoptions_head check (octet_length(adopted_head) = 36),
    constraint audit_adoptions_link check (octet_length(link) = 36)
);

create trigger audit_adoptions_append_only
    before update or delete or truncate on audit_adoptions
    for each statement execute function contactmirror_append_only();

comment on table audit_adoptions is 'Chains of the audit log that an operator has accepted as they were, with audit adopt: for a first key, or after a break. verify lists what they cover as not proved. Append-only.';
comment on column audit_adoptions.shard is 'The shard of the chain.';
comment on column audit_adoptions.ordinal is 'Place among the adoptions of the shard, from 1.';
comment on column audit_adoptions.through_seq is 'The greatest audit_seq in the log at the time: the adoption is about the shard''s rows up to it.';
comment on column audit_adoptions.adopted_rows is 'How many rows these are.';
comment on column audit_adoptions.digest is 'SHA-256 of these rows as they were, without values that can be erased.';
comment on column audit_adoptions.adopted_count is 'Number of rows in the shard''s chain at the time: the next row has the place after it.';
comment on column audit_adoptions.adopted_head is 'audit_head in sync_shards at the time; NULL where there was none.';
comment on column audit_adoptions.link is 'Link that the next row of the shard follows: an HMAC of all other columns, made with the first key of the command, after the key''s id.';
comment on column audit_adoptions.adopted_at is 'When, by the database''s clock.';
comment on column audit_adoptions.actor is 'Who: the user and host that ran the command.';
comment on column audit_adoptions.reason is 'Why, in the operator''s words.';
comment on index audit_adoptions_pkey is 'Keeps two adoptions of a shard apart.';

-- +goose Down

drop table audit_adoptions;
drop table contact_audit_log;
drop function contactmirror_only_erasure();
