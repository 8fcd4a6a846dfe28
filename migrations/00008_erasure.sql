-- Erasure: the personal values of one contact are removed everywhere, those of later
-- events too. That there were values, and of which columns, stays.
--
-- The log's own rule for erasure (contactmirror_only_erasure) is in 00004_audit_log.
-- The functions of this file change what the service may not change itself; the
-- service may call those that can only remove bytes of a contact that is erased.

-- +goose Up

-- The functions of this file run as the owner. They find its tables and nothing that
-- a caller puts in the way: a temporary table would come first unless pg_temp is
-- named last. The setting lasts as long as the migration's transaction.
select set_config('search_path', quote_ident(current_schema()) || ', pg_temp', true);

-- The index of the log's rows about erasures: what the receiving path and the worker
-- ask is one look-up here.
create table erasures (
    audit_seq          bigint primary key,
    context_identifier text not null,
    contact_id         bigint not null,
    erased_at          timestamptz not null,
    lifted_at          timestamptz,
    lifted_audit_seq   bigint,
    reason             text,
    constraint erasures_contact_id check (contact_id > 0),
    constraint erasures_lifted check ((lifted_at is null) = (lifted_audit_seq is null) and lifted_audit_seq > audit_seq)
);

create unique index erasures_in_force on erasures (context_identifier, contact_id) where lifted_at is null;
create index erasures_contact on erasures (context_identifier, contact_id);

comment on table erasures is 'Contacts whose personal values were erased: an index of the rows of contact_audit_log that say so. The values of every event that was received before the erasure was lifted are erased: at once, or when it is applied, or when it is stored where it is never applied.';
comment on column erasures.audit_seq is 'Key: the row of the erasure in contact_audit_log.';
comment on column erasures.context_identifier is 'SuperOffice''s ContextIdentifier, the tenant.';
comment on column erasures.contact_id is 'The contact.';
comment on column erasures.erased_at is 'When it was erased first: recorded_at of that row.';
comment on column erasures.lifted_at is 'Events received after that time keep their values again, by the clock of their receiver; NULL while the erasure is in force.';
comment on column erasures.lifted_audit_seq is 'The row of the lifting in contact_audit_log.';
comment on column erasures.reason is 'Why, as the operator put it. Who erased and who lifted is in operator_actions.';
comment on index erasures_pkey is 'One entry for each erasure in the log; the table is small enough to be read as a whole.';
comment on index erasures_in_force is 'One erasure in force for each contact. For erasure_in_force and contactmirror_lift_erasure.';
comment on index erasures_contact is 'For mirror_tombstones, contactmirror_is_erased and every other statement that asks whether values of a contact are erased.';

-- The rule: values are erased of what was received before the last erasure of the
-- contact was lifted. It goes by the time of receipt and not by what has been applied,
-- so it does not matter where a delivery waits meanwhile: in the queue, in a spool, in
-- a file that was moved aside, in quarantine, in a transaction.
-- +goose StatementBegin
create function contactmirror_is_erased(context_identifier text, contact_id bigint, received_at timestamptz) returns boolean
language sql stable
begin atomic
    select exists (
        select from erasures x
        where x.context_identifier = $1 and x.contact_id = $2 and (x.lifted_at is null or x.lifted_at >= $3)
    );
end;
-- +goose StatementEnd

comment on function contactmirror_is_erased(text, bigint, timestamptz) is 'Whether the values of what was received at a time (received_at) for a contact (context_identifier, contact_id) are erased.';

-- What arrives for a contact and is not queued is redacted when it is stored. Such a
-- put and an erasure wait for each other by an advisory lock, because there is no row
-- that both could lock. Contacts share 64 locks: a batch may be about more contacts
-- than the server has room for locks. contactmirror_erased is in PL/pgSQL so that its
-- second statement sees what was committed while the first one waited.
-- +goose StatementBegin
create function contactmirror_lock_erasure(context_identifier text, contact_id bigint) returns void
language sql as $$
select pg_advisory_xact_lock(hashtext('contactmirror erasure'), (hashtextextended(concat_ws(' ', contact_id, context_identifier), 0) & 63)::integer)
$$;
-- +goose StatementEnd

