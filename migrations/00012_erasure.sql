-- Erasure: what is personal of one contact goes, for good and for whatever comes
-- later; that there was something, and in which columns, stays.

-- +goose Up

create table erasures (
    erasure_seq        bigint generated always as identity primary key,
    context_identifier text not null,
    contact_id         bigint not null,
    erased_at          timestamptz not null default now(),
    erased_by          text not null,
    reason             text,
    lifted_at          timestamptz,
    lifted_by          text,
    constraint erasures_lifted check ((lifted_at is null) = (lifted_by is null))
);

create unique index erasures_in_force on erasures (context_identifier, contact_id) where lifted_at is null;

comment on table erasures is 'Contacts whose personal values were erased. While one is not lifted, the values of every later event of the contact are erased as it is applied, or where it never is, as it is stored.';
comment on column erasures.erasure_seq is 'Key.';
comment on column erasures.context_identifier is 'SuperOffice''s ContextIdentifier, the tenant.';
comment on column erasures.contact_id is 'The contact.';
comment on column erasures.erased_at is 'When it was erased first.';
comment on column erasures.erased_by is 'The database role that did it.';
comment on column erasures.reason is 'Why, as the operator put it.';
comment on column erasures.lifted_at is 'Since when later events are kept with their values again; NULL while the erasure is in force.';
comment on column erasures.lifted_by is 'The database role that lifted it.';

-- Ignored events can be about a contact too, and no audit row leads to them.
create index webhook_events_ignored on webhook_events (context_identifier, primary_key) where ignored;

alter table contact_audit_log add column erased_columns text[];

-- Not valid, which spares reading the log: it holds for the rows that are there,
-- for the column is new, and is checked for all others.
alter table contact_audit_log add constraint contact_audit_log_erased check (
    erased_columns is null or field_values is null and id_values is null and last_known is null and salt is null
) not valid;

comment on column contact_audit_log.erased_columns is 'Of a row whose values were erased: the names under which field_values gave values to columns, in SuperOffice''s spelling. The columns count as changed to what is not known. NULL where nothing was erased.';
comment on table contact_audit_log is 'One row for each contact event, written in the transaction that applied it; never changed, but by erasure, which removes values. What the event said does not depend on when it arrived; outcome and last_known do.';

-- An update of the log is an erasure or it is refused: a row loses its values and
-- its salt, gains the commitment to them, and nothing else of it changes. The
-- setting only keeps an update from happening in passing.
-- +goose StatementBegin
create function contactmirror_only_erasure() returns trigger
language plpgsql as $$
declare
    erasable constant text[] := array['field_values', 'id_values', 'last_known', 'salt', 'commitment', 'erased_columns'];
begin
    if current_setting('contactmirror.erasing', true) is distinct from 'on' then
        raise exception '% is append-only: % is not allowed', tg_table_name, lower(tg_op)
            using errcode = 'insufficient_privilege';
    end if;
    if tg_level = 'ROW' then
        if to_jsonb(new) - erasable is distinct from to_jsonb(old) - erasable
            or old.erased_columns is not null or new.erased_columns is null
            or num_nonnulls(new.field_values, new.id_values, new.last_known, new.salt) > 0
            or (new.commitment is null) is distinct from (old.chain is null)
        then
            raise exception '% is append-only: this update is no erasure', tg_table_name
                using errcode = 'insufficient_privilege';
        end if;
        return new;
    end if;
    return null;
end
$$;
-- +goose StatementEnd

comment on function contactmirror_only_erasure() is 'Lets nothing but an erasure update the audit log.';

drop trigger contact_audit_log_append_only on contact_audit_log;

create trigger contact_audit_log_append_only
    before delete or truncate on contact_audit_log
    for each statement execute function contactmirror_append_only();

create trigger contact_audit_log_only_erasure
    before update on contact_audit_log
    for each statement execute function contactmirror_only_erasure();

create trigger contact_audit_log_only_erasure_of_rows
    before update on contact_audit_log
    for each row execute function contactmirror_only_erasure();

-- What is put for a contact, but not queued for it, is stripped as it comes. It and
-- an erasure wait for one another here: by a lock, for there is no row yet that both
-- could lock. Contacts share 64 locks: a batch may be about more contacts than the
-- server has room for locks. Each statement of the function sees what was committed
-- before it.
-- +goose StatementBegin
create function contactmirror_lock_erasure(context_identifier text, contact_id bigint) returns void
language sql as $$
select pg_advisory_xact_lock(hashtext('contactmirror erasure'), (hashtextextended(concat_ws(' ', contact_id, context_identifier), 0) & 63)::integer)
$$;
-- +goose StatementEnd

