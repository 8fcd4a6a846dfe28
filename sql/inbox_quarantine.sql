-- Keeps deliveries that could not be understood; the same bytes again are counted, and
-- their signatures kept. No two of the array may hold the same bytes. Of an erased
-- contact only the redacted body is kept, or where there is none the row and its reason,
-- once for all deliveries of which the row would be the same.
with given as materialized (
    select *
    from unnest(
        @received_at::timestamptz[], @reasons::text[], @context_identifiers::text[], @vouched_for::text[], @vouched_except::text[], @headers::text[],
        @signatures::text[], @verified::boolean[], @bodies::bytea[], @body_sha256::bytea[], @deliveries::integer[], @subjects::text[], @redacted::bytea[]
    ) as g (
        received_at, reason, context_identifier, vouched_for, vouched_except, headers,
        signatures, verified, body, body_sha256, deliveries, subjects, redacted
    )
), judged as materialized (
    select g.*, (
        select min(s.contact_id)
        from unnest(g.subjects::bigint[]) as s (contact_id)
        where (select contactmirror_require_restored()) -- in a restore, erasures may still be missing
            and contactmirror_erased(g.context_identifier, s.contact_id, g.received_at)
    ) as erased_id
    from given g
), erased as materialized (
    select j.received_at, j.context_identifier, j.verified, j.deliveries, j.redacted, r.reason,
        contactmirror_entry_key(j.context_identifier, j.erased_id, r.reason, j.redacted) as key
    from judged j
    cross join lateral (select contactmirror_reason_without_values(j.reason) as reason) r
    where j.erased_id is not null
)
insert into quarantined_deliveries (
    received_at, reason, context_identifier, vouched_for, vouched_except, headers, signatures, verified,
    body, body_sha256, deliveries, bytes_removed_at, resolved_at, resolution
)
select received_at, reason, context_identifier, vouched_for::text[], vouched_except::text[], headers::jsonb, signatures::jsonb, verified,
    body, body_sha256, deliveries, null::timestamptz, null::timestamptz, null
from judged
where erased_id is null
union all
select min(received_at), reason, context_identifier, null, null, null, null, bool_or(verified),
    coalesce(redacted, ''), key, sum(deliveries)::integer, now(), case when redacted is null then now() end, case when redacted is null then 'discarded' end
from erased
group by key, reason, context_identifier, redacted
order by 10 -- body_sha256, as every writer does, so that none waits in a circle
on conflict (body_sha256) where event_seq is null do update
set deliveries = quarantined_deliveries.deliveries + excluded.deliveries,
    signatures = excluded.signatures || quarantined_deliveries.signatures, -- the first time stays
    verified = quarantined_deliveries.verified
        or excluded.verified and excluded.context_identifier is not distinct from quarantined_deliveries.context_identifier
