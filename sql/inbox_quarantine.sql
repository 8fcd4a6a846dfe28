-- Keeps a delivery that could not be understood; the same bytes again are counted.
insert into quarantined_deliveries (received_at, reason, context_identifier, headers, body, body_sha256)
values (@received_at::timestamptz, @reason::text, @context_identifier::text, @headers::jsonb, @body::bytea, @body_sha256::bytea)
on conflict (body_sha256) where event_seq is null do update
set deliveries = quarantined_deliveries.deliveries + 1
