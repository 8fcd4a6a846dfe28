-- Keeps deliveries that could not be understood; the same bytes again are counted.
-- No two of the array may hold the same bytes. Of an erased contact only the redacted
-- body is kept, or where there is none the row and its reason.
with given as materialized (
    select *
    from unnest(
        @received_at::timestamptz[], @reasons::text[], @context_identifiers::text[], @vouched_for::text[], @vouched_except::text[], @headers::text[], @bodies::bytea[],
        @body_sha256::bytea[], @deliveries::integer[], @subjects::text[], @redacted::bytea[]
    ) as g (received_at, reason, context_identifier, vouched_for, vouched_except, headers, body, body_sha256, deliveries, subjects, redacted)
), judged as materialized (
    select g.*, exists (
        select
        from unnest(g.subjects::bigint[]) as s (contact_id)
        where (select contactmirror_require_restored()) -- in a restore, erasures may still be missing
            and contactmirror_erased(g.context_identifier, s.contact_id, g.received_at)
    ) as erased
    from given g
)
insert into quarantined_deliveries (
    received_at, reason, context_identifier, vouched_for, vouched_except, headers, body, body_sha256, deliveries, bytes_removed_at, resolved_at, resolution
)
select received_at, reason, context_identifier, vouched_for::text[], vouched_except::text[], headers::jsonb, body, body_sha256, deliveries, null::timestamptz, null::timestamptz, null
from judged
where not erased
union all
select received_at, contactmirror_reason_without_values(reason), context_identifier, vouched_for::text[], vouched_except::text[], null, coalesce(redacted, ''),
    uuid_send(gen_random_uuid()), deliveries, now(), case when redacted is null then now() end, case when redacted is null then 'discarded' end
from judged
where erased
order by 8 -- body_sha256, as every writer does, so that none waits in a circle
on conflict (body_sha256) where event_seq is null do update
set deliveries = quarantined_deliveries.deliveries + excluded.deliveries
