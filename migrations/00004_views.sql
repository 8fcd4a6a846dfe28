-- Views: the two spellings of the columns, and the account of every event.

-- +goose Up

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

create view event_accounting as
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

comment on view event_accounting is 'One row for each tenant: every accepted event has exactly one outcome, so accepted is the sum of the columns behind it.';

-- +goose Down

drop view event_accounting;
drop view contact_columns;
