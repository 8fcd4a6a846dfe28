-- Closes an open entry.
update quarantined_deliveries
set resolved_at = now(), resolution = @resolution::text
where quarantine_seq = @quarantine_seq::bigint and resolved_at is null
