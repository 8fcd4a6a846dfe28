-- The transactions that halt the change feed, anywhere in the cluster, and others with
-- an id that have run for so long that they will. Since when is not known of those of
-- other roles, unless the role may read all statistics (pg_read_all_stats).
with horizon as (
    select noted_by::xid as noted_by, noted_at, (noted_event_seq, noted_audit_seq) <> (event_seq, audit_seq) as waits
    from log_horizon
    where id = 1
), running as (
    select pid, null::text as gid, datname::text as database, usename::text as user_name, xact_start as since, backend_xid as xid
    from pg_stat_activity
    where backend_xid is not null and pid <> pg_backend_pid()
    union all
    select null, gid, database::text, owner::text, prepared, transaction
    from pg_prepared_xacts
)
select r.pid, r.gid, coalesce(r.database, '') as database, coalesce(r.user_name, '') as user_name, r.since,
    h.waits and age(r.xid) >= age(h.noted_by) as halts, h.noted_at as halting_since
from running r
cross join horizon h
where h.waits and age(r.xid) >= age(h.noted_by) and h.noted_at < now() - interval '2 seconds'
    or r.since < now() - interval '10 seconds'
order by r.since, r.pid
