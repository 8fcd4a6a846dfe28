-- Retention: the partitions of webhook_bodies are made ahead of time, and dropped
-- once all their bodies are old enough.
--
-- A day of one branch is dropped as a whole, for the price of deleting a file; rows
-- are deleted one by one only in the default partitions, and where a body of an old
-- day must stay: its event is queued or in open quarantine. The service has no right
-- to drop or delete a body. It calls the functions of this file, which run as the
-- owner and check all of that themselves. No lock is waited for longer than half a
-- second, because puts queue after the waiting lock, and wait for a second at most.

-- +goose Up

-- The functions of this file run as the owner. They find its tables and nothing that
-- a caller puts in the way: a temporary table would come first unless pg_temp is
-- named last. The setting lasts as long as the migration's transaction.
select set_config('search_path', quote_ident(current_schema()) || ', pg_temp', true);

create view body_partitions as
select c.relname::text as partition_name,
    pg_get_expr(branch.relpartbound, branch.oid) = 'FOR VALUES IN (true)' as ignored,
    bounds[1]::timestamptz as received_from,
    bounds[2]::timestamptz as received_before,
    pg_total_relation_size(c.oid) as bytes
from pg_inherits b
join pg_class branch on branch.oid = b.inhrelid
join pg_inherits i on i.inhparent = branch.oid
join pg_class c on c.oid = i.inhrelid
left join lateral regexp_match(
    pg_get_expr(c.relpartbound, c.oid), $$FROM \('([^']+)'\) TO \('([^']+)'\)$$
) as bounds on true
where b.inhparent = 'webhook_bodies'::regclass;

comment on view body_partitions is 'The partitions of webhook_bodies. Only the default ones, one for each branch, have no bounds.';
comment on column body_partitions.partition_name is 'Name of the partition''s table.';
comment on column body_partitions.ignored is 'Whether it holds the bodies of ignored events, or those of contact events.';
comment on column body_partitions.received_from is 'Start of its day; NULL in a default partition.';
comment on column body_partitions.received_before is 'Start of the next day; NULL in a default partition.';
comment on column body_partitions.bytes is 'Its size on disk, indexes included.';

-- +goose StatementBegin
create function contactmirror_create_body_partition(ignored boolean, day date) returns boolean
language plpgsql
set search_path from current
set lock_timeout = '500ms'
as $$
declare
    branch constant text := case when ignored then 'webhook_bodies_ignored' else 'webhook_bodies_contact' end;
    name   constant text := branch || to_char(day, '_YYYYMMDD');
    bounds constant timestamptz[] := array[day::timestamp at time zone 'UTC', (day + 1)::timestamp at time zone 'UTC'];
    taken  boolean;
begin
    -- Twice: the first look spares the locks, the second one is certain.
    for locked in 0..1 loop
        if to_regclass(name) is not null then
            return false;
        end if;
        -- Bodies of the day that are in the default partition stay there, and so do
        -- those to come: nothing is moved, nothing fails.
        execute format('select exists (select from %I d where d.received_at >= $1 and d.received_at < $2)', branch || '_default')
        into taken
        using bounds[1], bounds[2];
        if taken then
            return false;
        end if;
        if locked = 0 then
            execute format('lock table only %I in share update exclusive mode', branch);
            execute format('lock table %I in access exclusive mode', branch || '_default');
        end if;
    end loop;
    execute format('create table %I (like %I including all)', name, branch);
    execute format('alter table %I alter column body set statistics 0', name); -- as in webhook_bodies
    execute format('comment on table %I is %L', name,
        format('Bodies of %s events received on %s (UTC).', case when ignored then 'ignored' else 'contact' end, day));
    execute format('alter table %I attach partition %I for values from (%L) to (%L)', branch, name, bounds[1], bounds[2]);
    return true;
end
$$;
-- +goose StatementEnd

comment on function contactmirror_create_body_partition(boolean, date) is 'Makes the partition of webhook_bodies of a branch (ignored) and day, and reports whether it did: not where it exists, nor where bodies of the day are in the default partition already.';

