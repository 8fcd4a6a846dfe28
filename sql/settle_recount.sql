-- The tenants whose sealed counts differ from the rows that they stand for. Reads
-- all of both logs.
with seal as (
    select event_seq, audit_seq
    from accounting_seal
    where id = 1
), counted as (
    select context_identifier, count(*) as accepted, count(*) filter (where ignored) as ignored,
        0 as applied, 0 as no_op, 0 as superseded, 0 as after_delete
    from webhook_events
    where event_seq <= (select event_seq from seal)
    group by context_identifier
    union all
    select context_identifier, 0, 0,
        count(*) filter (where outcome = 'applied'),
        count(*) filter (where outcome = 'no_op'),
        count(*) filter (where outcome = 'superseded'),
        count(*) filter (where outcome = 'after_delete')
    from contact_audit_log
    where audit_seq <= (select audit_seq from seal) and origin = 'webhook'
    group by context_identifier
    union all
    select context_identifier, -accepted, -ignored, -applied, -no_op, -superseded, -after_delete
    from sealed_accounts
)
select context_identifier
from counted
group by context_identifier
having (sum(accepted), sum(ignored), sum(applied), sum(no_op), sum(superseded), sum(after_delete)) <> (0, 0, 0, 0, 0, 0)
order by context_identifier
