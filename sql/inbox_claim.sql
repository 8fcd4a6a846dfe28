-- Takes a batch out of the queues of locked shards: the oldest events of each
-- lane (a tenant in a shard), an equal share for each lane that waits, until
-- their bodies are too many bytes.
with recursive lanes as (
    -- Jumps from tenant to tenant in the index, however many events each has.
    select s.shard, first.context_identifier
    from unnest(@shards::smallint[]) as s (shard)
    cross join lateral (
        select q.context_identifier
        from sync_queue q
        where q.shard = s.shard
        order by q.context_identifier
        limit 1
    ) first
    union all
    select l.shard, next.context_identifier
    from lanes l
    cross join lateral (
        select q.context_identifier
        from sync_queue q
        where q.shard = l.shard and q.context_identifier > l.context_identifier
        order by q.context_identifier
        limit 1
    ) next
), shares as (
    select shard, context_identifier, greatest(1, @batch::bigint / count(*) over ()) as share
    from lanes
), oldest as (
    select share.row, share.event_seq
    from shares s
    cross join lateral (
        select q.ctid as row, q.event_seq
        from sync_queue q
        where q.shard = s.shard and q.context_identifier = s.context_identifier
        order by q.event_seq
        limit s.share
    ) share
    order by share.event_seq
    limit @batch::bigint
), sized as (
    -- The bodies' sizes are known without reading them.
    select o.row, sum(coalesce(octet_length(b.body), 0)) over (order by o.event_seq) - coalesce(octet_length(b.body), 0) as before
    from oldest o
    left join lateral (select w.body from webhook_bodies w where w.event_seq = o.event_seq limit 1) b on true
), claimed as (
    -- By row address: the shard's lock keeps the rows where they are, and no
    -- statistics can talk the planner into anything else.
    delete from sync_queue
    where ctid = any (array(select row from sized where before < @bytes::bigint))
    returning event_seq
)
select c.event_seq, e.received_at, b.body
from claimed c
left join lateral (select w.received_at from webhook_events w where w.event_seq = c.event_seq limit 1) e on true
left join lateral (select w.body from webhook_bodies w where w.event_seq = c.event_seq limit 1) b on true
