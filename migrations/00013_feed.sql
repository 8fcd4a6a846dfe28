-- The change feed: what has happened to contacts since a cursor in the audit log.
--
-- It reads up to the horizon of 00006_accounting, so that a consumer gets each change
-- once and misses none.

-- +goose Up

-- +goose StatementBegin
create function changes_since(after bigint, max_rows integer default 1000)
returns table (
    audit_seq          bigint,
    context_identifier text,
    contact_id         bigint,
    change             text,
    event              text,
    event_id           uuid,
    occurred_at        timestamptz,
    outcome            text,
    changed_columns    text[],
    contact            jsonb
)
language sql stable
begin atomic
    select a.audit_seq, a.context_identifier, a.contact_id, a.effect,
        a.event, a.event_id, a.occurred_at, a.outcome, a.changed_columns,
        now_is.contact
    from (
        -- Above the horizon a lower number may still appear.
        select l.*
        from contact_audit_log l
        where l.audit_seq > changes_since.after
            and l.audit_seq <= (select h.audit_seq from log_horizon h where h.id = 1)
        order by l.audit_seq
        limit changes_since.max_rows
    ) a
    left join lateral (
        select contactmirror_row(c) as contact
        from contacts c
        where c.context_identifier = a.context_identifier and c.contact_id = a.contact_id
        limit 1
    ) now_is on true
    order by a.audit_seq;
end;
-- +goose StatementEnd

comment on function changes_since(bigint, integer) is 'changes_since(after, max_rows): up to max_rows changes after a row of contact_audit_log, oldest first; 0 is the beginning, and the last audit_seq returned is the next after. Each change comes once and none is left out, whatever commits in which order. change: the effect of the row, as in contact_audit_log: a consumer that applies the changes in this order agrees with the mirror on which contacts there are and on soft_deleted, and erases its values where it is erased. outcome is NULL of an erasure and of its lifting. contact: the row of contacts as it is now, NULL where there is none. A restore, or a failover that lost the last commits, takes back rows that were read, so a consumer reads in REPEATABLE READ transactions: it checks changes_held(cursor), reads, and keeps changes_cursor(audit_seq of the last row) for the next transaction.';

-- The rule of the cursor. Commits are lost from the last one back, and rows become
-- visible out of the order of their numbers: the newest row may be kept while one below
-- it is lost. In one shard they become visible in that order, because whoever appends
-- to its chain holds its lock until the commit. So where the last row of each shard is
-- kept, all rows are kept that were visible together with it, those above the horizon
-- too, whose effects contacts shows already.
--
-- A cursor is written as after-newest.distance.distance-proof: the number of the newest
-- of these rows, how far the others are below it, and a hash of their links. Of an
-- empty log it is 0.
-- +goose StatementBegin
create function changes_cursor(after bigint default null) returns text
language sql stable
begin atomic
    select concat_ws('-',
        coalesce(changes_cursor.after, (
            select max(l.audit_seq)
            from contact_audit_log l
            where l.audit_seq <= (select h.audit_seq from log_horizon h where h.id = 1)
        ), 0),
        nullif(concat_ws('.', max(r.audit_seq), string_agg((r.newest - r.audit_seq)::text, '.' order by r.audit_seq desc) filter (where r.audit_seq < r.newest)), ''),
        encode(substring(sha256(string_agg(int8send(r.audit_seq) || r.chain, '' order by r.audit_seq)) for 8), 'hex'))
    from (
        select a.audit_seq, a.chain, max(a.audit_seq) over () as newest
        from sync_shards s
        cross join lateral (
            select l.audit_seq, l.chain
            from contact_audit_log l
            where l.audit_seq = s.audit_seq
            limit 1
        ) a
    ) r;
end;
-- +goose StatementEnd

comment on function changes_cursor(bigint) is 'changes_cursor(after): the cursor of a consumer that has read up to a row (after; by default the last row that changes_since returns now). It proves every row of the log that is visible in this transaction, so what was read and what contacts shows must have been read in it, in REPEATABLE READ. /changes takes it as after. For changes_since alone: after is the number before the first hyphen.';

-- +goose StatementBegin
create function changes_held(cursor text) returns boolean
language sql stable
begin atomic
    select c.after = 0 and c.proof = '' or coalesce(
        c.after <= c.named[1]
        and encode(substring(sha256((
            select string_agg(int8send(l.audit_seq) || l.chain, '' order by l.audit_seq)
            from contact_audit_log l
            where l.audit_seq = any (array(
                select case n.place when 1 then n.number else c.named[1] - n.number end
                from unnest(c.named) with ordinality n (number, place)
            ))
        )) for 8), 'hex') = c.proof,
        false)
    from (
        select split_part(changes_held.cursor, '-', 1)::bigint as after,
            string_to_array(split_part(changes_held.cursor, '-', 2), '.')::bigint[] as named,
            split_part(changes_held.cursor, '-', 3) as proof
    ) c;
end;
-- +goose StatementEnd

comment on function changes_held(text) is 'changes_held(cursor): whether the log holds every row that was visible when the cursor was made. If not, the database was restored, or failed over, without some of them, or is another one: start over from a copy of contacts, made in one REPEATABLE READ transaction with changes_cursor(). A standby that lags behind does not hold the newest rows yet.';

-- +goose Down

drop function changes_held(text);
drop function changes_cursor(bigint);
drop function changes_since(bigint, integer);
