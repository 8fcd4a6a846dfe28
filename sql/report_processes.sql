-- The processes that run, and those that may have left something behind.
select receiver_id::text as receiver_id, host, pid, roles, version, started_at, heartbeat_at, observed_at,
    spool_records, spool_bytes, spool_oldest_at, moved_aside_files, moved_aside_oldest_at, inbox_away_since, worker_error, worker_failing_since,
    last_accepted_at, refused_since, refused
from receivers
order by host, started_at, receiver_id