comment on function contactmirror_lock_erasure(text, bigint) is 'Keeps contactmirror_erased(context_identifier, contact_id) waiting until the transaction ends.';

-- +goose StatementBegin
create function contactmirror_erased(context_identifier text, contact_id bigint) returns boolean
language plpgsql volatile security definer as $$
begin
    perform pg_advisory_xact_lock_shared(hashtext('contactmirror erasure'), (hashtextextended(concat_ws(' ', contact_id, context_identifier), 0) & 63)::integer);
    return exists (
        select from erasures x
        where x.context_identifier = $1 and x.contact_id = $2 and x.lifted_at is null
    );
end
$$;
-- +goose StatementEnd

comment on function contactmirror_erased(text, bigint) is 'Whether an erasure of a contact (context_identifier, contact_id) is in force. Waits for one under way, and keeps the next one waiting until the transaction ends.';

-- What a reason may quote of a delivery goes: only the member at fault and the
-- SQLSTATE stay.
-- +goose StatementBegin
create function contactmirror_reason_without_values(reason text) returns text
language sql immutable as $$
select concat_ws(' ',
    substring(reason from '^(EventId|Timestamp|Event|Entity|PrimaryKey|Changes|Values|FieldValues|ContextIdentifier|ChangedByAssociateId|WebhookName|the body)\M'),
    substring(reason from '\(SQLSTATE [0-9A-Z]{5}\)'),
    '(values erased)')
$$;
-- +goose StatementEnd

comment on function contactmirror_reason_without_values(text) is 'The reason of a quarantine entry without what it quotes of the delivery.';

-- An event that has not been applied keeps its body: only what an audit row, or
-- nothing at all, needs is removed here.
-- +goose StatementBegin
create function contactmirror_strip_events(event_seqs bigint[]) returns bigint
language plpgsql security definer as $$
declare
    erased bigint[];
    removed bigint;
begin
    select array_agg(e.event_seq) into erased
    from unnest(event_seqs) as s (event_seq)
    cross join lateral (
        select w.event_seq, w.context_identifier, w.primary_key, w.ignored
        from webhook_events w
        where w.event_seq = s.event_seq
        limit 1
    ) e
    cross join lateral (
        select from erasures x
        where x.context_identifier = e.context_identifier and x.contact_id = e.primary_key and x.lifted_at is null
        limit 1
    ) x
    where e.ignored
        or exists (select from contact_audit_log a where a.event_seq = e.event_seq)
        or exists (select from quarantined_deliveries q where q.event_seq = e.event_seq and q.resolution = 'discarded');
    delete from webhook_bodies where event_seq = any (erased);
    get diagnostics removed = row_count;
    update duplicate_deliveries set body_sha256 = '' where event_seq = any (erased) and body_sha256 <> '';
    update quarantined_deliveries
    set reason = contactmirror_reason_without_values(reason), headers = null, body = '', body_sha256 = '', bytes_removed_at = now()
    where event_seq = any (erased) and (bytes_removed_at is null or body <> '');
    return removed;
end
$$;
-- +goose StatementEnd

comment on function contactmirror_strip_events(bigint[]) is 'Removes the bytes of those of the events that are applied, ignored or discarded, and whose contact has been erased: bodies, hashes of duplicates, quarantine. Returns how many bodies there were.';

-- +goose StatementBegin
create function contactmirror_redact_event(event_seq bigint, redacted bytea) returns boolean
language plpgsql security definer as $$
begin
    if redacted is not null and position('contactmirror redacted body 1\012'::bytea in redacted) <> 1 then
        raise exception 'this is no redacted body';
    end if;
    update quarantined_deliveries q
    set reason = contactmirror_reason_without_values(q.reason), headers = null, body = coalesce(redacted, ''), body_sha256 = '', bytes_removed_at = now(),
        resolved_at = case when redacted is null then now() end, resolution = case when redacted is null then 'discarded' end
    where q.event_seq = $1 and q.resolved_at is null and q.bytes_removed_at is null
        and exists (
            select
            from webhook_events w
            join erasures x on x.context_identifier = w.context_identifier and x.contact_id = w.primary_key and x.lifted_at is null
            where w.event_seq = $1
        );
    if not found then
        return false;
    end if;
    if redacted is null then
        delete from webhook_bodies b where b.event_seq = $1;
    else
        update webhook_bodies b set body = redacted where b.event_seq = $1;
    end if;
    update duplicate_deliveries d set body_sha256 = '' where d.event_seq = $1 and d.body_sha256 <> '';
    return true;
