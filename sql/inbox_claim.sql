-- Takes a batch out of the queues of locked shards: the oldest events of each
-- lane (a tenant in a shard), an equal share for each lane that waits, until
-- their bodies are too many bytes.
with recursive starts as materialized (
    -- Where to look in each shard: at the lanes of which much is marked as gone,
    -- from there on, at the empty tenant's, and between them.
    select start.shard, start.context_identifier, max(start.mark) as mark,
        lead(start.context_identifier) over (partition by start.shard order by start.context_identifier) as next_marked
    from (
        select unnest(@shards::smallint[]) as shard, '' as context_identifier, '0'::xid8 as mark
        union all
        select m.*
        from (
            select unnest(@marked_shards::smallint[]), unnest(@marked_context_identifiers::text[]), unnest(@marks::text[]::xid8[])
        ) m
        -- Marks are of one server, database and table: see the end of this statement.
        where concat_ws(' ', extract(epoch from pg_postmaster_start_time()), pg_relation_filepath('sync_queue')) = @marked_queue::text
    ) start
    group by start.shard, start.context_identifier
), unmarked as (
    -- Jumps from tenant to tenant in the index, however many events each has.
    select t.shard, first.context_identifier, t.next_marked
    from starts t
    cross join lateral (
        (
            select q.context_identifier
            from sync_queue q
            where q.shard = t.shard and q.context_identifier > t.context_identifier
                and q.context_identifier < t.next_marked
            order by q.context_identifier
            limit 1
        )
        union all
        (
            select q.context_identifier
            from sync_queue q
            where t.next_marked is null and q.shard = t.shard and q.context_identifier > t.context_identifier
            order by q.context_identifier
            limit 1
        )
    ) first
    union all
    select l.shard, next.context_identifier, l.next_marked
    from unmarked l
    cross join lateral (
        (
            select q.context_identifier
            from sync_queue q
            where q.shard = l.shard and q.context_identifier > l.context_identifier
                and q.context_identifier < l.next_marked
            order by q.context_identifier
            limit 1
        )
        union all
        (
            select q.context_identifier
            from sync_queue q
            where l.next_marked is null and q.shard = l.shard and q.context_identifier > l.context_identifier
            order by q.context_identifier
            limit 1
        )
    ) next
), lanes as (
    select shard, context_identifier, '0'::xid8 as mark
    from unmarked
    union all
    select t.shard, t.context_identifier, t.mark
    from starts t
    cross join lateral (
        select
        from sync_queue q
        where q.shard = t.shard and q.context_identifier = t.context_identifier and q.written_by >= t.mark
        limit 1
    ) waiting
), shares as (
    select shard, context_identifier, mark, greatest(1, @batch::bigint / count(*) over ()) as share
    from lanes
), oldest as (
    select share.*
    from shares s
    cross join lateral (
        select q.ctid as row, q.written_by, q.event_seq, q.body_bytes
        from sync_queue q
        where q.shard = s.shard and q.context_identifier = s.context_identifier and q.written_by >= s.mark
        order by q.written_by, q.event_seq
        limit s.share
    ) share
    order by share.written_by, share.event_seq
    limit @batch::bigint
), sized as (
    select row, sum(body_bytes) over (order by written_by, event_seq) - body_bytes as before
    from oldest
), claimed as (
    -- By row address: the shard's lock keeps the rows where they are, and no
    -- statistics can talk the planner into anything else.
    delete from sync_queue
    where ctid = any (array(select row from sized where before < @bytes::bigint))
    returning shard, context_identifier, written_by, event_seq, received_at
)
select shard, context_identifier, written_by::text as written_by, event_seq, received_at,
    -- Evaluated once each, not for every row.
    (select max(share) from shares) as share,
    (select pg_snapshot_xmin(pg_current_snapshot())::text) as horizon,
    -- Another server numbers its transactions by itself, and a table that was restored
    -- or truncated, whose file has another name, has rows of earlier ones.
    (select concat_ws(' ', extract(epoch from pg_postmaster_start_time()), pg_relation_filepath('sync_queue'))) as queue
from claimed
