-- The queue between receiving and applying.

-- +goose Up

create table sync_shards (
    shard smallint primary key
);

-- The number of shards is fixed for good: shards are stored with the rows.
insert into sync_shards (shard) select generate_series(0, 31);

comment on table sync_shards is 'One row for each shard of the contacts. A worker locks the rows of the shards it works on, before anything else.';
comment on column sync_shards.shard is 'Number of the shard, a function of tenant and contact id.';

create table sync_queue (
    shard              smallint not null,
    context_identifier text not null,
    event_seq          bigint not null,
    primary key (shard, context_identifier, event_seq)
);

comment on table sync_queue is 'Accepted contact events that are still to be applied.';
comment on column sync_queue.shard is 'The shard of the event''s contact.';
comment on column sync_queue.context_identifier is 'The tenant, so that a claim can share its batch among those that wait.';
comment on column sync_queue.event_seq is 'The event in webhook_events.';

-- +goose Down

drop table sync_queue;
drop table sync_shards;
