-- Contacts: the mirror itself, and the tombstones of contacts that were deleted.
--
-- contacts holds what the facts in contact_audit_log fold to, so it can always be
-- made from the log again (rebuild). Of its columns SuperOffice's 38 are named in
-- snake case; contact_columns joins the two spellings. There are no foreign keys: 0
-- in an id column means none, and the rows that ids refer to are not here.

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
    constraint contacts_contact_id check (contact_id > 0),
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
comment on column contacts.pending_columns is 'Columns of this table whose current value is not known here; the value in them may be older.';
comment on column contacts.last_event is 'The newest event, in the source''s order.';
comment on column contacts.last_event_id is 'Its EventId.';
comment on column contacts.last_event_at is 'Its Timestamp, cut to microseconds.';
comment on column contacts.last_event_ticks is 'Its Timestamp in units of 100 ns since 1970-01-01 UTC.';
comment on column contacts.last_changed_by_associate_id is 'Who caused it; NULL where it does not say.';
comment on column contacts.first_seen_at is 'When the row was first written here.';
comment on column contacts.mirrored_at is 'When the row was last written here.';

-- Updates of contacts that are not in the recycle bin touch no entry of it.
create index contacts_recycle_bin on contacts (context_identifier, soft_deleted_at) where soft_deleted;

comment on index contacts_pkey is 'For every statement that reads or writes the rows of some contacts, and for the as-of functions, which read a tenant''s.';
comment on index contacts_recycle_bin is 'For restorable_contacts, which lists a tenant''s recycle bin in the order of its expiry.';

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
    primary key (context_identifier, contact_id),
    constraint contact_tombstones_contact_id check (contact_id > 0)
);

comment on table contact_tombstones is 'Contacts that were hard-deleted. No later event brings one back into contacts.';
comment on column contact_tombstones.context_identifier is 'SuperOffice''s ContextIdentifier, the tenant.';
comment on column contact_tombstones.contact_id is 'The contact.';
comment on column contact_tombstones.deleted_at is 'When it was hard-deleted, cut to microseconds: of several hard deletes the earliest.';
comment on column contact_tombstones.event_seq is 'The event that says so, in webhook_events.';
comment on column contact_tombstones.occurred_ticks is 'When it was hard-deleted, in units of 100 ns since 1970-01-01 UTC.';
comment on column contact_tombstones.event_id is 'EventId of that event.';
comment on index contact_tombstones_pkey is 'For every statement that reads or writes the tombstones of some contacts, and for the as-of functions.';

create view contact_columns (source_name, column_name, type) as values
    ('contact_id', 'contact_id', 'bigint'),
    ('name', 'name', 'text'),
    ('kananame', 'kananame', 'text'),
    ('department', 'department', 'text'),
    ('number1', 'number1', 'text'),
    ('number2', 'number2', 'text'),
    ('orgNr', 'org_nr', 'text'),
    ('soundEx', 'sound_ex', 'text'),
    ('dbi_key', 'dbi_key', 'text'),
    ('associate_id', 'associate_id', 'bigint'),
    ('country_id', 'country_id', 'bigint'),
    ('business_idx', 'business_idx', 'bigint'),
    ('category_idx', 'category_idx', 'bigint'),
    ('registered_associate_id', 'registered_associate_id', 'bigint'),
    ('updated_associate_id', 'updated_associate_id', 'bigint'),
    ('text_id', 'text_id', 'bigint'),
    ('mother_id', 'mother_id', 'bigint'),
    ('userdef_id', 'userdef_id', 'bigint'),
    ('userdef2_id', 'userdef2_id', 'bigint'),
    ('group_id', 'group_id', 'bigint'),
    ('tzLocationId', 'tz_location_id', 'bigint'),
    ('ticketPriorityId', 'ticket_priority_id', 'bigint'),
    ('supportLanguageId', 'support_language_id', 'bigint'),
    ('supportAssociateId', 'support_associate_id', 'bigint'),
    ('supportPersonId', 'support_person_id', 'bigint'),
    ('dbi_agent_id', 'dbi_agent_id', 'bigint'),
    ('source', 'source', 'integer'),
    ('activeInterests', 'active_interests', 'integer'),
    ('updatedCount', 'updated_count', 'integer'),
    ('deleted', 'deleted', 'integer'),
    ('activeErpLinks', 'active_erp_links', 'integer'),
    ('xstop', 'xstop', 'boolean'),
    ('nomailing', 'nomailing', 'boolean'),
    ('registered', 'registered', 'timestamptz'),
    ('updated', 'updated', 'timestamptz'),
    ('DeletedDate', 'deleted_date', 'timestamptz'),
    ('dbi_last_syncronized', 'dbi_last_syncronized', 'timestamp'),
    ('dbi_last_modified', 'dbi_last_modified', 'timestamp');

comment on view contact_columns is 'The mirrored columns: SuperOffice''s name, as in the audit log, and the name in contacts.';

-- +goose Down

drop view contact_columns;
drop table contact_tombstones;
drop function contactmirror_row(contacts);
drop function contactmirror_utc(timestamptz);
drop table contacts;
