-- The mirror: live contacts, tombstones of dead ones, and the audit log.

-- +goose Up

create table contacts (
    context_identifier         text not null,
    contact_id                 bigint not null,
    name                       text,
    kananame                   text,
    department                 text,
    number1                    text,
    number2                    text,
    org_nr                     text,
    sound_ex                   text,
    dbi_key                    text,
    associate_id               bigint,
    country_id                 bigint,
    business_idx               bigint,
    category_idx               bigint,
    registered_associate_id    bigint,
    updated_associate_id       bigint,
    text_id                    bigint,
    mother_id                  bigint,
    userdef_id                 bigint,
    userdef2_id                bigint,
    group_id                   bigint,
    tz_location_id             bigint,
    ticket_priority_id         bigint,
    support_language_id        bigint,
    support_associate_id       bigint,
    support_person_id          bigint,
    dbi_agent_id               bigint,
    source                     integer,
    active_interests           integer,
    updated_count              integer,
    deleted                    integer,
    active_erp_links           integer,
    xstop                      boolean,
    nomailing                  boolean,
    registered                 timestamptz,
    updated                    timestamptz,
    deleted_date               timestamptz,
    dbi_last_syncronized       timestamp,
    dbi_last_modified          timestamp,
    soft_deleted               boolean not null,
    soft_deleted_at            timestamptz,
    pending_columns            text[] not null,
    last_event                 text not null,
    last_event_id              uuid not null,
    last_event_at              timestamptz not null,
    last_event_ticks           bigint not null,
    last_changed_by_associate_id bigint,
    first_seen_at              timestamptz not null,
    mirrored_at                timestamptz not null,
    primary key (context_identifier, contact_id),
    constraint contacts_soft_deleted_at check (soft_deleted = (soft_deleted_at is not null))
) with (fillfactor = 80); -- leaves room for updates in place, which touch no index

-- +goose StatementBegin
comment on table contacts is
    'One row for each live contact: SuperOffice''s columns as far as they are known, and the mirror''s own. 0 in an id column means none.';
-- +goose StatementEnd
comment on column contacts.context_identifier is 'SuperOffice''s ContextIdentifier, the tenant.';
comment on column contacts.contact_id is 'SuperOffice: primary key.';
comment on column contacts.name is 'SuperOffice: company name.';
comment on column contacts.kananame is 'SuperOffice: kana name, Japanese versions only.';
comment on column contacts.department is 'SuperOffice: department.';
comment on column contacts.number1 is 'SuperOffice: alphanumeric user field.';
comment on column contacts.number2 is 'SuperOffice: alphanumeric user field.';
comment on column contacts.org_nr is 'SuperOffice orgNr: VAT number or similar.';
comment on column contacts.sound_ex is 'SuperOffice soundEx: what the name sounds like.';
comment on column contacts.dbi_key is 'SuperOffice: key of the entry in an external data source.';
comment on column contacts.associate_id is 'SuperOffice: our contact, the owner.';
comment on column contacts.country_id is 'SuperOffice: country.';
comment on column contacts.business_idx is 'SuperOffice: entry of the business list.';
comment on column contacts.category_idx is 'SuperOffice: entry of the category list.';
comment on column contacts.registered_associate_id is 'SuperOffice: registered by whom.';
comment on column contacts.updated_associate_id is 'SuperOffice: last updated by whom.';
comment on column contacts.text_id is 'SuperOffice: note.';
comment on column contacts.mother_id is 'SuperOffice: reserved (parent).';
comment on column contacts.userdef_id is 'SuperOffice: user-defined record 1.';
comment on column contacts.userdef2_id is 'SuperOffice: user-defined record 2.';
comment on column contacts.group_id is 'SuperOffice: user group of the original owner.';
comment on column contacts.tz_location_id is 'SuperOffice tzLocationId: default time zone location.';
comment on column contacts.ticket_priority_id is 'SuperOffice ticketPriorityId: default ticket priority.';
comment on column contacts.support_language_id is 'SuperOffice supportLanguageId: customer language.';
comment on column contacts.support_associate_id is 'SuperOffice supportAssociateId: our contact for support.';
comment on column contacts.support_person_id is 'SuperOffice supportPersonId: the person support talks to.';
comment on column contacts.dbi_agent_id is 'SuperOffice: integration agent.';
comment on column contacts.source is 'SuperOffice: how we got this contact.';
comment on column contacts.active_interests is 'SuperOffice activeInterests: number of interest rows.';
comment on column contacts.updated_count is 'SuperOffice updatedCount: number of updates, 16 bits at the source.';
comment on column contacts.deleted is 'SuperOffice: non-zero when deleted. Use soft_deleted: the source keeps two markers.';
comment on column contacts.active_erp_links is 'SuperOffice activeErpLinks: number of ERP connections.';
comment on column contacts.xstop is 'SuperOffice: STOP flag.';
comment on column contacts.nomailing is 'SuperOffice: no mailings.';
comment on column contacts.registered is 'SuperOffice: date registered.';
comment on column contacts.updated is 'SuperOffice: date last updated.';
comment on column contacts.deleted_date is 'SuperOffice DeletedDate: when soft-deleted; NULL where it says that no date is set. Use soft_deleted_at.';
comment on column contacts.dbi_last_syncronized is 'SuperOffice: last external synchronisation, without a zone.';
comment on column contacts.dbi_last_modified is 'SuperOffice: last modified in the external source, without a zone.';
comment on column contacts.soft_deleted is 'In SuperOffice''s recycle bin.';
comment on column contacts.soft_deleted_at is 'Since when in the recycle bin: the last DeletedDate that was set, else the time of the event that put it there. NULL when not soft_deleted.';
comment on column contacts.pending_columns is 'Columns of this table whose current value is not known here; what stands in them may be older.';
comment on column contacts.last_event is 'The newest event, in the source''s order.';
comment on column contacts.last_event_id is 'Its EventId.';
comment on column contacts.last_event_at is 'Its Timestamp, cut to microseconds.';
comment on column contacts.last_event_ticks is 'Its Timestamp in units of 100 ns since 1970-01-01 UTC.';
comment on column contacts.last_changed_by_associate_id is 'Who caused it; NULL where it does not say.';
comment on column contacts.first_seen_at is 'When the row was first written here.';
comment on column contacts.mirrored_at is 'When the row was last written here.';

