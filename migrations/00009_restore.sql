-- Restore: what keeps a database that is being restored, or lacks rows afterwards,
-- from being written, and what repairs its sequences.
--
-- pg_restore loads rows before it makes keys, so a missing key says that rows may be
-- missing too: events without their bodies, or without the erasure that forbids
-- their values. A data-only restore, or an upgrade by logical replication, leaves the
-- sequences behind the rows. Statements that draw a number refuse one that
-- log_horizon has counted already (contactmirror_number_taken), even if no row has
-- it; contactmirror_advance_sequences moves the sequences forward.

-- +goose Up

-- The functions of this file run as the owner. They find its tables and nothing that
-- a caller puts in the way: a temporary table would come first unless pg_temp is
-- named last. The setting lasts as long as the migration's transaction.
select set_config('search_path', quote_ident(current_schema()) || ', pg_temp', true);

-- +goose StatementBegin
create function contactmirror_require_restored(sealed boolean default false) returns boolean
language plpgsql stable
set jit = off
as $$
declare
    missing text;
    stale   text;
begin
    select string_agg(k.name, ', ')
    into missing
    from unnest(array[
        'webhook_events_pkey', 'webhook_events_key', 'webhook_events_keyless_sha256', 'webhook_bodies_pkey',
        'duplicate_deliveries_pkey',
        'quarantined_deliveries_pkey', 'quarantined_deliveries_event', 'quarantined_deliveries_body',
        'sync_shards_pkey', 'sync_queue_pkey',
        'contacts_pkey', 'contact_tombstones_pkey', 'contact_audit_log_pkey', 'contact_audit_log_event_seq',
        'erasures_pkey', 'erasures_in_force',
        'log_horizon_pkey', 'accounting_seal_pkey', 'sealed_accounts_pkey'
    ]) as k (name)
    -- A subquery, not a join, which would read all of pg_index: this runs for each batch.
    where not coalesce((select i.indisvalid from pg_index i where i.indexrelid = to_regclass(k.name)), false);
    if missing is not null then
        raise exception 'the tables lack keys: a restore is under way, or has failed'
            using errcode = 'object_not_in_prerequisite_state', detail = 'missing: ' || missing;
    end if;
    -- Tables that migrations fill. The newest row of the log is never beyond the head
    -- of its chain, and no tenant is counted beyond the seal.
    stale := concat_ws(', ',
        case when not exists (select from sync_shards) or exists (
            select
            from (select a.shard, a.chain_seq from contact_audit_log a order by a.audit_seq desc limit 1) newest
            join sync_shards s on s.shard = newest.shard
            where s.audit_count < newest.chain_seq
        ) then 'sync_shards' end,
        case when not exists (select from log_horizon) then 'log_horizon' end,
        case when not exists (select from accounting_seal) or sealed and exists (
            select from sealed_accounts a where a.newest_event_seq > (select c.event_seq from accounting_seal c)
        ) then 'accounting_seal' end
    );
    if stale <> '' then
        raise exception 'rows were restored, but not those of %', stale
            using errcode = 'object_not_in_prerequisite_state',
                hint = 'migrations have filled sync_shards, log_horizon and accounting_seal: empty these three tables with truncate, and restore their rows';
    end if;
    return true;
end
$$;
-- +goose StatementEnd

comment on function contactmirror_require_restored(boolean) is 'Fails in the middle of a restore, and after one that has left out rows. A restore makes keys after all rows are there: without them, neither the rows nor the sequences need be complete, and nothing must be applied or counted. A restore of rows alone can''t load the tables that migrations have filled, unless they were emptied: the chains would be continued from their start, and the logs counted twice. The latter is looked for where asked (sealed), because it costs a look at every tenant.';

-- +goose StatementBegin
create function contactmirror_advance_sequences()
returns table (sequence_name text, numbers text, moved_from bigint, moved_to bigint, options text)
language plpgsql security definer
set search_path from current
set lock_timeout = '500ms'
as $$
declare
    -- Only these tables are looked at: others in the schema are their users' own, whatever
    -- their columns are called and however they are numbered.
    own constant name[] := array[
        'webhook_events', 'webhook_bodies', 'duplicate_deliveries', 'quarantined_deliveries', 'sync_queue',
        'contact_audit_log', 'contact_tombstones', 'log_horizon', 'accounting_seal', 'sealed_accounts', 'erasures',
        'operator_actions', 'goose_db_version'
    ];
    s record;
    next bigint;
    highest bigint;