comment on function contactmirror_lock_erasure(text, bigint) is 'Keeps contactmirror_erased waiting until the transaction ends, for a contact (context_identifier, contact_id).';

-- +goose StatementBegin
create function contactmirror_erased(context_identifier text, contact_id bigint, received_at timestamptz) returns boolean
language plpgsql volatile security definer
set search_path from current
as $$
begin
    perform contactmirror_require_read_committed();
    perform pg_advisory_xact_lock_shared(hashtext('contactmirror erasure'), (hashtextextended(concat_ws(' ', contact_id, context_identifier), 0) & 63)::integer);
    return contactmirror_is_erased($1, $2, $3);
end
$$;
-- +goose StatementEnd

comment on function contactmirror_erased(text, bigint, timestamptz) is 'As contactmirror_is_erased, for what is being stored. Waits for an erasure that is running, and keeps the next one waiting until the transaction ends. Does not look for an unfinished restore: a statement that calls it calls contactmirror_require_restored once.';

-- Other ignored events, such as those of persons, hold no values of contacts.
-- +goose StatementBegin
create function contactmirror_is_of_contact(event text, entity text) returns boolean
language sql immutable parallel safe
return event like 'contact.%' or coalesce(lower(entity), '') = 'contact';
-- +goose StatementEnd

comment on function contactmirror_is_of_contact(text, text) is 'Whether an ignored event (event, entity) is about a contact, so that its primary_key is a contact''s id.';

-- An ignored event without an EventId is known by the hash of its body. That could let
-- values be guessed, so of an erased contact it is known by what the event's row says.
-- +goose StatementBegin
create function contactmirror_envelope_key(context_identifier text, event text, entity text, primary_key bigint, occurred_ticks bigint) returns bytea
language sql immutable as $$
select sha256(convert_to(jsonb_build_array(context_identifier, event, entity, primary_key, occurred_ticks)::text, 'UTF8'))
$$;
-- +goose StatementEnd

comment on function contactmirror_envelope_key(text, text, text, bigint, bigint) is 'The idempotency key of an ignored event of an erased contact that has no EventId: a hash of what its row in webhook_events says (context_identifier, event, entity, primary_key, occurred_ticks).';

-- What a hash is of can be guessed, so none is kept of an erased contact. Nothing has
-- to be locked here: an erasure locks the table.
-- +goose StatementBegin
create function contactmirror_hash_kept(context_identifier text, contact_id bigint, received_at timestamptz, body_sha256 bytea) returns bytea
language sql stable
return case when contactmirror_is_erased(context_identifier, contact_id, received_at) then '' else body_sha256 end;
-- +goose StatementEnd

comment on function contactmirror_hash_kept(text, bigint, timestamptz, bytea) is 'What duplicate_deliveries keeps of the hash (body_sha256) of a delivery for a contact (context_identifier, contact_id), received at a time (received_at): nothing where its values are erased.';

-- A reason may quote the delivery: only the member at fault and the SQLSTATE stay.
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

-- The same delivery of an erased contact again is counted in the entry that it has. A
-- hash of its body would let values be guessed, so its key is made of what the entry
-- says: two bodies of which the entries would say the same share one.
-- +goose StatementBegin
create function contactmirror_entry_key(context_identifier text, contact_id bigint, reason text, redacted bytea) returns bytea
language sql immutable as $$
select sha256(convert_to(jsonb_build_array(context_identifier, contact_id, reason, encode(redacted, 'hex'))::text, 'UTF8'))
$$;
-- +goose StatementEnd

comment on function contactmirror_entry_key(text, bigint, text, bytea) is 'What stands for the hash of a body in the quarantine entry of an erased contact (context_identifier, contact_id): a hash of what the entry keeps (reason, redacted).';

