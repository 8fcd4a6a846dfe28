-- Writes the row of a running process, and the secrets that it verifies
-- deliveries with. Secrets that have not changed are not written. While the process
-- can't open its spool, the row keeps what was last known of it: deliveries that were
-- received less than two seconds before the last heartbeat, or later, may be there.
with heartbeat as (
    insert into processes as p (
        process, database_identity, host, pid, roles, version, started_at, heartbeat_at, observed_at,
        accepted_at, refused, refused_since, spooling_since, spool_records, spool_bytes, spool_oldest_at,
        spool_moved_aside_files, spool_moved_aside_oldest_at, spool_error, spool_failing_since,
        applied_at, apply_error, apply_failing_since,
        horizon_advanced_at, horizon_error, horizon_failing_since
    )
    values (
        @process::uuid, contactmirror_database_identity(), @host::text, @pid::integer, @roles::text[], @version::text,
        @started_at::timestamptz, now(), @observed_at::timestamptz,
        @accepted_at::timestamptz, @refused::bigint, @refused_since::timestamptz, @spooling_since::timestamptz,
        @spool_records::bigint, @spool_bytes::bigint,
        coalesce(
            @spool_oldest_at::timestamptz,
            case when @spool_error::text is not null then @observed_at::timestamptz - interval '2 seconds' end
        ),
        @spool_moved_aside_files::integer, @spool_moved_aside_oldest_at::timestamptz,
        @spool_error::text, @spool_failing_since::timestamptz,
        @applied_at::timestamptz, @apply_error::text, @apply_failing_since::timestamptz,
        @horizon_advanced_at::timestamptz, @horizon_error::text, @horizon_failing_since::timestamptz
    )
    on conflict (process) do update
    set database_identity = excluded.database_identity,
        host = excluded.host,
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
        spool_records = case when excluded.spool_error is null then excluded.spool_records else p.spool_records end,
        spool_bytes = case when excluded.spool_error is null then excluded.spool_bytes else p.spool_bytes end,
        spool_oldest_at = case
            when excluded.spool_error is null then excluded.spool_oldest_at
            else least(excluded.spool_oldest_at, coalesce(p.spool_oldest_at, p.observed_at - interval '2 seconds'))
        end,
        spool_moved_aside_files = case
            when excluded.spool_error is null then excluded.spool_moved_aside_files
            else p.spool_moved_aside_files
        end,
        spool_moved_aside_oldest_at = case
            when excluded.spool_error is null then excluded.spool_moved_aside_oldest_at
            else p.spool_moved_aside_oldest_at
        end,
        spool_error = excluded.spool_error,
        spool_failing_since = excluded.spool_failing_since,
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
