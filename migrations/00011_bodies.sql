-- Raw bodies in partitions of a million events, so that retention drops files
-- instead of rows.
--
-- The bodies there are become the first partition as they lie: attaching reads
-- the table once and rewrites nothing. A body for which there is no partition
-- goes to the default one, so none is ever refused.

-- +goose Up

-- +goose StatementBegin
do $$
declare
    bound bigint;
begin
    lock table webhook_bodies in access exclusive mode;
    select (greatest(s.last_value, coalesce((select max(event_seq) from webhook_bodies), 0)) / 1000000 + 1) * 1000000
    into bound
    from webhook_events_event_seq_seq s;
    alter table webhook_bodies rename to webhook_bodies_0;
    alter index webhook_bodies_pkey rename to webhook_bodies_0_pkey;
    create table webhook_bodies (
        event_seq bigint primary key,
        body      bytea not null
    ) partition by range (event_seq);
    execute format('alter table webhook_bodies attach partition webhook_bodies_0 for values from (minvalue) to (%s)', bound);
end
$$;
-- +goose StatementEnd

create table webhook_bodies_default partition of webhook_bodies default;

comment on table webhook_bodies is 'The bytes in which each event came, until retention drops them: in partitions of a million events each.';
comment on column webhook_bodies.event_seq is 'The event in webhook_events.';
comment on column webhook_bodies.body is 'The request body, byte for byte, as it was signed.';
comment on table webhook_bodies_0 is 'The first events'' bodies.';
comment on table webhook_bodies_default is 'Bodies for which there was no partition when they came. Empty as a rule: it is read through whenever a partition is added.';
comment on column webhook_bodies_default.event_seq is 'The event in webhook_events.';
comment on column webhook_bodies_default.body is 'The request body, byte for byte, as it was signed.';

create view body_partitions as
select c.relname::text as partition_name,
    case when bounds[1] = 'MINVALUE' then null else bounds[1]::bigint end as from_seq,
    bounds[2]::bigint as to_seq,
    pg_total_relation_size(c.oid) as bytes
from pg_inherits i
join pg_class c on c.oid = i.inhrelid
left join lateral regexp_match(
    pg_get_expr(c.relpartbound, c.oid), $$FROM \('?(-?\d+|MINVALUE)'?\) TO \('?(-?\d+)'?\)$$
) as bounds on true
where i.inhparent = 'webhook_bodies'::regclass;

comment on view body_partitions is 'The partitions of webhook_bodies. Only the default one has no bounds.';
comment on column body_partitions.partition_name is 'Name of the partition''s table.';
comment on column body_partitions.from_seq is 'The first event_seq that belongs in it; NULL for no bound.';
comment on column body_partitions.to_seq is 'The first event_seq that belongs in it no more; NULL in the default partition.';
comment on column body_partitions.bytes is 'Its size on disk, indexes included.';

alter table quarantined_deliveries add column bytes_removed_at timestamptz;

comment on column quarantined_deliveries.bytes_removed_at is 'When headers, hash and body were removed, by retention or by erasure; NULL while they are kept. An erasure leaves a redacted body, one without values, where an event can still be applied.';

-- +goose StatementBegin
create function contactmirror_extend_bodies() returns integer
language plpgsql security definer set lock_timeout = '500ms' as $$
-- Puts wait for the receiver's second at most, so nothing here waits longer
-- than half of one for a lock: others queue behind it.
declare
    width constant bigint := 1000000;
    ahead constant bigint := 2; -- partitions, beyond the one that is written now
    made integer := 0;
    first bigint;
begin
    select last_value / width * width into strict first from webhook_events_event_seq_seq;
    for start in 0..ahead loop
        declare
            lowest constant bigint := first + start * width;
            highest constant bigint := lowest + width;
            name constant text := 'webhook_bodies_' || lowest;
        begin
            continue when exists (
                select from body_partitions p
                where p.to_seq > lowest and (p.from_seq is null or p.from_seq < highest)
            );
            lock table only webhook_bodies in share update exclusive mode;
            lock table webhook_bodies_default in access exclusive mode;
            continue when exists (
                select from body_partitions p
                where p.to_seq > lowest and (p.from_seq is null or p.from_seq < highest)
            );
            -- What came before its partition stays in the default one for good,
            -- and the range stays without: nothing is moved, nothing fails.
            continue when exists (
                select from webhook_bodies_default d where d.event_seq >= lowest and d.event_seq < highest
            );
            execute format('create table %I (like webhook_bodies including all)', name);
            execute format('comment on table %I is %L', name, format('Bodies of the events %s to %s.', lowest, highest - 1));
            execute format('alter table webhook_bodies attach partition %I for values from (%s) to (%s)', name, lowest, highest);
            made := made + 1;
        exception when lock_not_available then
            return made; -- somebody holds on to the tables; the next call is soon
        end;
    end loop;
    return made;