end
$$;
-- +goose StatementEnd

comment on function contactmirror_redact_event(bigint, bytea) is 'Puts a redacted body (event_seq, redacted) in the place of that of an event in open quarantine whose contact has been erased, so that it can still be applied. NULL, where its body can''t be read, removes the body and discards the entry. Reports whether it did either.';

-- +goose StatementBegin
create function contactmirror_strip_delivery(quarantine_seq bigint, context_identifier text, contact_id bigint) returns boolean
language plpgsql security definer as $$
begin
    update quarantined_deliveries q
    set reason = contactmirror_reason_without_values(q.reason), headers = null, body = '', body_sha256 = uuid_send(gen_random_uuid()), bytes_removed_at = now()
    where q.quarantine_seq = $1 and q.event_seq is null and q.resolution = 'retried' and q.bytes_removed_at is null
        and exists (
            select from erasures x
            where x.context_identifier = $2 and x.contact_id = $3 and x.lifted_at is null
        );
    return found;
end
$$;
-- +goose StatementEnd

comment on function contactmirror_strip_delivery(bigint, text, bigint) is 'Removes the bytes of a quarantined delivery that was retried and became an event of an erased contact. Reports whether it did.';

-- +goose StatementBegin
create function contactmirror_erase(
    context_identifier text, contact_id bigint, audit_seqs bigint[], commitments bytea[],
    event_seqs bigint[], redacted_events bytea[], quarantine_seqs bigint[], redacted_deliveries bytea[], reason text
) returns table (already boolean, audit_rows bigint, bodies bigint, duplicates bigint, quarantined bigint, redacted bigint)
language plpgsql security definer set lock_timeout = '500ms' as $$
#variable_conflict use_column
declare
    events bigint[];
    waiting record;
    more bigint;
begin
    perform contactmirror_lock_erasure($1, $2);
    insert into erasures (context_identifier, contact_id, erased_by, reason)
    values ($1, $2, session_user, $9)
    on conflict (context_identifier, contact_id) where lifted_at is null do nothing;
    already := not found;

    perform set_config('contactmirror.erasing', 'on', true);
    update contact_audit_log a
    set field_values = null, id_values = null, last_known = null, salt = null,
        commitment = c.commitment,
        erased_columns = array(
            select k from jsonb_object_keys(a.field_values) k where k <> 'contact_id' order by k collate "C"
        )
    from unnest($3, $4) as c (audit_seq, commitment)
    where a.audit_seq = c.audit_seq and a.context_identifier = $1 and a.contact_id = $2 and a.erased_columns is null;
    get diagnostics audit_rows = row_count;
    perform set_config('contactmirror.erasing', 'off', true);
    if exists (
        select from contact_audit_log a
        where a.context_identifier = $1 and a.contact_id = $2 and a.erased_columns is null
    ) then
        raise exception 'rows were logged meanwhile: the caller must hold the lock of the contact''s shard';
    end if;

    -- Nobody notes a duplicate before this commits, and who waited sees it then.
    -- One erasure waits for another here, or both would wait in a circle.
    lock table duplicate_deliveries in share row exclusive mode;
    select array_agg(e.event_seq) into events
    from (
        select a.event_seq from contact_audit_log a where a.context_identifier = $1 and a.contact_id = $2
        union
        select w.event_seq
        from webhook_events w
        where w.ignored and w.context_identifier = $1 and w.primary_key = $2
            and (w.event like 'contact.%' or lower(w.entity) = 'contact')
        union
        select q.event_seq
        from quarantined_deliveries q
        join webhook_events w on w.event_seq = q.event_seq
        where w.context_identifier = $1 and w.primary_key = $2
    ) e
    where e.event_seq not in (select q.event_seq from sync_queue q); -- the worker needs their bodies, and strips them
    select count(*) into duplicates from duplicate_deliveries d where d.event_seq = any (events || $5) and d.body_sha256 <> '';
    select count(*) into quarantined from quarantined_deliveries q where q.event_seq = any (events || $5) and q.bytes_removed_at is null;
    bodies := contactmirror_strip_events(events);

    -- What has not been applied keeps its envelope, so that it still can be.
    redacted := 0;
    for waiting in select e.event_seq, e.body from unnest($5, $6) as e (event_seq, body) loop
        if contactmirror_redact_event(waiting.event_seq, waiting.body) then
            redacted := redacted + (waiting.body is not null)::int;
        end if;
    end loop;
    if exists (
        select
        from quarantined_deliveries q
        join webhook_events w on w.event_seq = q.event_seq
        where q.resolved_at is null and q.bytes_removed_at is null and w.context_identifier = $1 and w.primary_key = $2
    ) then
        raise exception 'events came into quarantine meanwhile: the caller must hold the lock of the contact''s shard';
    end if;

    update quarantined_deliveries q
    set reason = contactmirror_reason_without_values(q.reason), headers = null,
        body = coalesce(d.body, ''), body_sha256 = uuid_send(gen_random_uuid()), bytes_removed_at = now(),
        resolved_at = coalesce(q.resolved_at, case when d.body is null then now() end),
        resolution = coalesce(q.resolution, case when d.body is null then 'discarded' end)
    from unnest($7, $8) as d (quarantine_seq, body)
    where q.quarantine_seq = d.quarantine_seq and q.event_seq is null and q.bytes_removed_at is null;
    get diagnostics more = row_count;
    quarantined := quarantined + more;
    select redacted + count(*) into redacted from unnest($8) as d (body) where d.body is not null;
    return next;
