-- Closes open quarantine entries of events that are applied: they were queued again
-- by a copy of rows, not by a retry. Looks for them only where any entry is open.
update quarantined_deliveries
set resolved_at = now(), resolution = 'retried'
where event_seq = any (@event_seqs::bigint[]) and resolved_at is null
    and exists (select from quarantined_deliveries o where o.resolved_at is null)
