-- Keeps deliveries that could not be understood; the same bytes again are counted.
-- No two of the array may hold the same bytes.
insert into quarantined_deliveries (received_at, reason, context_identifier, headers, body, body_sha256, deliveries)
select received_at, reason, context_identifier, headers::jsonb, body, body_sha256, deliveries
from unnest(
    @received_at::timestamptz[], @reasons::text[], @context_identifiers::text[], @headers::text[],
    @bodies::bytea[], @body_sha256::bytea[], @deliveries::integer[]
) as q (received_at, reason, context_identifier, headers, body, body_sha256, deliveries)
order by body_sha256 -- as every writer does, so that none waits in a circle
on conflict (body_sha256) where event_seq is null do update
set deliveries = quarantined_deliveries.deliveries + excluded.deliveries
