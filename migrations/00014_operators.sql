-- What operators did: one row for each command, or page, that changed something.
-- The row is written in the transaction of the change, so neither is there
-- without the other; where files are changed, before that.

-- +goose Up

create sequence operator_actions_action_seq_seq as bigint;

create table operator_actions (
    action_seq         bigint primary key default nextval('operator_actions_action_seq_seq'),
    at                 timestamptz not null default now(),
    actor              text not null,
    database_role      text not null default session_user,
    action             text not null,
    context_identifier text,
    contact_id         bigint,
    detail             jsonb not null,
    constraint operator_actions_actor check (actor <> ''),
    constraint operator_actions_action check (action in (
        'erase', 'lift_erasure', 'retry_quarantine', 'discard_quarantine', 'discard_spool', 'prune', 'rebuild', 'replay',
        'forget_process', 'grant', 'publish', 'adopt_audit'
    )),
    constraint operator_actions_contact check (contact_id is null or context_identifier is not null),
    constraint operator_actions_detail check (jsonb_typeof(detail) = 'object')
);

alter sequence operator_actions_action_seq_seq owned by operator_actions.action_seq;

create trigger operator_actions_append_only
    before update or delete or truncate on operator_actions
    for each statement execute function contactmirror_append_only();

comment on index operator_actions_pkey is 'For auditors, who read it in the order of its rows.';
comment on sequence operator_actions_action_seq_seq is 'Numbers operator_actions.action_seq.';
comment on table operator_actions is 'What operators did by command or page; append-only.';
comment on column operator_actions.action_seq is 'Key.';
comment on column operator_actions.at is 'When, by the database''s clock.';
comment on column operator_actions.actor is 'Who: the user and host that ran the command.';
comment on column operator_actions.database_role is 'The database role that the command was logged in as.';
comment on column operator_actions.action is 'What: erase, lift_erasure, retry_quarantine, discard_quarantine, discard_spool, prune, rebuild, replay, forget_process, grant, publish or adopt_audit.';
comment on column operator_actions.context_identifier is 'The tenant concerned; NULL where it is not one tenant, or not known.';
comment on column operator_actions.contact_id is 'The contact concerned; NULL where it is not one contact, or not known.';
comment on column operator_actions.detail is 'What was asked for and what came of it; its keys depend on the action. Never holds values of contacts.';

-- +goose Down

drop table operator_actions;