end
$$;
-- +goose StatementEnd

comment on function contactmirror_extend_bodies() is 'Makes the partitions of webhook_bodies that will be needed next, and returns how many it made. Costs nothing to speak of when there is nothing to do.';

-- +goose StatementBegin
create function contactmirror_drop_bodies(partition_name text, before timestamptz, really boolean)
returns table (verdict text, bodies bigint, bytes bigint, next_expires_at timestamptz)
language plpgsql security definer set lock_timeout = '500ms' as $$
-- The verdict is dropped (or would be), younger, held or busy.
declare
    part record;
    newest timestamptz;
begin
    if current_setting('transaction_isolation') <> 'read committed' then
        raise exception 'bodies are dropped in READ COMMITTED only: an old snapshot sees an old queue';
    end if;
    if before is null or before > now() - interval '1 day' then
        raise exception 'bodies younger than a day are not dropped';
    end if;
    select p.partition_name as name, p.from_seq as lowest, p.to_seq as highest, p.bytes into part
    from body_partitions p
    where p.partition_name = $1;
    bodies := 0; bytes := 0; verdict := 'younger';
    -- The default partition has no range, and numbers may still be drawn for the last ones.
    if part.highest is null or part.highest > (select last_value from webhook_events_event_seq_seq) then
        return next;
        return;
    end if;
    part.lowest := coalesce(part.lowest, -9223372036854775808);

    -- Most often the newest event says it all.
    select e.received_at into newest
    from webhook_events e
    where e.event_seq >= part.lowest and e.event_seq < part.highest
    order by e.event_seq desc
    limit 1;
    next_expires_at := newest;
    if newest >= before then
        return next;
        return;
    end if;

    -- Whoever has drawn a number of the range and not committed yet holds a lock
    -- on the table. Once it could be locked, all events of the range are there:
    -- the lock itself goes at once with the exception.
    begin
        lock table only webhook_bodies in share mode;
        raise exception using errcode = 'CM001';
    exception
        when sqlstate 'CM001' then null;
        when lock_not_available then
            verdict := 'busy';
            return next;
            return;
    end;
    select max(e.received_at) into newest
    from webhook_events e
    where e.event_seq >= part.lowest and e.event_seq < part.highest;
    next_expires_at := newest;
    if newest >= before then
        return next;
        return;
    end if;
    -- An event that is neither queued nor in open quarantine never comes back to
    -- either, so what one statement finds stays true.
    if exists (
        select from sync_queue q where q.event_seq >= part.lowest and q.event_seq < part.highest
        union all
        select from quarantined_deliveries d
        where d.resolved_at is null and d.event_seq >= part.lowest and d.event_seq < part.highest
    ) then
        verdict := 'held';
        return next;
        return;
    end if;

    execute format('select count(*) from %I', part.name) into bodies;
    bytes := part.bytes;
    verdict := 'dropped';
    if really then
        begin
            lock table only webhook_bodies in access exclusive mode;
            execute format('drop table %I', part.name);
        exception when lock_not_available or undefined_table then
            verdict := 'busy'; bodies := 0; bytes := 0;
        end;
    end if;
    return next;
end
$$;
-- +goose StatementEnd

comment on function contactmirror_drop_bodies(text, timestamptz, boolean) is 'Drops a partition of webhook_bodies, if all its events came before a time and none of them is queued or in open quarantine; or only says whether it would.';

-- +goose StatementBegin
create function contactmirror_delete_bodies(partition_name text, before timestamptz, after bigint, batch integer, really boolean)
returns table (reached bigint, bodies bigint, bytes bigint)
language plpgsql security definer set lock_timeout = '500ms' as $$
declare
    part regclass;
