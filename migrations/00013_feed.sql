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

comment on function changes_since(bigint, integer) is 'changes_since(after, max_rows): up to max_rows changes after a cursor in contact_audit_log, oldest first; 0 is the beginning, and the last audit_seq returned is the next cursor. Each change comes once and none is left out, whatever commits in which order. change: the effect of the row, as in contact_audit_log: a consumer that applies the changes in this order agrees with the mirror on which contacts there are and on soft_deleted, and erases its values where it is erased. outcome is NULL of an erasure and of its lifting. contact: the row of contacts as it is now, NULL where there is none. After a restore, or a failover that lost the last commits, numbers are used again, and reading on would skip changes. So a consumer keeps (audit_seq, event_id, recorded_at) of the last row returned, and of the newest row of contact_audit_log, whose effect contact may show already. Before it reads on it checks, in the same REPEATABLE READ transaction, exists (select from contact_audit_log where audit_seq = … and event_id = … and recorded_at = …) for both; where one is gone it starts over from a copy of contacts.';

-- +goose Down

drop function changes_since(bigint, integer);
