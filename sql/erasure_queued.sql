-- How many events of a contact are queued.
select count(*)
from sync_queue q
cross join lateral (
    select w.primary_key
    from webhook_events w
    where w.event_seq = q.event_seq
    limit 1
) e
where q.shard = @shard::smallint and q.context_identifier = @context_identifier::text and e.primary_key = @contact_id::bigint