-- +goose StatementBegin
create function contactmirror_extend_bodies() returns integer
language plpgsql security definer
set search_path from current
set lock_timeout = '500ms'
as $$
declare
    ahead constant integer := 7; -- days, so that a week without the service leaves none without a partition
    gap   constant integer := 31; -- days before today, at most, that are made up for after a longer time
    today constant date := (now() at time zone 'UTC')::date;
    made  integer := 0;
    branch record;
begin
    for branch in
        -- The newest partition whose day has begun: partitions of a day far ahead may
        -- come from a clock that was wrong.
        select b.ignored, (max(p.received_from) at time zone 'UTC')::date as newest
        from (values (false), (true)) as b (ignored)
        left join body_partitions p on p.ignored = b.ignored and p.received_from <= now()
        group by b.ignored
        order by b.ignored
    loop
        for offset_days in greatest(-gap, coalesce(branch.newest + 1 - today, 0))..ahead loop
            begin
                made := made + contactmirror_create_body_partition(branch.ignored, today + offset_days)::integer;
            exception when lock_not_available then
                return made; -- another session holds the tables; the next call comes soon
            end;
        end loop;
    end loop;
    return made;
end
$$;
-- +goose StatementEnd

comment on function contactmirror_extend_bodies() is 'Makes the partitions of webhook_bodies from the newest day that has one to a week ahead, and returns how many it made. Costs a look into the catalog when there is nothing to do.';

-- +goose StatementBegin
create function contactmirror_bodies_needed(received_from timestamptz, received_before timestamptz) returns boolean
language sql stable
set search_path from current
as $$
select exists (
    select from sync_queue q where q.received_at >= $1 and q.received_at < $2
    union all
    select from quarantined_deliveries d
    where d.resolved_at is null and d.event_seq is not null and d.received_at >= $1 and d.received_at < $2
)
$$;
-- +goose StatementEnd

comment on function contactmirror_bodies_needed(timestamptz, timestamptz) is 'Whether an event received in a range of time is queued or in open quarantine. One that is in neither never returns to either, so what one statement finds stays true.';

-- +goose StatementBegin
create function contactmirror_drop_bodies(partition_name text, before timestamptz, really boolean)
returns table (verdict text, bodies bigint, bytes bigint)
language plpgsql security definer
set search_path from current
set lock_timeout = '500ms'
as $$
-- The verdict is dropped (or would be), younger, held or busy.
declare
    part record;
begin
    perform contactmirror_require_read_committed();
    if before is null or before > now() - interval '1 day' then
        raise exception 'bodies younger than a day are not dropped';
    end if;
    select p.ignored, p.received_from, p.received_before, p.bytes
    into part
    from body_partitions p
    where p.partition_name = $1;
    bodies := 0;
    bytes := 0;
    verdict := 'younger';
    -- A default partition has no bounds, and is never dropped.
    if part.received_before is null or part.received_before > before then
        return next;
        return;
    end if;
    verdict := 'held';
    if not part.ignored and contactmirror_bodies_needed(part.received_from, part.received_before) then
        return next;
        return;
    end if;
    if really then
        begin
            -- Waits for puts of late deliveries to this day, and keeps others out, so
            -- that the second look sees all that is queued.
            execute format('lock table %I in access exclusive mode', partition_name);
        exception when lock_not_available or undefined_table then
            verdict := 'busy';
            return next;
            return;
        end;
        if not part.ignored and contactmirror_bodies_needed(part.received_from, part.received_before) then
            return next;
            return;
        end if;
    end if;
    execute format('select count(*) from %I', partition_name) into bodies;
    bytes := part.bytes;
    verdict := 'dropped';
    if really then
        begin
            execute format('drop table %I', partition_name);
        exception when lock_not_available then
            verdict := 'busy';
            bodies := 0;
            bytes := 0;
        end;
    end if;
    return next;
end
$$;
-- +goose StatementEnd

comment on function contactmirror_drop_bodies(text, timestamptz, boolean) is 'Drops a partition of webhook_bodies, if its day ended before a time and none of its events is queued or in open quarantine; or only says whether it would.';

