-- Locks shards that have something queued and that nobody else works on, from a
-- given one on (0 to 31), so that none is always last. To be followed by
-- inbox_claim in the same READ COMMITTED transaction, as a statement of its own:
-- only then does the claim see what the previous holder of the lock has committed.
with starts as materialized (
    -- From where on to look in each shard: from the first tenant on, and in each lane
    -- of which much is marked as gone from its mark on, up to the next of them.
    select start.shard, start.context_identifier, max(start.mark) as mark,
        lead(start.context_identifier) over (partition by start.shard order by start.context_identifier) as next_marked
    from (
        select generate_series(0, 31)::smallint as shard, '' as context_identifier, '0'::xid8 as mark
        union all
        select m.*
        from (
            select unnest(@marked_shards::smallint[]), unnest(@marked_context_identifiers::text[]), unnest(@marks::text[]::xid8[])
        ) m
        -- Marks are of one server, database and table: see the end of inbox_claim.
        where concat_ws(' ', extract(epoch from pg_postmaster_start_time()), pg_relation_filepath('sync_queue')) = @marked_queue::text
    ) start
    group by start.shard, start.context_identifier
), waiting as materialized (
    select t.shard
    from starts t
    cross join lateral (
        (
            select
            from sync_queue q
            where q.shard = t.shard and (q.context_identifier, q.written_by) >= (t.context_identifier, t.mark)
                and q.context_identifier < t.next_marked
            limit 1
        )
        union all
        (
            select
            from sync_queue q
            where t.next_marked is null and q.shard = t.shard
                and (q.context_identifier, q.written_by) >= (t.context_identifier, t.mark)
            limit 1
        )
    ) something
    -- Fails in the middle of a restore, and where rows are missing after it.
    where (select contactmirror_require_restored())
)
select locked.shard, clock_timestamp() as now -- of the transaction would be before another one that had the lock meanwhile
from generate_series(@rotation::integer, @rotation::integer + 31) as place
cross join lateral (
    select s.shard
    from sync_shards s
    -- "is true" keeps the subquery from becoming a join: it is hashed once.
    where s.shard = place % 32 and (s.shard in (select w.shard from waiting w)) is true
    for update skip locked
) locked
limit @shards::integer
