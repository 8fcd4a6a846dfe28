-- The running processes and their state, up to when the mirror is complete, and what
-- the schema's owner lets other roles do.

-- +goose Up

-- A dump has the rows of the database that it is of. In another database they say
-- nothing: the spools that they describe are drained elsewhere.
create function contactmirror_database_identity() returns text
language sql stable
return concat_ws('/',
    (select system_identifier from pg_control_system()),
    (select oid from pg_database where datname = current_database()),
    'webhook_events'::regclass::oid
);

comment on function contactmirror_database_identity() is 'What a database does not share with a copy of it: the identity of the cluster, and the oids of the database and of webhook_events. A standby that is promoted keeps it; a restore of a dump and pg_upgrade make another one.';

create table processes (
    process                     uuid primary key,
    database_identity           text not null default contactmirror_database_identity(),
    host                        text not null,
    pid                         integer not null,
    roles                       text[] not null,
    version                     text not null,
    started_at                  timestamptz not null,
    heartbeat_at                timestamptz not null,
    observed_at                 timestamptz not null,

    -- What the role receive does.
    accepted_at                 timestamptz,
    refused                     bigint not null default 0,
    refused_since               timestamptz,
    spooling_since              timestamptz,
    spool_records               bigint not null default 0,
    spool_bytes                 bigint not null default 0,
    spool_oldest_at             timestamptz,
    spool_moved_aside_files     integer not null default 0,
    spool_moved_aside_oldest_at timestamptz,
    spool_error                 text,
    spool_failing_since         timestamptz,

    -- What the role sync does.
    applied_at                  timestamptz,
    apply_error                 text,
    apply_failing_since         timestamptz,
    horizon_advanced_at         timestamptz,
    horizon_error               text,
    horizon_failing_since       timestamptz,

    constraint processes_pid check (pid > 0),
    constraint processes_roles check (cardinality(roles) > 0 and roles <@ '{receive,sync,admin}'),
    constraint processes_refused check (refused >= 0 and (refused = 0) = (refused_since is null)),
    constraint processes_spool_records check (spool_records >= 0),
    constraint processes_spool_bytes check (spool_bytes >= 0),
    constraint processes_spool_moved_aside check (spool_moved_aside_files >= 0
        and (spool_moved_aside_files = 0) = (spool_moved_aside_oldest_at is null)),
    constraint processes_spool_error check ((spool_error is null) = (spool_failing_since is null)),
    constraint processes_apply_error check ((apply_error is null) = (apply_failing_since is null)),
    constraint processes_horizon_error check ((horizon_error is null) = (horizon_failing_since is null))
) with (fillfactor = 50); -- leaves room for HOT updates: every row changes every few seconds

comment on table processes is 'One row for each running serve process, written about every 5 seconds. A process that stops in order removes its row, unless its spool still holds deliveries; after a crash the row stays.';
comment on column processes.process is 'Identity of the process. With the role receive it is that of the data directory, so that a process that takes over the directory and its spool keeps the row; otherwise each start has its own.';
comment on column processes.database_identity is 'The database in which the row was written: contactmirror_database_identity(). A row with another one came with a restored dump: it holds nothing and counts for nothing, until the process writes it again.';
comment on column processes.host is 'Name of the machine or container.';
comment on column processes.pid is 'Process id there.';
comment on column processes.roles is 'What the process does: receive, sync, admin.';
comment on column processes.version is 'The build.';
comment on column processes.started_at is 'When the process started, by its own clock, as are all times here but heartbeat_at.';
comment on column processes.heartbeat_at is 'When the row was last written, by the database''s clock.';
comment on column processes.observed_at is 'When the process read the state that the row describes.';
comment on column processes.accepted_at is 'When a delivery was last answered 200; NULL if none was since the start.';
comment on column processes.refused is 'Deliveries with a well-formed signature that were refused since refused_since.';
comment on column processes.refused_since is 'Since when no well-formed signature has matched a valid secret; NULL if the last one did. The secret is wrong, or a stranger makes up signatures.';
comment on column processes.spooling_since is 'Since when new deliveries go to the spool because the database does not take them; NULL while it does.';
comment on column processes.spool_records is 'Deliveries that were answered 200 and are only in the spool, waiting for the database.';
comment on column processes.spool_bytes is 'Their size on disk.';
comment on column processes.spool_oldest_at is 'When the oldest of them was received; NULL if there is none. With spool_error, the earliest time at which a delivery may have been received that the spool holds.';
comment on column processes.spool_moved_aside_files is 'Spool files that were moved aside: they hold deliveries that were answered 200 and can''t be drained. contactmirror spool list, on the process''s machine, names them.';
comment on column processes.spool_moved_aside_oldest_at is 'Earliest time at which a delivery in these files may have been received; NULL if there is none.';
comment on column processes.spool_error is 'Why the process can''t open its spool; NULL if it could. What the spool holds is not known then: spool_records, spool_bytes and the columns on files moved aside keep what the last process that could open it wrote.';
comment on column processes.spool_failing_since is 'Since when it can''t.';
comment on column processes.applied_at is 'When a batch of queued events was last committed; NULL if none was since the start.';
comment on column processes.apply_error is 'Why batches fail; NULL while they succeed.';
comment on column processes.apply_failing_since is 'Since when batches fail.';
comment on column processes.horizon_advanced_at is 'When the process last advanced the log horizon, or found it at the end of both logs; NULL if it has not since the start. One process at a time advances it.';
comment on column processes.horizon_error is 'Why the last attempt to advance the log horizon, or the counts up to it, failed; NULL if it did not. The change feed may be waiting.';
comment on column processes.horizon_failing_since is 'Since when attempts fail.';

