-- The account of every tenant, with the oldest event that waits to be applied.
select a.context_identifier, a.accepted, a.ignored, a.queued, a.quarantined,
    a.applied, a.no_op, a.superseded, a.after_delete, a.balanced, w.since as oldest_queued_at
from event_accounting a
left join (select context_identifier, since from mirror_waiting where place = 'queue') w using (context_identifier)
order by a.context_identifier