-- +goose StatementBegin
create function contactmirror_delete_bodies(partition_name text, before timestamptz, after bigint, batch integer, really boolean)
returns table (reached bigint, bodies bigint, bytes bigint)
language plpgsql security definer
set search_path from current
set lock_timeout = '500ms'
as $$
begin
    perform contactmirror_require_read_committed();
    if before is null or before > now() - interval '1 day' then
        raise exception 'bodies younger than a day are not deleted';
    end if;
    if not exists (select from body_partitions p where p.partition_name = $1) then
        return; -- dropped by another process
    end if;
    return query execute format($query$
        with batch as materialized (
            select b.event_seq, b.received_at, octet_length(b.body) as size
            from %1$I b
            where b.event_seq > $1
            order by b.event_seq
            limit $2
        ), expired as materialized (
            select b.event_seq, b.size
            from batch b
            where b.received_at < $3
                and b.event_seq not in (select q.event_seq from sync_queue q)
                and not exists (
                    select from quarantined_deliveries d where d.event_seq = b.event_seq and d.resolved_at is null
                )
        ), deleted as (
            delete from %1$I b
            using expired x
            where $4 and b.event_seq = x.event_seq
        )
        select (select max(event_seq) from batch), count(*), coalesce(sum(size), 0)::bigint
        from expired$query$, partition_name)
    using after, batch, before, really;
end
$$;
-- +goose StatementEnd

comment on function contactmirror_delete_bodies(text, timestamptz, bigint, integer, boolean) is 'Deletes bodies of one partition that were received before a time and whose events are neither queued nor in open quarantine, or only counts them: of a batch of those after a number. Returns the last number of the batch.';

-- +goose StatementBegin
create function contactmirror_prune_quarantine(before timestamptz, after bigint, batch integer, really boolean)
returns table (reached bigint, deliveries bigint, bytes bigint)
language plpgsql security definer
set search_path from current
set lock_timeout = '500ms'
as $$
-- The row and its reason stay: events in quarantine are counted. The hash goes
-- with the bytes, so that the same delivery is kept again if it is repeated.
begin
    perform contactmirror_require_read_committed();
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
        set headers = null, signatures = null, body = '', body_sha256 = uuid_send(gen_random_uuid()), bytes_removed_at = now()
        from expired x
        where really and d.quarantine_seq = x.quarantine_seq and d.resolved_at is not null
    )
    select max(x.quarantine_seq), count(*), coalesce(sum(x.size), 0)::bigint
    from expired x;
end
$$;
-- +goose StatementEnd

comment on function contactmirror_prune_quarantine(timestamptz, bigint, integer, boolean) is 'Removes the bytes of resolved quarantine entries that came before a time, or only counts them: of a batch of those after a number. Returns the last number of the batch.';

revoke all on function contactmirror_create_body_partition(boolean, date) from public;
revoke all on function contactmirror_extend_bodies() from public;
revoke all on function contactmirror_bodies_needed(timestamptz, timestamptz) from public;
revoke all on function contactmirror_drop_bodies(text, timestamptz, boolean) from public;
revoke all on function contactmirror_delete_bodies(text, timestamptz, bigint, integer, boolean) from public;
revoke all on function contactmirror_prune_quarantine(timestamptz, bigint, integer, boolean) from public;

select contactmirror_extend_bodies();

-- +goose Down

-- +goose StatementBegin
do $$
declare
    name text;
begin
    for name in select p.partition_name from body_partitions p where p.received_before is not null loop
        execute format('drop table %I', name);
    end loop;
end
$$;
-- +goose StatementEnd

drop function contactmirror_prune_quarantine(timestamptz, bigint, integer, boolean);
drop function contactmirror_delete_bodies(text, timestamptz, bigint, integer, boolean);
drop function contactmirror_drop_bodies(text, timestamptz, boolean);
drop function contactmirror_bodies_needed(timestamptz, timestamptz);
drop function contactmirror_extend_bodies();
drop function contactmirror_create_body_partition(boolean, date);
drop view body_partitions;
