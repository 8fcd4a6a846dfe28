-- The queue between receiving and applying.
--
-- Contacts are divided into shards, and a worker locks the rows of the shards it
-- works on, so that no two workers apply events of the same contact. The rows hold
-- the heads of the shards' hash chains too, because a head moves when a shard's
-- events are applied. Locking a row takes the right to update some column of it,
-- which the service has on the heads.

-- +goose Up

create table sync_shards (
    shard            smallint primary key,
    audit_count      bigint not null default 0,
    audit_head       bytea,
    audit_seq        bigint not null default 0,
    audit_signatures bytea,
    audit_break      bigint,
    constraint sync_shards_shard check (shard between 0 and 31),
    constraint sync_shards_audit_count check (audit_count >= 0),
    constraint sync_shards_audit_head check (octet_length(audit_head) = 36 or audit_head is null and audit_count = 0),
    constraint sync_shards_audit_seq check (audit_seq >= 0),
    constraint sync_shards_audit_signatures check (octet_length(audit_signatures) % 36 = 0 and octet_length(audit_signatures) between 36 and 576)
) with (fillfactor = 50); -- every batch updates its rows, in place while their pages have room

-- The number of shards never changes: shards are stored with the rows.
insert into sync_shards (shard) select generate_series(0, 31);

comment on table sync_shards is 'One row for each shard of the contacts. A worker locks the rows of the shards it works on before it does anything else.';
comment on column sync_shards.shard is 'Number of the shard, a function of tenant and contact id.';
comment on column sync_shards.audit_count is 'Number of rows in the shard''s chain: chain_seq of its last audit row.';
comment on column sync_shards.audit_head is 'The last link of the shard''s chain: chain of its last audit row, or link of an adoption after that; NULL before the first.';
comment on column sync_shards.audit_seq is 'audit_seq of the shard''s last audit row; 0 before the first. For changes_cursor.';
comment on column sync_shards.audit_signatures is 'HMACs of the shard, audit_count and audit_head, one for each key that the writer of the head had, each 4 bytes of the key''s id and 32 of hash; NULL where it was written without a key.';
comment on column sync_shards.audit_break is 'Where no key of a worker signed the head: the number of the log (audit_seq) from which on the shard''s rows are linked without a key, until audit adopt; NULL where nothing is wrong.';
comment on index sync_shards_pkey is 'For the statements that lock or move the heads of some shards.';

-- A claim reads the oldest events of each tenant in a shard, so that is the order of
-- the key. In the order of event_seq nobody knows what is still to come: a
-- transaction may have drawn a number and not be visible yet. In the order of the
-- transactions' own numbers that is known: nothing appears any more below
-- pg_snapshot_xmin. So a worker remembers how far it has read, and skips the dead
-- rows before that.
--
-- Each event is one insert and one delete, and dead rows slow claims down. So the
-- table is vacuumed after every 5,000 dead rows, however many wait (by default
-- after a fifth of the table, which in a backlog of millions is far too late), and
-- at full speed: it is small. It is not analyzed more often than others: no plan
-- of the statements that read it depends on statistics.
create table sync_queue (
    shard              smallint not null,
    context_identifier text not null,
    event_seq          bigint not null,
    written_by         xid8 not null default pg_current_xact_id(),
    received_at        timestamptz not null,
    body_bytes         integer not null,
    primary key (shard, context_identifier, written_by, event_seq),
    constraint sync_queue_shard check (shard between 0 and 31),
    constraint sync_queue_body_bytes check (body_bytes >= 0)
) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 0);

comment on table sync_queue is 'Accepted contact events that are still to be applied.';
comment on column sync_queue.shard is 'The shard of the event''s contact.';
comment on column sync_queue.context_identifier is 'The tenant, so that a claim can share its batch among those that wait.';
comment on column sync_queue.event_seq is 'The event in webhook_events.';
comment on column sync_queue.written_by is 'The transaction that queued the event, whose number was assigned before event_seq was drawn.';
comment on column sync_queue.received_at is 'When the event arrived, as in webhook_events.';
comment on column sync_queue.body_bytes is 'Length of the event''s body.';
comment on index sync_queue_pkey is 'For inbox_lock, inbox_waiting and inbox_claim.';

-- +goose Down

drop table sync_queue;
drop table sync_shards;