begin
    if current_setting('transaction_isolation') <> 'read committed' then
        raise exception 'bodies are deleted in READ COMMITTED only: an old snapshot sees an old queue';
    end if;
    if before is null or before > now() - interval '1 day' then
        raise exception 'bodies younger than a day are not deleted';
    end if;
    select i.inhrelid into part
    from pg_inherits i
    join pg_class c on c.oid = i.inhrelid
    where i.inhparent = 'webhook_bodies'::regclass and c.relname = $1;
    if part is null then
        return; -- dropped by another process
    end if;
    return query execute format($query$
        with batch as materialized (
            select b.event_seq, octet_length(b.body) as size
            from %1$s b
            where b.event_seq > $1
            order by b.event_seq
            limit $2
        ), expired as materialized (
            select b.event_seq, b.size
            from batch b
            cross join lateral (select w.received_at from webhook_events w where w.event_seq = b.event_seq limit 1) e
            where e.received_at < $3
                and b.event_seq not in (select q.event_seq from sync_queue q)
                and not exists (
                    select from quarantined_deliveries d where d.event_seq = b.event_seq and d.resolved_at is null
                )
        ), deleted as (
            delete from %1$s b
            using expired x
            where $4 and b.event_seq = x.event_seq
        )
        select (select max(event_seq) from batch), count(*), coalesce(sum(size), 0)::bigint
        from expired$query$, part)
    using after, batch, before, really;
end
$$;
-- +goose StatementEnd

comment on function contactmirror_delete_bodies(text, timestamptz, bigint, integer, boolean) is 'Deletes bodies of one partition whose events came before a time and are neither queued nor in open quarantine, or only counts them: of a batch of those after a number. Returns the last one of the batch.';

-- +goose StatementBegin
create function contactmirror_prune_quarantine(before timestamptz, after bigint, batch integer, really boolean)
returns table (reached bigint, deliveries bigint, bytes bigint)
language plpgsql security definer set lock_timeout = '500ms' as $$
-- The row and its reason stay: events in quarantine are counted. The hash goes
-- with the bytes, so that the same delivery, should it come again, is kept anew.
begin
    if before is null or before > now() - interval '1 day' then
        raise exception 'deliveries younger than a day are kept';
    end if;
    return query
    with expired as materialized (
        select d.quarantine_seq, octet_length(d.body) as size
        from quarantined_deliveries d
        where d.quarantine_seq > after and d.resolved_at is not null and (d.bytes_removed_at is null or d.body <> '')
            and d.received_at < before
            and (d.event_seq in (select q.event_seq from sync_queue q)) is not true -- retried, and may come back
        order by d.quarantine_seq
        limit batch
    ), emptied as (
        update quarantined_deliveries d
        set headers = null, body = '', body_sha256 = uuid_send(gen_random_uuid()), bytes_removed_at = now()
        from expired x
        where really and d.quarantine_seq = x.quarantine_seq and d.resolved_at is not null
    )
    select max(x.quarantine_seq), count(*), coalesce(sum(x.size), 0)::bigint
    from expired x;
end
$$;
-- +goose StatementEnd

comment on function contactmirror_prune_quarantine(timestamptz, bigint, integer, boolean) is 'Removes the bytes of resolved quarantine entries that came before a time, or only counts them: of a batch of those after a number. Returns the last one of the batch.';

-- They run as their owner, whatever the caller's search_path is, and for those
-- only whom migrate grants lets in.
-- +goose StatementBegin
do $$
declare
    f regprocedure;
begin
    foreach f in array array[
        'contactmirror_extend_bodies()', 'contactmirror_drop_bodies(text, timestamptz, boolean)',
        'contactmirror_delete_bodies(text, timestamptz, bigint, integer, boolean)',
        'contactmirror_prune_quarantine(timestamptz, bigint, integer, boolean)'
    ]::regprocedure[] loop
        execute format('alter function %s set search_path = %I, pg_temp', f, current_schema());
        execute format('revoke all on function %s from public', f);
    end loop;
end
$$;
-- +goose StatementEnd

select contactmirror_extend_bodies();

-- +goose Down

drop function contactmirror_prune_quarantine;
drop function contactmirror_delete_bodies;
drop function contactmirror_drop_bodies;
drop function contactmirror_extend_bodies;
alter table quarantined_deliveries drop column bytes_removed_at;

-- The largest partition becomes the table again, and the others' rows join it.
-- +goose StatementBegin
do $$
declare
    largest text;
begin
    lock table webhook_bodies in access exclusive mode;
    select partition_name into strict largest from body_partitions order by bytes desc, from_seq nulls first limit 1;
    drop view body_partitions;
    execute format('alter table webhook_bodies detach partition %I', largest);
    execute format('insert into %I (event_seq, body) select event_seq, body from webhook_bodies', largest);
    drop table webhook_bodies;
    execute format('alter table %I rename to webhook_bodies', largest);
    execute format('alter index %I rename to webhook_bodies_pkey', largest || '_pkey');
end
$$;
-- +goose StatementEnd

comment on table webhook_bodies is 'The bytes in which each event came, until retention drops them.';
