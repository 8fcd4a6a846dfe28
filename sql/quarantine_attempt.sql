-- Notes that an open entry was tried again, in vain.
update quarantined_deliveries
set attempts = attempts + 1, reason = @reason::text
where quarantine_seq = @quarantine_seq::bigint and resolved_at is null
