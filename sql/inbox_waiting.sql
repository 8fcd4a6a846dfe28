-- Is anything queued, behind what is marked as gone?
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
)
select exists (
    select
    from starts t
    cross join lateral (
        (
            select
            from sync_queue q
            where q.shard = t.shard and (q.context_identifier, q.written_by) >= (t.context_identifier, t.mark)
                and q.context_identifier < t.next_marked
            order by q.context_identifier, q.written_by -- or a planner reads the table until it meets one
            limit 1
        )
        union all
        (
            select
            from sync_queue q
            where t.next_marked is null and q.shard = t.shard
                and (q.context_identifier, q.written_by) >= (t.context_identifier, t.mark)
            order by q.context_identifier, q.written_by
            limit 1
        )
    ) something
)