-- An event that has not been applied keeps its body: only bodies that an audit row
-- stands for, or that nothing needs, are removed here.
-- +goose StatementBegin
create function contactmirror_strip_events(event_seqs bigint[]) returns bigint
language plpgsql security definer
set search_path from current
set plan_cache_mode = force_custom_plan -- a plan for all days would open all partitions
as $$
declare
    erased  bigint[];
    removed bigint := 0;
    part    record;
    bodies  bigint;
begin
    perform contactmirror_require_read_committed();
    for part in
        select e.ignored, date_trunc('day', e.received_at, 'UTC') as day, array_agg(e.event_seq) as event_seqs
        from unnest(event_seqs) as s (event_seq)
        cross join lateral (
            select w.event_seq, w.context_identifier, w.primary_key, w.received_at, w.ignored
            from webhook_events w
            where w.event_seq = s.event_seq
            limit 1
        ) e
        where contactmirror_is_erased(e.context_identifier, e.primary_key, e.received_at)
            and (
                e.ignored
                or exists (select from contact_audit_log a where a.event_seq = e.event_seq)
                or exists (select from quarantined_deliveries q where q.event_seq = e.event_seq and q.resolution = 'discarded')
            )
        group by e.ignored, day
    loop
        delete from webhook_bodies b
        where b.event_seq = any (part.event_seqs) and b.ignored = part.ignored
            and b.received_at >= part.day and b.received_at < part.day + interval '24 hours';
        get diagnostics bodies = row_count;
        removed := removed + bodies;
        erased := erased || part.event_seqs;
    end loop;
    update duplicate_deliveries set body_sha256 = '' where event_seq = any (erased) and body_sha256 <> '';
    update quarantined_deliveries
    set reason = contactmirror_reason_without_values(reason), headers = null, signatures = null, body = '', body_sha256 = '', bytes_removed_at = now()
    where event_seq = any (erased) and (bytes_removed_at is null or body <> '');
    return removed;
end
$$;
-- +goose StatementEnd

comment on function contactmirror_strip_events(bigint[]) is 'Removes the bytes of those of the events that are applied, ignored or discarded, and whose contact has been erased: bodies, hashes of duplicates, quarantine. Returns how many bodies there were.';

-- +goose StatementBegin
create function contactmirror_redact_event(event_seq bigint, redacted bytea) returns boolean
language plpgsql security definer
set search_path from current
set plan_cache_mode = force_custom_plan -- as in contactmirror_strip_events
as $$
declare
    received timestamptz;
begin
    perform contactmirror_require_read_committed();
    if redacted is not null and position('contactmirror redacted body 1\012'::bytea in redacted) <> 1 then
        raise exception 'this is no redacted body';
    end if;
    update quarantined_deliveries q
    set reason = contactmirror_reason_without_values(q.reason), headers = null, signatures = null, body = coalesce(redacted, ''), body_sha256 = '', bytes_removed_at = now(),
        resolved_at = case when redacted is null then now() end, resolution = case when redacted is null then 'discarded' end
    where q.event_seq = $1 and q.resolved_at is null and q.bytes_removed_at is null
        and exists (
            select
            from webhook_events w
            where w.event_seq = $1 and contactmirror_is_erased(w.context_identifier, w.primary_key, w.received_at)
        );
    if not found then
        return false;
    end if;
    select w.received_at
    into strict received
    from webhook_events w
    where w.event_seq = $1;
    if redacted is null then
        delete from webhook_bodies b where b.event_seq = $1 and b.received_at = received and not b.ignored;
    else
        update webhook_bodies b set body = redacted where b.event_seq = $1 and b.received_at = received and not b.ignored;
    end if;
    update duplicate_deliveries d set body_sha256 = '' where d.event_seq = $1 and d.body_sha256 <> '';
    return true;
end
$$;
-- +goose StatementEnd

comment on function contactmirror_redact_event(bigint, bytea) is 'Puts a redacted body (event_seq, redacted) in the place of that of an event in open quarantine whose contact has been erased, so that it can still be applied. NULL, where its body can''t be read, removes the body and discards the entry. Reports whether it did either.';

