-- Says that a process runs and how it is, with the secrets that it verifies by.
-- Secrets of which nothing changed are not written.
with beat as (
    insert into receivers (
        receiver_id, host, pid, roles, version, started_at, heartbeat_at, observed_at,
        spool_records, spool_bytes, spool_oldest_at, moved_aside_files, moved_aside_oldest_at,
        inbox_away_since, worker_error, worker_failing_since,
        last_accepted_at, refused_since, refused
    )
    values (
        @receiver_id::uuid, @host::text, @pid::integer, @roles::text[], @version::text,
        @started_at::timestamptz, now(), @observed_at::timestamptz,
        @spool_records::bigint, @spool_bytes::bigint, @spool_oldest_at::timestamptz,
        @moved_aside_files::integer, @moved_aside_oldest_at::timestamptz,
        @inbox_away_since::timestamptz, @worker_error::text, @worker_failing_since::timestamptz,
        @last_accepted_at::timestamptz, @refused_since::timestamptz, @refused::bigint
    )
    on conflict (receiver_id) do update
    set host = excluded.host,
        pid = excluded.pid,
        roles = excluded.roles,
        version = excluded.version,
        started_at = excluded.started_at,
        heartbeat_at = excluded.heartbeat_at,
        observed_at = excluded.observed_at,
        spool_records = excluded.spool_records,
        spool_bytes = excluded.spool_bytes,
        spool_oldest_at = excluded.spool_oldest_at,
        moved_aside_files = excluded.moved_aside_files,
        moved_aside_oldest_at = excluded.moved_aside_oldest_at,
        inbox_away_since = excluded.inbox_away_since,
        worker_error = excluded.worker_error,
        worker_failing_since = excluded.worker_failing_since,
        last_accepted_at = excluded.last_accepted_at,
        refused_since = excluded.refused_since,
        refused = excluded.refused
), current as materialized (
    select *
    from unnest(
        @context_identifiers::text[], @ordinals::integer[], @not_before::timestamptz[], @not_after::timestamptz[],
        @last_matched_at::timestamptz[], @secrets_refused_since::timestamptz[]
    ) as s (context_identifier, ordinal, not_before, not_after, last_matched_at, refused_since)
), removed as (
    delete from receiver_secrets r
    where r.receiver_id = @receiver_id::uuid
        and not exists (
            select from current c
            where c.context_identifier = r.context_identifier and c.ordinal = r.ordinal
        )
)
insert into receiver_secrets as s (
    receiver_id, context_identifier, ordinal, not_before, not_after, last_matched_at, refused_since
)
select @receiver_id::uuid, context_identifier, ordinal, not_before, not_after, last_matched_at, refused_since
from current
on conflict (receiver_id, context_identifier, ordinal) do update
set not_before = excluded.not_before,
    not_after = excluded.not_after,
    last_matched_at = excluded.last_matched_at,
    refused_since = excluded.refused_since
where (s.not_before, s.not_after, s.last_matched_at, s.refused_since)
    is distinct from (excluded.not_before, excluded.not_after, excluded.last_matched_at, excluded.refused_since)
