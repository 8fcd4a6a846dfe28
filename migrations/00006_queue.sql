-- The queue says all that a claim asks for, and in an order in which claims can
-- skip what was claimed before.

-- +goose Up

-- In the order of event_seq nobody knows what is still to come: a transaction may
-- have drawn a number and not be visible yet. Of a transaction's own number that
-- is known: below pg_snapshot_xmin nothing appears any more.
alter table sync_queue
    add column written_by xid8 not null default pg_current_xact_id(),
    add column received_at timestamptz,
    add column body_bytes integer;

update sync_queue q
set received_at = e.received_at,
    body_bytes = coalesce((select octet_length(b.body) from webhook_bodies b where b.event_seq = q.event_seq), 0)
from webhook_events e
where e.event_seq = q.event_seq;

alter table sync_queue
    alter column received_at set not null,
    alter column body_bytes set not null,
    drop constraint sync_queue_pkey,
    add primary key (shard, context_identifier, written_by, event_seq);

comment on column sync_queue.written_by is 'The transaction that queued the event, whose number was assigned before event_seq was drawn.';
comment on column sync_queue.received_at is 'When the event arrived, as in webhook_events.';
comment on column sync_queue.body_bytes is 'Length of the event''s body.';

-- +goose Down

alter table sync_queue
    drop constraint sync_queue_pkey,
    drop column written_by,
    drop column received_at,
    drop column body_bytes,
    add primary key (shard, context_identifier, event_seq);
