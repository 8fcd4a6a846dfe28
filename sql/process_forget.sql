-- Removes the row of a process if it is without a heartbeat for longer than
-- silence, and returns what it said in either case.
with found as (
    select host, pid, heartbeat_at, spool_records, spool_moved_aside_files
    from processes
    where process = @process::uuid
), forgotten as (
    delete from processes
    where process = @process::uuid and heartbeat_at < now() - @silence::interval
    returning process
)
select f.host, f.pid, f.heartbeat_at, f.spool_records, f.spool_moved_aside_files, g.process is not null as forgotten
from found f
left join forgotten g on true
