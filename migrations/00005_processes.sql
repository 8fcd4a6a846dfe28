-- What each running process says of itself, and what the schema's owner lets
-- other roles do.

-- +goose Up

create table receivers (
    receiver_id           uuid primary key,
    host                  text not null,
    pid                   integer not null,
    roles                 text[] not null,
    version               text not null,
    started_at            timestamptz not null,
    heartbeat_at          timestamptz not null,
    observed_at           timestamptz not null,
    spool_records         bigint not null,
    spool_bytes           bigint not null,
    spool_oldest_at       timestamptz,
    moved_aside_files     integer not null default 0,
    moved_aside_oldest_at timestamptz,
    inbox_away_since      timestamptz,
    worker_error          text,
    worker_failing_since  timestamptz,
    last_accepted_at      timestamptz,
    refused_since         timestamptz,
    refused               bigint not null,
    constraint receivers_moved_aside check ((moved_aside_files = 0) = (moved_aside_oldest_at is null)),
    constraint receivers_worker_error check ((worker_error is null) = (worker_failing_since is null)),
    constraint receivers_refused check ((refused = 0) = (refused_since is null))
) with (fillfactor = 50); -- leaves room for updates in place: every row changes every few seconds

comment on table receivers is 'One row for each serve process that runs, or that ended without saying so or with deliveries in its spool''s directory; it writes it about every 5 seconds.';
comment on column receivers.receiver_id is 'The receiver, whatever process it runs as: kept in its data directory. A process that does not receive has one for its own lifetime.';
comment on column receivers.host is 'Name of the machine or container.';
comment on column receivers.pid is 'Number of the process there.';
comment on column receivers.roles is 'What the process does: receive, sync.';
comment on column receivers.version is 'The build.';
comment on column receivers.started_at is 'When the process started, by its own clock.';
comment on column receivers.heartbeat_at is 'When the row was last written, by the database''s clock.';
comment on column receivers.observed_at is 'When what the row says was so, by the process''s own clock: spool_oldest_at and received_at are by the same one.';
comment on column receivers.spool_records is 'Deliveries that were answered 200 and are in the process''s spool only, waiting for the database.';
comment on column receivers.spool_bytes is 'Their size on disk.';
comment on column receivers.spool_oldest_at is 'When the oldest of them came; NULL where there is none.';
comment on column receivers.moved_aside_files is 'Files that were moved aside in the process''s spool: they hold deliveries that were answered 200 and can''t be drained. contactmirror spool list, on its machine, names them.';
comment on column receivers.moved_aside_oldest_at is 'When the oldest delivery that they may hold came, at the earliest; NULL where there is no such file.';
comment on column receivers.inbox_away_since is 'Since when deliveries go to the spool; NULL while they go to the database.';
comment on column receivers.worker_error is 'Why events can''t be applied; NULL where they can be, or where the process does not apply any.';
comment on column receivers.worker_failing_since is 'Since when that is so.';
comment on column receivers.last_accepted_at is 'When a delivery was last answered 200; NULL where none was since the start.';
comment on column receivers.refused_since is 'Since when no well-formed signature has matched a live secret; NULL where the last one did. A wrong secret, or a stranger who makes signatures up.';
comment on column receivers.refused is 'How many deliveries with a well-formed signature have been refused since then.';

create table receiver_secrets (
    receiver_id        uuid not null references receivers on delete cascade,
    context_identifier text not null,
    ordinal            integer not null,
    not_before         timestamptz,
    not_after          timestamptz,
    last_matched_at    timestamptz,
    refused_since      timestamptz,
    primary key (receiver_id, context_identifier, ordinal)
);

comment on table receiver_secrets is 'The webhook secrets that each receiver verifies deliveries by: by their place, for nothing that is computed from a secret is stored.';
comment on column receiver_secrets.receiver_id is 'The receiver.';
comment on column receiver_secrets.context_identifier is 'The tenant; * where the secret serves every tenant without secrets of its own.';
comment on column receiver_secrets.ordinal is 'Place in the tenant''s list, from 1; for * those of CONTACTMIRROR_SECRET come first.';
comment on column receiver_secrets.not_before is 'First instant at which the secret is live; NULL is no bound.';
comment on column receiver_secrets.not_after is 'Last instant at which the secret is live; NULL is no bound.';
comment on column receiver_secrets.last_matched_at is 'When a delivery was last verified by it; NULL where none was since the process started.';
comment on column receiver_secrets.refused_since is 'Since when no well-formed signature of a delivery that names a tenant of this list has matched, the same for all of the list; NULL where the last one did.';

create table schema_roles (
    role_name text primary key,
    kind      text not null,
    constraint schema_roles_kind check (kind in ('service', 'reporting'))
);

comment on table schema_roles is 'Roles that contactmirror migrate grants let in, so that later migrations keep them working.';
comment on column schema_roles.role_name is 'The role.';
comment on column schema_roles.kind is 'service: what serve and its sister commands need; reporting: tables and views, but no bodies, quarantine and secrets.';

-- +goose Down

drop table schema_roles;
drop table receiver_secrets;
drop table receivers;
