-- Writes the row of a running process, and the secrets that it verifies
-- deliveries with. Secrets that have not changed are not written.
with heartbeat as (
    insert into processes (
        process, host, pid, roles, version, started_at, heartbeat_at, observed_at,
        accepted_at, refused, refused_since, spooling_since, spool_records, spool_bytes, spool_oldest_at,
        spool_moved_aside_files, spool_moved_aside_oldest_at,
        applied_at, apply_error, apply_failing_since,
        horizon_advanced_at, horizon_error, horizon_failing_since
    )
    values (
        @process::uuid, @host::text, @pid::integer, @roles::text[], @version::text,
        @started_at::timestamptz, now(), @observed_at::timestamptz,
        @accepted_at::timestamptz, @refused::bigint, @refused_since::timestamptz, @spooling_since::timestamptz,
        @spool_records::bigint, @spool_bytes::bigint, @spool_oldest_at::timestamptz,
        @spool_moved_aside_files::integer, @spool_moved_aside_oldest_at::timestamptz,
        @applied_at::timestamptz, @apply_error::text, @apply_failing_since::timestamptz,
        @horizon_advanced_at::timestamptz, @horizon_error::text, @horizon_failing_since::timestamptz
    )
    on conflict (process) do update
    set host = excluded.host,
        pid = excluded.pid,
        roles = excluded.roles,
        version = excluded.version,
        started_at = excluded.started_at,
        heartbeat_at = excluded.heartbeat_at,
        observed_at = excluded.observed_at,
        accepted_at = excluded.accepted_at,
        refused = excluded.refused,
        refused_since = excluded.refused_since,
        spooling_since = excluded.spooling_since,
        spool_records = excluded.spool_records,
        spool_bytes = excluded.spool_bytes,
        spool_oldest_at = excluded.spool_oldest_at,
        spool_moved_aside_files = excluded.spool_moved_aside_files,
        spool_moved_aside_oldest_at = excluded.spool_moved_aside_oldest_at,
        applied_at = excluded.applied_at,
        apply_error = excluded.apply_error,
        apply_failing_since = excluded.apply_failing_since,
        horizon_advanced_at = excluded.horizon_advanced_at,
        horizon_error = excluded.horizon_error,
        horizon_failing_since = excluded.horizon_failing_since
), current as materialized (
    select *
    from unnest(
        @context_identifiers::text[], @ordinals::integer[], @not_before::timestamptz[], @not_after::timestamptz[],
        @matched_at::timestamptz[], @secrets_refused_since::timestamptz[]
    ) as s (context_identifier, ordinal, not_before, not_after, matched_at, refused_since)
), removed as (
    delete from process_secrets r
    where r.process = @process::uuid
        and not exists (
            select from current c
            where c.context_identifier = r.context_identifier and c.ordinal = r.ordinal
        )
)
insert into process_secrets as s (
    process, context_identifier, ordinal, not_before, not_after, matched_at, refused_since
)
select @process::uuid, context_identifier, ordinal, not_before, not_after, matched_at, refused_since
from current
on conflict (process, context_identifier, ordinal) do update
set not_before = excluded.not_before,
    not_after = excluded.not_after,
    matched_at = excluded.matched_at,
    refused_since = excluded.refused_since
where (s.not_before, s.not_after, s.matched_at, s.refused_since)
    is distinct from (excluded.not_before, excluded.not_after, excluded.matched_at, excluded.refused_since)