-- +goose StatementBegin
create function contactmirror_utc(at timestamptz) returns text
language sql stable parallel safe
return (to_jsonb(at at time zone 'UTC') #>> '{}') || 'Z';
-- +goose StatementEnd

comment on function contactmirror_utc(timestamptz) is 'A time as jsonb holds it here: in UTC with a Z, whatever the session''s zone.';

-- +goose StatementBegin
create function contactmirror_row(contact contacts) returns jsonb
language sql stable parallel safe
return to_jsonb(contact) || jsonb_build_object(
    'registered', contactmirror_utc(contact.registered),
    'updated', contactmirror_utc(contact.updated),
    'deleted_date', contactmirror_utc(contact.deleted_date),
    'soft_deleted_at', contactmirror_utc(contact.soft_deleted_at),
    'last_event_at', contactmirror_utc(contact.last_event_at),
    'first_seen_at', contactmirror_utc(contact.first_seen_at),
    'mirrored_at', contactmirror_utc(contact.mirrored_at)
);
-- +goose StatementEnd

comment on function contactmirror_row(contacts) is 'A row of contacts as JSON, by column name, with its times in UTC.';

create table contact_tombstones (
    context_identifier text not null,
    contact_id         bigint not null,
    deleted_at         timestamptz not null,
    event_seq          bigint not null,
    occurred_ticks     bigint not null,
    event_id           uuid not null,
    primary key (context_identifier, contact_id)
);

comment on table contact_tombstones is 'Contacts that were hard-deleted. Nothing brings them back into contacts.';
comment on column contact_tombstones.context_identifier is 'SuperOffice''s ContextIdentifier, the tenant.';
comment on column contact_tombstones.contact_id is 'The contact.';
comment on column contact_tombstones.deleted_at is 'When it was hard-deleted, cut to microseconds: of several hard deletes the earliest.';
comment on column contact_tombstones.event_seq is 'The event that says so, in webhook_events.';
comment on column contact_tombstones.occurred_ticks is 'When it was hard-deleted, in units of 100 ns since 1970-01-01 UTC.';
comment on column contact_tombstones.event_id is 'EventId of that event.';

create table contact_audit_log (
    audit_seq                  bigint generated by default as identity primary key,
    event_seq                  bigint,
    shard                      smallint not null,
    context_identifier         text not null,
    contact_id                 bigint not null,
    event                      text not null,
    event_id                   uuid not null,
    occurred_at                timestamptz not null,
    occurred_ticks             bigint not null,
    received_at                timestamptz not null,
    recorded_at                timestamptz not null,
    changed_columns            text[] not null,
    field_values               jsonb,
    id_values                  jsonb,
    unreadable_columns         text[] not null,
    soft_deleted               boolean,
    hard_deleted               boolean not null,
    outcome                    text not null,
    changed_by_associate_id    bigint,
    webhook_name               text,
    origin                     text not null,
    last_known                 jsonb,
    constraint contact_audit_log_outcome check (outcome in ('applied', 'no_op', 'superseded', 'after_delete')),
    constraint contact_audit_log_origin check (origin in ('webhook', 'backfill', 'fetch', 'reconcile'))
);

create unique index contact_audit_log_event_seq on contact_audit_log (event_seq);
-- With the key, so that a contact's newest row is found in the index alone.
create index contact_audit_log_contact on contact_audit_log (context_identifier, contact_id, occurred_ticks) include (audit_seq);

create trigger contact_audit_log_append_only
    before update or delete or truncate on contact_audit_log
    for each statement execute function contactmirror_append_only();

comment on table contact_audit_log is 'One row for each contact event, written in the transaction that applied it; never changed. What the event said does not depend on when it arrived; outcome and last_known do.';
comment on column contact_audit_log.audit_seq is 'Key, in the order of writing. Numbers have gaps and may become visible out of order.';
comment on column contact_audit_log.event_seq is 'The event in webhook_events; NULL where the fact did not come by webhook.';
comment on column contact_audit_log.shard is 'The shard of the contact.';
comment on column contact_audit_log.context_identifier is 'SuperOffice''s ContextIdentifier, the tenant.';
comment on column contact_audit_log.contact_id is 'The contact.';
comment on column contact_audit_log.event is 'SuperOffice''s name of the event.';
comment on column contact_audit_log.event_id is 'SuperOffice''s EventId.';
comment on column contact_audit_log.occurred_at is 'SuperOffice''s Timestamp, cut to microseconds.';
comment on column contact_audit_log.occurred_ticks is 'SuperOffice''s Timestamp in units of 100 ns since 1970-01-01 UTC.';
comment on column contact_audit_log.received_at is 'When the event arrived, by the receiver''s clock.';
comment on column contact_audit_log.recorded_at is 'When it was applied, by the database''s clock.';
comment on column contact_audit_log.changed_columns is 'SuperOffice''s Changes: names of columns without values, verbatim.';
comment on column contact_audit_log.field_values is 'The readable values the event gave contact columns, under SuperOffice''s names, as sent; NULL where it gave none at all. A date before 0001-01-03, or from 1759-12-31 to 1760-01-02, means that none is set.';
comment on column contact_audit_log.id_values is 'SuperOffice''s Values, the ids of a dead row; no column takes its value from them.';
comment on column contact_audit_log.unreadable_columns is 'Columns to which the event gave a value that can''t be read: one outside their type or outside the grammar of dates, or a DeletedDate before 1980 or more than a day after the event. They are pending, and the value decides nothing.';
comment on column contact_audit_log.soft_deleted is 'What the event says of the soft-delete flag; NULL where it says nothing, and on a hard delete.';
comment on column contact_audit_log.hard_deleted is 'The event is a hard delete.';
comment on column contact_audit_log.outcome is 'applied; no_op: the row was so already; superseded: later events had overwritten all it says; after_delete: later than the hard delete.';
comment on column contact_audit_log.changed_by_associate_id is 'Who caused the event; NULL where it does not say.';
comment on column contact_audit_log.webhook_name is 'Name of the webhook definition at SuperOffice.';
comment on column contact_audit_log.origin is 'Where the fact came from: webhook, backfill, fetch or reconcile.';
comment on column contact_audit_log.last_known is 'On a hard delete: the row that contacts held until then, by column name; NULL where there was none.';

-- +goose Down

drop table contact_audit_log;
drop table contact_tombstones;
drop function contactmirror_row;
drop function contactmirror_utc;
drop table contacts;
