-- Removes the row of a process that stops in order and leaves nothing in its spool.
-- What it has received until then is in the database.
with left_in_order as (
    delete from processes
    where process = @process::uuid
    returning 'receive' = any (roles) and database_identity = contactmirror_database_identity() as received
)
insert into freshness as f (id, database_identity, last_heartbeat_at)
select 1, contactmirror_database_identity(), @observed_at::timestamptz
from left_in_order
where received
on conflict (id) do update
set last_heartbeat_at = greatest(f.last_heartbeat_at, excluded.last_heartbeat_at)
