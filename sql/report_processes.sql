-- The running processes, and those that ended without removing their row.
select process::text as process, database_identity, host, pid, roles, version, started_at, heartbeat_at, observed_at,
    accepted_at, refused, refused_since, spooling_since, spool_records, spool_bytes, spool_oldest_at,
    spool_moved_aside_files, spool_moved_aside_oldest_at, spool_error, spool_failing_since,
    applied_at, apply_error, apply_failing_since,
    horizon_advanced_at, horizon_error, horizon_failing_since
from processes
order by host, started_at, processes.process
