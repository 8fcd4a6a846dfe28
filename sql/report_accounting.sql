-- The account of every tenant, with the oldest event that waits to be applied.
select a.context_identifier, a.accepted, a.ignored, a.queued, a.quarantined,
    a.applied, a.no_op, a.superseded, a.after_delete, a.balanced, w.oldest_queued_at
from event_accounting a
left join lateral (
    select e.received_at as oldest_queued_at
    from sync_shards s
    cross join lateral (
        select q.event_seq
        from sync_queue q
        where q.shard = s.shard and q.context_identifier = a.context_identifier
        order by q.event_seq
        limit 1
    ) q
    join webhook_events e on e.event_seq = q.event_seq
    order by e.event_seq
    limit 1
) w on true
order by a.context_identifier
