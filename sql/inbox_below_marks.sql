-- Is anything queued below a mark, though a mark says that nothing is?
select exists (
    select
    from (
        select unnest(@marked_shards::smallint[]) as shard, unnest(@marked_context_identifiers::text[]) as context_identifier,
            unnest(@marks::text[]::xid8[]) as mark
    ) m
    cross join lateral (
        select
        from sync_queue q
        where q.shard = m.shard and q.context_identifier = m.context_identifier and q.written_by < m.mark
        order by q.written_by -- or a planner reads the table until it meets one
        limit 1
    ) below
    where concat_ws(' ', extract(epoch from pg_postmaster_start_time()), pg_relation_filepath('sync_queue')) = @marked_queue::text
)