-- +goose StatementBegin
create function contactmirror_strip_delivery(quarantine_seq bigint, context_identifier text, contact_id bigint) returns boolean
language plpgsql security definer
set search_path from current
as $$
begin
    perform contactmirror_require_read_committed();
    update quarantined_deliveries q
    set reason = contactmirror_reason_without_values(q.reason), headers = null, signatures = null, body = '', body_sha256 = uuid_send(gen_random_uuid()), bytes_removed_at = now()
    where q.quarantine_seq = $1 and q.event_seq is null and q.resolution = 'retried' and q.bytes_removed_at is null
        and contactmirror_is_erased($2, $3, q.received_at);
    return found;
end
$$;
-- +goose StatementEnd

comment on function contactmirror_strip_delivery(bigint, text, bigint) is 'Removes the bytes of a quarantined delivery that was retried and became an event of an erased contact. Reports whether it did.';

-- +goose StatementBegin
create function contactmirror_erase(
    context_identifier text, contact_id bigint, audit_seq bigint, reason text, audit_seqs bigint[], commitments bytea[],
    event_seqs bigint[], redacted_events bytea[], quarantine_seqs bigint[], redacted_deliveries bytea[]
) returns table (audit_rows bigint, bodies bigint, duplicates bigint, quarantined bigint, redacted bigint)
language plpgsql security definer
set search_path from current
set lock_timeout = '500ms'
as $$
#variable_conflict use_column
declare
    events bigint[];
    waiting record;
    more bigint;
