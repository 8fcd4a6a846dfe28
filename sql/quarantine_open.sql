-- Locks one quarantined delivery, and returns it with the database's time.
select quarantine_seq, received_at, context_identifier, event_seq, signatures, verified, body, resolved_at, bytes_removed_at, now() as now
from quarantined_deliveries
where quarantine_seq = @quarantine_seq::bigint
for update