begin
    perform contactmirror_require_read_committed();
    perform contactmirror_require_restored(sealed => true);
    for s in
        select q.oid::regclass as sequence, format('%s.%I', t.oid::regclass, a.attname) as numbered,
            -- Numbers that sessions keep for later, or that go down or round, come out of order.
            nullif(concat_ws(' ',
                case when p.seqincrement <> 1 then 'increment ' || p.seqincrement end,
                case when p.seqcache <> 1 then 'cache ' || p.seqcache end,
                case when p.seqcycle then 'cycle' end
            ), '') as wrong_options,
            format('select last_value + is_called::integer from %s', q.oid::regclass) as next_number,
            -- Numbers are held against all columns of the name, where an index makes
            -- that cheap: a row may refer to an event that is gone.
            (
                select format('select max(n) from (%s) all_columns', string_agg(
                    format('select max(%I) as n from %s', c.attname, c.attrelid::regclass), ' union all '
                ))
                from pg_attribute c
                join pg_class r on r.oid = c.attrelid
                where c.attname in (a.attname, 'noted_' || a.attname) and c.atttypid = a.atttypid and not c.attisdropped
                    and r.relnamespace = h.relnamespace and r.relname = any (own) and r.relkind in ('r', 'p')
                    and (
                        c.attrelid = t.oid or c.attrelid = h.oid
                        or exists (select from pg_index i where i.indrelid = r.oid and i.indkey[0] = c.attnum and i.indisvalid)
                    )
            ) as highest_number
        from pg_class h
        join pg_class q on q.relnamespace = h.relnamespace and q.relkind = 'S'
        join pg_sequence p on p.seqrelid = q.oid
        join pg_depend d on d.classid = 'pg_class'::regclass and d.objid = q.oid
            and d.refclassid = 'pg_class'::regclass and d.deptype in ('a', 'i') -- owned by a column, or its identity
        join pg_class t on t.oid = d.refobjid and t.relname = any (own)
        join pg_attribute a on a.attrelid = t.oid and a.attnum = d.refobjsubid
        where h.oid = 'log_horizon'::regclass
        order by q.relname
    loop
        execute s.next_number into next;
        execute s.highest_number into highest;
        continue when s.wrong_options is null and (highest is null or next > highest);
        -- Waits for all transactions that have drawn a number, and keeps others from it
        -- until this one ends. What sessions have kept of the sequence is void then.
        execute format('alter sequence %s increment by 1 cache 1 no cycle', s.sequence);
        execute s.next_number into next;
        execute s.highest_number into highest;
        sequence_name := s.sequence::text;
        numbers := s.numbered;
        moved_from := next;
        moved_to := greatest(next, highest + 1);
        options := s.wrong_options;
        continue when moved_to = next and options is null; -- moved by another call meanwhile
        if moved_to > next then
            perform setval(s.sequence, highest);
            raise warning 'sequence % was behind %: moved from % to %', sequence_name, numbers, moved_from, moved_to;
        end if;
        if options is not null then
            raise warning 'sequence % had %: altered to increment 1, cache 1 and no cycle', sequence_name, options;
        end if;
        return next;
    end loop;
end
$$;
-- +goose StatementEnd

comment on function contactmirror_advance_sequences() is 'Moves each sequence of the mirror that is behind the column it numbers forward, never back, and gives it back the options that keep its numbers in order: increment 1, cache 1, no cycle. Sequences and tables that are not the mirror''s are not looked at. Returns those that it moved or altered, with their next numbers before and after, and the options that were wrong. Costs a look into the indexes when there is nothing to do. Fails in the middle of a restore and where rows are missing after it, and in any transaction that is not READ COMMITTED.';

-- +goose StatementBegin
create function contactmirror_number_taken(table_name text) returns boolean
language plpgsql as $$
begin
    raise exception 'the sequence of % is behind its table', table_name
        using errcode = 'unique_violation', table = table_name, constraint = table_name || '_pkey',
            hint = 'select * from contactmirror_advance_sequences()';
end
$$;
-- +goose StatementEnd

comment on function contactmirror_number_taken(text) is 'Fails as the primary key of a table does when a number is taken: for numbers that log_horizon has counted already, though no row has them.';

revoke all on function contactmirror_advance_sequences() from public;

-- +goose Down

drop function contactmirror_number_taken(text);
drop function contactmirror_advance_sequences();
drop function contactmirror_require_restored(boolean);
