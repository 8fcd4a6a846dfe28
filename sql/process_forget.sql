-- Takes a receiver off the list that has been silent for too long; says what was
-- found of it.
with found as (
    select host, pid, heartbeat_at, spool_records, moved_aside_files
    from receivers
    where receiver_id = @receiver_id::uuid
), forgotten as (
    delete from receivers
    where receiver_id = @receiver_id::uuid and heartbeat_at < now() - @silence::interval
    returning receiver_id
)
select f.host, f.pid, f.heartbeat_at, f.spool_records, f.moved_aside_files, g.receiver_id is not null as forgotten
from found f
left join forgotten g on true
