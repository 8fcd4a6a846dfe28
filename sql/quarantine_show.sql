-- One quarantined delivery, whole.
select quarantine_seq, received_at, reason, context_identifier, event_seq, headers, signatures, body, deliveries, attempts,
    resolved_at, resolution, bytes_removed_at
from quarantined_deliveries
where quarantine_seq = @quarantine_seq::bigint