end
$$;
-- +goose StatementEnd

comment on function contactmirror_erase(text, bigint, bigint[], bytea[], bigint[], bytea[], bigint[], bytea[], text) is 'Erases a contact (context_identifier, contact_id), but for its row in contacts, which the caller writes in the same transaction. The caller holds the lock of its shard, and gives the commitments to the values of all its audit rows (audit_seqs, commitments), the redacted bodies of its events in open quarantine (event_seqs, redacted_events) and of quarantined deliveries that never became events (quarantine_seqs, redacted_deliveries); a NULL body keeps nothing of it, and discards the entry. For the owner, or whom the owner grants it to.';

-- +goose StatementBegin
create function contactmirror_lift_erasure(context_identifier text, contact_id bigint) returns boolean
language plpgsql security definer as $$
begin
    update erasures x
    set lifted_at = now(), lifted_by = session_user
    where x.context_identifier = $1 and x.contact_id = $2 and x.lifted_at is null;
    return found;
end
$$;
-- +goose StatementEnd

comment on function contactmirror_lift_erasure(text, bigint) is 'Lets later events of a contact be kept with their values again. Reports whether it was erased. For the owner, or whom the owner grants it to.';

-- +goose StatementBegin
do $$
declare
    f regprocedure;
begin
    foreach f in array array[
        'contactmirror_erased(text, bigint)',
        'contactmirror_strip_events(bigint[])', 'contactmirror_redact_event(bigint, bytea)', 'contactmirror_strip_delivery(bigint, text, bigint)',
        'contactmirror_erase(text, bigint, bigint[], bytea[], bigint[], bytea[], bigint[], bytea[], text)', 'contactmirror_lift_erasure(text, bigint)'
    ]::regprocedure[] loop
        execute format('alter function %s set search_path = %I, pg_temp', f, current_schema());
        execute format('revoke all on function %s from public', f);
    end loop;
end
$$;
-- +goose StatementEnd

-- +goose Down

drop function contactmirror_lift_erasure;
drop function contactmirror_erase;
drop function contactmirror_strip_delivery;
drop function contactmirror_redact_event;
drop function contactmirror_strip_events;
drop function contactmirror_reason_without_values;
drop function contactmirror_erased;
drop function contactmirror_lock_erasure;

drop trigger contact_audit_log_only_erasure_of_rows on contact_audit_log;
drop trigger contact_audit_log_only_erasure on contact_audit_log;
drop trigger contact_audit_log_append_only on contact_audit_log;
drop function contactmirror_only_erasure;

create trigger contact_audit_log_append_only
    before update or delete or truncate on contact_audit_log
    for each statement execute function contactmirror_append_only();

alter table contact_audit_log drop constraint contact_audit_log_erased;
alter table contact_audit_log drop column erased_columns;
comment on table contact_audit_log is 'One row for each contact event, written in the transaction that applied it; never changed. What the event said does not depend on when it arrived; outcome and last_known do.';
drop index webhook_events_ignored;
drop table erasures;