comment on index processes_pkey is 'For process_heartbeat, process_leave and process_forget.';

create table process_secrets (
    process            uuid not null references processes on delete cascade,
    context_identifier text not null,
    ordinal            integer not null,
    not_before         timestamptz,
    not_after          timestamptz,
    matched_at         timestamptz,
    refused_since      timestamptz,
    primary key (process, context_identifier, ordinal),
    constraint process_secrets_ordinal check (ordinal > 0),
    constraint process_secrets_validity check (not_before <= not_after)
);

comment on table process_secrets is 'The webhook secrets that each process verifies deliveries with, by their position: nothing that is computed from a secret is stored.';
comment on column process_secrets.process is 'The process.';
comment on column process_secrets.context_identifier is 'The tenant; * for a secret of every tenant that has none of its own.';
comment on column process_secrets.ordinal is 'Position in the tenant''s list, from 1; in the list of * those of CONTACTMIRROR_SECRET are first.';
comment on column process_secrets.not_before is 'First instant at which the secret is valid; NULL for no limit.';
comment on column process_secrets.not_after is 'Last instant at which the secret is valid; NULL for no limit.';
comment on column process_secrets.matched_at is 'When it last verified a delivery; NULL if it has not since the start.';
comment on column process_secrets.refused_since is 'Since when no well-formed signature of a delivery that names a tenant of this list has matched, the same for the whole list; NULL if the last one did.';

comment on index process_secrets_pkey is 'For process_heartbeat, which writes the secrets of one process.';

-- How far the mirror is complete is stored, because it must never go back, whatever
-- becomes of the processes' rows. contactmirror_advance_freshness alone moves it.
create table freshness (
    id                smallint primary key,
    database_identity text not null,
    complete_through  timestamptz,
    last_heartbeat_at timestamptz,
    waits_for         text,
    advanced_at       timestamptz,
    constraint freshness_one_row check (id = 1)
) with (fillfactor = 50); -- leaves room for HOT updates: the row changes every few seconds

comment on table freshness is 'At most one row: up to when the mirror is complete, for tenants that tenant_freshness does not name.';
comment on column freshness.id is 'Always 1.';
comment on column freshness.database_identity is 'The database in which the row was written last: contactmirror_database_identity().';
comment on column freshness.complete_through is 'Receipt time before which everything is applied that receivers were sent. It never goes back. NULL before the first heartbeat of a receiver.';
comment on column freshness.last_heartbeat_at is 'The newest time that any receiver''s heartbeat allows, also of receivers that have stopped: complete_through stays there while no receiver runs.';
comment on column freshness.waits_for is 'The transaction that keeps complete_through from advancing, because it writes events and has not ended; NULL if there is none.';
comment on column freshness.advanced_at is 'When complete_through was last brought up to date, by the database''s clock.';
comment on index freshness_pkey is 'Keeps it one row.';

create table tenant_freshness (
    context_identifier text primary key,
    complete_through   timestamptz,
    late_deliveries    bigint not null default 0,
    constraint tenant_freshness_late_deliveries check (late_deliveries >= 0)
) with (fillfactor = 50);

comment on table tenant_freshness is 'Tenants for which complete_through is not the one in freshness, and those with late deliveries.';
comment on column tenant_freshness.context_identifier is 'SuperOffice''s ContextIdentifier, the tenant.';
comment on column tenant_freshness.complete_through is 'As in freshness; NULL if it is the same.';
comment on column tenant_freshness.late_deliveries is 'Events that were stored when complete_through had passed their receipt: a receiver that had not reached the database since its start accepted them while another one ran, or its clock is behind.';
comment on index tenant_freshness_pkey is 'For inbox_put, contactmirror_advance_freshness and mirror_freshness, which look up tenants.';

create table schema_roles (
    role_name text primary key,
    kind      text not null,
    constraint schema_roles_kind check (kind in ('service', 'reporting'))
);

comment on table schema_roles is 'Roles that contactmirror migrate grants let in, so that later migrations keep them working.';
comment on column schema_roles.role_name is 'The role.';
comment on column schema_roles.kind is 'service: what serve and its sister commands need; reporting: tables and views, but no bodies, quarantine and secrets.';
comment on index schema_roles_pkey is 'For migrate grants and migrate up.';

-- +goose Down

drop table schema_roles;
drop table tenant_freshness;
drop table freshness;
drop table process_secrets;
drop table processes;
drop function contactmirror_database_identity();