begin
    perform contactmirror_require_read_committed();
    perform contactmirror_lock_erasure($1, $2);
    -- A second one in force violates erasures_in_force.
    insert into erasures (audit_seq, context_identifier, contact_id, erased_at, reason)
    select a.audit_seq, a.context_identifier, a.contact_id, a.recorded_at, $4
    from contact_audit_log a
    where a.audit_seq = $3 and a.event = 'mirror.erased' and a.context_identifier = $1 and a.contact_id = $2
    on conflict (audit_seq) do nothing;
    if not exists (
        select from erasures x
        where x.audit_seq = $3 and x.context_identifier = $1 and x.contact_id = $2 and x.lifted_at is null
    ) then
        raise exception 'row % of the log is no erasure of this contact that is in force: the caller must write it first', $3;
    end if;

    perform set_config('contactmirror.erasing', 'on', true);
    update contact_audit_log a
    set changed_columns = array(
            select n.name
            from unnest(a.changed_columns) with ordinality as n (name, place)
            where n.name in (select k.source_name from contact_columns k) -- others may be any text
            order by n.place
        ),
        field_values = null, given_columns = 0, id_values = null, last_known = null, salt = null,
        commitment = c.commitment,
        erased_columns = array(
            select k from jsonb_object_keys(a.field_values) k order by k collate "C"
        )
    from unnest($5, $6) as c (audit_seq, commitment)
    where a.audit_seq = c.audit_seq and a.context_identifier = $1 and a.contact_id = $2
        and a.outcome is not null and a.erased_columns is null;
    get diagnostics audit_rows = row_count;
    -- The first of those of which the rows say the same is known by that from now on,
    -- and what repeats one of them is a duplicate of it. Of the others the key only has
    -- to be another one.
    update webhook_events w
    set keyless_sha256 = case
            when k.twin = 1 and not exists (select from webhook_events o where o.keyless_sha256 = k.key) then k.key
            else k.other_key
        end
    from (
        select e.event_seq, e.key, e.other_key, row_number() over (partition by e.key order by e.event_seq) as twin
        from (
            select i.event_seq, i.keyless_sha256, y.key, sha256(y.key || int8send(i.event_seq)) as other_key
            from webhook_events i
            cross join lateral (
                select contactmirror_envelope_key(i.context_identifier, i.event, i.entity, i.primary_key, i.occurred_ticks) as key
            ) y
            where i.ignored and i.context_identifier = $1 and i.primary_key = $2 and contactmirror_is_of_contact(i.event, i.entity)
        ) e
        where e.keyless_sha256 is not null and e.keyless_sha256 not in (e.key, e.other_key)
    ) k
    where w.event_seq = k.event_seq;
    perform set_config('contactmirror.erasing', 'off', true);
    if exists (
        select from contact_audit_log a
        where a.context_identifier = $1 and a.contact_id = $2 and a.outcome is not null and a.erased_columns is null
    ) then
        raise exception 'rows were logged meanwhile: the caller must hold the lock of the contact''s shard';
    end if;

    -- No duplicate is noted before this commits, and a session that waited sees the
    -- erasure then. Erasures wait for each other here, or they could deadlock.
    lock table duplicate_deliveries in share row exclusive mode;
    select array_agg(e.event_seq) into events
    from (
        select a.event_seq
        from contact_audit_log a
        where a.context_identifier = $1 and a.contact_id = $2 and a.outcome is not null
        union
        select w.event_seq
        from webhook_events w
        where w.ignored and w.context_identifier = $1 and w.primary_key = $2 and contactmirror_is_of_contact(w.event, w.entity)
        union
        select q.event_seq
        from quarantined_deliveries q
        join webhook_events w on w.event_seq = q.event_seq
        where w.context_identifier = $1 and w.primary_key = $2
    ) e
    where e.event_seq not in (select q.event_seq from sync_queue q); -- the worker needs their bodies, and strips them
    select count(*) into duplicates from duplicate_deliveries d where d.event_seq = any (events || $7) and d.body_sha256 <> '';
    select count(*) into quarantined from quarantined_deliveries q where q.event_seq = any (events || $7) and q.bytes_removed_at is null;
    bodies := contactmirror_strip_events(events);

    -- An event that has not been applied keeps its envelope, so that it can still be applied.
    redacted := 0;
    for waiting in select e.event_seq, e.body from unnest($7, $8) as e (event_seq, body) loop
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
    set reason = contactmirror_reason_without_values(q.reason), headers = null, signatures = null,
        body = coalesce(d.body, ''), bytes_removed_at = now(),
        body_sha256 = case
            when d.twin = 1 and not exists (select from quarantined_deliveries o where o.event_seq is null and o.body_sha256 = d.key) then d.key
            else uuid_send(gen_random_uuid())
        end,
        resolved_at = coalesce(q.resolved_at, case when d.body is null then now() end),
        resolution = coalesce(q.resolution, case when d.body is null then 'discarded' end)
    from (
        select k.quarantine_seq, k.body, k.key, row_number() over (partition by k.key order by k.quarantine_seq) as twin
        from (
            select u.quarantine_seq, u.body, contactmirror_entry_key($1, $2, contactmirror_reason_without_values(e.reason), u.body) as key
            from unnest($9, $10) as u (quarantine_seq, body)
            join quarantined_deliveries e on e.quarantine_seq = u.quarantine_seq
        ) k
    ) d
    where q.quarantine_seq = d.quarantine_seq and q.event_seq is null and q.bytes_removed_at is null;
    get diagnostics more = row_count;
    quarantined := quarantined + more;
    select redacted + count(*) into redacted from unnest($10) as d (body) where d.body is not null;
    return next;
end
$$;
-- +goose StatementEnd

comment on function contactmirror_erase(text, bigint, bigint, text, bigint[], bytea[], bigint[], bytea[], bigint[], bytea[]) is 'Erases a contact (context_identifier, contact_id), but for its row in contacts, which the caller writes in the same transaction. The caller holds the lock of its shard, has written the erasure''s row of the log (audit_seq; of an erasure in force, which is repeated, that one) and why (reason), and gives the commitments to the values of all its audit rows (audit_seqs, commitments), the redacted bodies of its events in open quarantine (event_seqs, redacted_events) and of quarantined deliveries that never became events (quarantine_seqs, redacted_deliveries); a NULL body keeps nothing of it, and discards the entry. For the owner, or whom the owner grants it to.';

