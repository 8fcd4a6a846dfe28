-- Puts a quarantined event, still open, back into the queue.
with reopened as (
    update quarantined_deliveries
    set resolved_at = now(), resolution = 'retried'
    where quarantine_seq = @quarantine_seq::bigint and event_seq is not null and resolved_at is null
    returning event_seq, context_identifier, received_at, octet_length(body) as body_bytes
)
insert into sync_queue (shard, context_identifier, event_seq, received_at, body_bytes)
select @shard::smallint, context_identifier, event_seq, received_at, body_bytes
from reopened
