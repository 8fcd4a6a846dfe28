-- The account of every tenant, counted row by row whatever event_accounting does.
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
select context_identifier, accepted, ignored, queued, quarantined, applied, no_op, superseded, after_delete
from account
where @context_identifier::text is null or context_identifier = @context_identifier::text
order by context_identifier collate "C"