-- +goose StatementBegin
create function contactmirror_lift_erasure(context_identifier text, contact_id bigint, audit_seq bigint) returns boolean
language plpgsql security definer
set search_path from current
as $$
begin
    perform contactmirror_require_read_committed();
    update erasures x
    set lifted_at = a.recorded_at, lifted_audit_seq = a.audit_seq
    from contact_audit_log a
    where x.context_identifier = $1 and x.contact_id = $2 and x.lifted_at is null
        and a.audit_seq = $3 and a.event = 'mirror.erasure_lifted' and a.context_identifier = $1 and a.contact_id = $2;
    return found;
end
$$;
-- +goose StatementEnd

comment on function contactmirror_lift_erasure(text, bigint, bigint) is 'Lets events of a contact (context_identifier, contact_id) that are received from now on be kept with their values again. The caller has written the lifting''s row of the log (audit_seq). Reports whether the contact was erased and the row is there. For the owner, or whom the owner grants it to.';

-- Statistics hold values of columns that queries filter by. Those that none filters by
-- have no statistics at all: bodies, quarantine's texts, hashes. A value is gone from
-- those of the others once its row is not in the sample any more.
-- +goose StatementBegin
create function contactmirror_analyze_values() returns void
language plpgsql security definer
set search_path from current
set lock_timeout = '10s'
as $$
begin
    analyze contacts, contact_audit_log;
end
$$;
-- +goose StatementEnd

comment on function contactmirror_analyze_values() is 'Runs analyze on the tables with values of contacts, so that pg_stats holds no erased value. For the owner, or roles that the owner grants it to.';

-- The service may insert into the log, but not rows that say a contact was erased or an
-- erasure lifted. The trigger fires after the insert, for its condition does not keep
-- COPY from inserting many rows at a time; a trigger before the insert would.
-- +goose StatementBegin
create function contactmirror_may_erase() returns trigger
language plpgsql
set search_path from current
as $$
begin
    if not has_function_privilege('contactmirror_erase(text, bigint, bigint, text, bigint[], bytea[], bigint[], bytea[], bigint[], bytea[])', 'execute') then
        raise exception 'permission denied: % may not write % into %', current_user, new.event, tg_table_name
            using errcode = 'insufficient_privilege', hint = 'Erase, and lift erasures, with contactmirror erase, as the owner of the schema.';
    end if;
    return null;
end
$$;
-- +goose StatementEnd

comment on function contactmirror_may_erase() is 'Refuses rows of the audit log about erasures and liftings from roles that may not erase.';

create trigger contact_audit_log_may_erase
    after insert on contact_audit_log
    for each row when (new.outcome is null)
    execute function contactmirror_may_erase();

revoke all on function contactmirror_erased(text, bigint, timestamptz) from public;
revoke all on function contactmirror_strip_events(bigint[]) from public;
revoke all on function contactmirror_redact_event(bigint, bytea) from public;
revoke all on function contactmirror_strip_delivery(bigint, text, bigint) from public;
revoke all on function contactmirror_erase(text, bigint, bigint, text, bigint[], bytea[], bigint[], bytea[], bigint[], bytea[]) from public;
revoke all on function contactmirror_lift_erasure(text, bigint, bigint) from public;
revoke all on function contactmirror_analyze_values() from public;

-- +goose Down

drop trigger contact_audit_log_may_erase on contact_audit_log;
drop function contactmirror_may_erase();
drop function contactmirror_analyze_values();
drop function contactmirror_lift_erasure(text, bigint, bigint);
drop function contactmirror_erase(text, bigint, bigint, text, bigint[], bytea[], bigint[], bytea[], bigint[], bytea[]);
drop function contactmirror_strip_delivery(bigint, text, bigint);
drop function contactmirror_redact_event(bigint, bytea);
drop function contactmirror_strip_events(bigint[]);
drop function contactmirror_entry_key(text, bigint, text, bytea);
drop function contactmirror_reason_without_values(text);
drop function contactmirror_envelope_key(text, text, text, bigint, bigint);
drop function contactmirror_hash_kept(text, bigint, timestamptz, bytea);
drop function contactmirror_is_of_contact(text, text);
drop function contactmirror_erased(text, bigint, timestamptz);
drop function contactmirror_is_erased(text, bigint, timestamptz);
drop function contactmirror_lock_erasure(text, bigint);
drop table erasures;
