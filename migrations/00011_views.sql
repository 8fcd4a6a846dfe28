-- Views: timelines, changes, deletions, where a value comes from, and how fresh the
-- mirror is.
--
-- They are computed from the facts in contact_audit_log (rows with an outcome), in the order of the fold: by
-- occurred_ticks, by kind of event, by event_id. So they are right whatever arrived
-- late, and nothing of them is stored.

-- +goose Up

-- In the select list as a subquery, so that it is evaluated for the lines of a page
-- only, after they were sorted.
create view contact_timeline as
select a.context_identifier, a.contact_id, a.occurred_at, a.event,
    case
        when exists (
            select
            from contact_tombstones t
            where t.context_identifier = a.context_identifier and t.contact_id = a.contact_id
                and (t.occurred_ticks, contactmirror_rank('contact.deleted'), t.event_id) < (a.occurred_ticks, contactmirror_rank(a.event), a.event_id)
        ) then null
        when a.hard_deleted then 'hard_deleted'
        -- Against what was said of the flag before, by events that say anything of it.
        when a.soft_deleted <> coalesce((
            select b.soft_deleted
            from contact_audit_log b
            where b.context_identifier = a.context_identifier and b.contact_id = a.contact_id
                and b.outcome is not null and b.soft_deleted is not null
                and b.occurred_ticks <= a.occurred_ticks
                and (b.occurred_ticks, contactmirror_rank(b.event), b.event_id) < (a.occurred_ticks, contactmirror_rank(a.event), a.event_id)
            order by b.occurred_ticks desc, contactmirror_rank(b.event) desc, b.event_id desc
            limit 1
        ), false) then case when a.soft_deleted then 'soft_deleted' else 'restored' end
        when a.event = 'contact.created' and not exists (
            select
            from contact_audit_log b
            where b.context_identifier = a.context_identifier and b.contact_id = a.contact_id
                and b.outcome is not null and b.event = 'contact.created'
                and b.occurred_ticks <= a.occurred_ticks
                and (b.occurred_ticks, b.event_id) < (a.occurred_ticks, a.event_id)
        ) then 'created'
    end as transition,
    a.changed_by_associate_id, a.changed_columns, a.field_values, a.unreadable_columns, a.id_values,
    a.soft_deleted, a.hard_deleted, a.outcome, a.effect, a.origin, a.webhook_name,
    a.received_at, a.recorded_at, a.last_known, a.erased_columns, a.event_id, a.event_seq, a.audit_seq,
    a.occurred_ticks, contactmirror_rank(a.event) as event_rank
from contact_audit_log a
where a.outcome is not null;

comment on view contact_timeline is 'One line for each event of a contact: when, what, by whom, and what became of it. In the source''s order by occurred_ticks, event_rank, event_id; newest recorded first by audit_seq desc.';
comment on column contact_timeline.context_identifier is 'SuperOffice''s ContextIdentifier, the tenant.';
comment on column contact_timeline.contact_id is 'The contact.';
comment on column contact_timeline.occurred_at is 'SuperOffice''s Timestamp, cut to microseconds.';
comment on column contact_timeline.event is 'SuperOffice''s name of the event.';
comment on column contact_timeline.transition is 'The lifecycle transition that the event was, in the source''s order: created (the first contact.created), soft_deleted, restored, hard_deleted. NULL for any other event, and for all after the first hard delete. A contact.created that sets or clears the flag is soft_deleted or restored. Each soft_deleted and hard_deleted is a line of deleted_contacts, and each restored a restored_at there.';
comment on column contact_timeline.changed_by_associate_id is 'Who caused the event; NULL where it does not say.';
comment on column contact_timeline.changed_columns is 'SuperOffice''s Changes: names of columns, verbatim.';
comment on column contact_timeline.field_values is 'The values the event gave contact columns, under SuperOffice''s names, as sent.';
comment on column contact_timeline.unreadable_columns is 'Columns to which the event gave a value that can''t be read.';
comment on column contact_timeline.id_values is 'SuperOffice''s Values, the ids of a dead row.';
comment on column contact_timeline.soft_deleted is 'What the event says of the soft-delete flag; NULL where it says nothing, and on a hard delete.';
comment on column contact_timeline.hard_deleted is 'The event is a hard delete.';
comment on column contact_timeline.outcome is 'What became of it: applied, no_op, superseded, after_delete.';
comment on column contact_timeline.effect is 'What it did to the contact when it was applied: upserted, soft_deleted, restored, deleted, unchanged.';
comment on column contact_timeline.origin is 'Where the fact came from: webhook, backfill, fetch or reconcile.';
comment on column contact_timeline.webhook_name is 'Name of the webhook definition at SuperOffice.';
comment on column contact_timeline.received_at is 'When the event arrived, by the receiver''s clock.';
comment on column contact_timeline.recorded_at is 'When it was applied, by the database''s clock.';
comment on column contact_timeline.last_known is 'On a hard delete: the row that contacts held when the event was applied. deleted_contacts has the contact as it was at the source.';
comment on column contact_timeline.erased_columns is 'The columns that it gave values which were erased since; NULL where nothing was.';
comment on column contact_timeline.event_id is 'SuperOffice''s EventId.';
comment on column contact_timeline.event_seq is 'The event in webhook_events; NULL where the fact did not come by webhook.';
comment on column contact_timeline.audit_seq is 'The row in contact_audit_log.';
comment on column contact_timeline.occurred_ticks is 'SuperOffice''s Timestamp in units of 100 ns since 1970-01-01 UTC.';
comment on column contact_timeline.event_rank is 'Order of the event''s kind among events of the same instant.';

-- The facts of one Timestamp are taken together: what an event names at a Timestamp is
-- named there. A setting keeps the function from being inlined, and a plan without
-- irregular contacts from being compiled (jit) with it.
-- +goose StatementBegin
create function contactmirror_irregular_changes(audit_seq bigint) returns text[]
language sql stable parallel safe
set jit = off
begin atomic
    with fact as (
        select a.*, contactmirror_rank(a.event) as event_rank
        from contact_audit_log a
        where a.audit_seq = contactmirror_irregular_changes.audit_seq
    ), around as (
        -- What came before it, and what has the same Timestamp.
        select b.field_values, b.changed_columns, b.erased_columns, b.changed_by_associate_id, b.occurred_ticks, contactmirror_rank(b.event) as event_rank, b.event_id,
            b.occurred_ticks = a.occurred_ticks as tied,
            (b.occurred_ticks, contactmirror_rank(b.event), b.event_id) < (a.occurred_ticks, a.event_rank, a.event_id) as before
        from fact a
        join contact_audit_log b on b.context_identifier = a.context_identifier and b.contact_id = a.contact_id and b.outcome is not null
            and b.occurred_ticks <= a.occurred_ticks and b.audit_seq <> a.audit_seq
    )
    select array(select distinct k.source_name
    from fact a
    cross join unnest(a.changed_columns) n (source_name)
    join contact_columns k on k.source_name = n.source_name
    -- Not what another event at the same Timestamp has said.
    where not exists (
        select
        from around b
        where b.tied and b.before
            and k.source_name = any (b.changed_columns)
            and b.changed_by_associate_id is not distinct from a.changed_by_associate_id
            and (
                b.erased_columns is not null or a.erased_columns is not null
                or contactmirror_value(k.type, k.source_name, b.field_values -> k.source_name)
                    is not distinct from contactmirror_value(k.type, k.source_name, a.field_values -> k.source_name)
            )
    )
    union all
    select k.source_name
    from fact a
    cross join jsonb_each(a.field_values - a.changed_columns) g (source_name, value)
    join contact_columns k on k.source_name = g.source_name
    cross join lateral (
        -- The last mention before this Timestamp.
        select b.field_values -> k.source_name as value
        from around b
        where not b.tied and (b.field_values ? k.source_name or k.source_name = any (b.changed_columns || b.erased_columns))
        order by b.occurred_ticks desc, b.event_rank desc, b.event_id desc
        limit 1
    ) m
    where m.value is distinct from g.value
        and contactmirror_value(k.type, k.source_name, m.value) <> contactmirror_value(k.type, k.source_name, g.value)
        -- No other event at the same Timestamp names it, or has given the same value.
        and not exists (
            select
            from around b
            where b.tied
                and (
                    k.source_name = any (b.changed_columns)
                    or b.before and contactmirror_value(k.type, k.source_name, b.field_values -> k.source_name) = contactmirror_value(k.type, k.source_name, g.value)
                )
        ));
end;
-- +goose StatementEnd

comment on function contactmirror_irregular_changes(bigint) is 'What a row of contact_audit_log changed, of a contact with irregular rows: the columns that it names, and those that it noticed, computed from the contact''s facts.';

-- noticed_columns is right for contacts without irregular rows. Values are subqueries in
-- the select list, so that they cost only queries that read them.
create view contact_changes as
select c.context_identifier, c.contact_id, c.column_name, c.kind, c.occurred_at, c.not_before,
    c.old_value, c.new_value, c.old_value #>> '{}' as old_text, c.new_value #>> '{}' as new_text,
    c.value_known, case when c.value_known then 'event' end as value_from,
    c.changed_by_associate_id, c.event, c.event_id, c.outcome, c.origin, c.recorded_at, c.event_seq, c.audit_seq,
    c.occurred_ticks, c.event_rank
from (
    select a.context_identifier, a.contact_id, s.column_name, case when n.source_name = any (a.changed_columns) then 'changed' else 'noticed' end as kind, a.occurred_at,
        case when n.source_name <> all (a.changed_columns) then (
            select b.occurred_at
            from contact_audit_log b
            where b.context_identifier = a.context_identifier and b.contact_id = a.contact_id and b.outcome is not null
                and b.occurred_ticks < a.occurred_ticks and b.field_values ? s.source_name
            order by b.occurred_ticks desc
            limit 1
        ) end as not_before,
        (
            select contactmirror_value(s.type, s.source_name, b.field_values -> s.source_name)
            from contact_audit_log b
            where b.context_identifier = a.context_identifier and b.contact_id = a.contact_id and b.outcome is not null
                and b.occurred_ticks <= a.occurred_ticks
                and (b.occurred_ticks, contactmirror_rank(b.event), b.event_id) < (a.occurred_ticks, contactmirror_rank(a.event), a.event_id)
                and b.field_values ? s.source_name
                and (b.occurred_ticks < a.occurred_ticks or s.source_name = any (b.changed_columns))
            order by b.occurred_ticks desc, contactmirror_rank(b.event) desc, b.event_id desc
            limit 1
        ) as old_value,
        contactmirror_value(s.type, s.source_name, a.field_values -> s.source_name) as new_value,
        coalesce(a.field_values ? s.source_name, false) as value_known,
        case when n.source_name = any (a.changed_columns) then a.changed_by_associate_id end as changed_by_associate_id,
        a.event, a.event_id, a.outcome, a.origin, a.recorded_at, a.event_seq, a.audit_seq, a.occurred_ticks,
        contactmirror_rank(a.event) as event_rank
    from contact_audit_log a
    left join contact_tombstones t on t.context_identifier = a.context_identifier and t.contact_id = a.contact_id
    left join (
        select distinct i.context_identifier, i.contact_id
        from contact_audit_log i
        where i.irregular
    ) i on i.context_identifier = a.context_identifier and i.contact_id = a.contact_id
    cross join lateral unnest(case
        when i.contact_id is not null then contactmirror_irregular_changes(a.audit_seq)
        when a.erased_columns is not null then a.changed_columns
        else a.changed_columns || a.noticed_columns
    end) n (source_name)
    join contact_columns s on s.source_name = n.source_name and s.column_name <> 'contact_id'
    -- A hard delete is the last fact at its Timestamp.
    where a.outcome is not null and not a.hard_deleted and (t.contact_id is null or a.occurred_ticks <= t.occurred_ticks)
) c;

comment on view contact_changes is 'One line for each column that an event says has changed, and for each that changed although no event said so, in the source''s order also after late events, and up to the hard delete. Two events that say the same at the same Timestamp make one line. Name the tenant and the contact, or use contact_changes_between.';
comment on column contact_changes.context_identifier is 'SuperOffice''s ContextIdentifier, the tenant.';
comment on column contact_changes.contact_id is 'The contact.';
comment on column contact_changes.column_name is 'The column of contacts.';
comment on column contact_changes.kind is 'changed: the event names the column in its Changes; noticed: it gives a value other than the last one known, and no event named the column. An event was lost, or SuperOffice changed the column without one.';
comment on column contact_changes.occurred_at is 'SuperOffice''s Timestamp of the event, cut to microseconds. What was noticed changed after not_before and not later than this.';
comment on column contact_changes.not_before is 'Of a noticed change: the Timestamp of the last event that gave the old value.';
comment on column contact_changes.old_value is 'The value last known before; SQL''s NULL where none was, JSON''s null where it was NULL. Dates are in UTC.';
comment on column contact_changes.new_value is 'The value that it changed to; SQL''s NULL where it is not known.';
comment on column contact_changes.old_text is 'old_value as text.';
comment on column contact_changes.new_text is 'new_value as text.';
comment on column contact_changes.value_known is 'Whether new_value is known.';
comment on column contact_changes.value_from is 'Where new_value comes from: event, the event itself; NULL where it is not known.';
comment on column contact_changes.changed_by_associate_id is 'Who caused the event; NULL where it does not say, and of a noticed change: it is not known who made it.';
comment on column contact_changes.event is 'SuperOffice''s name of the event.';
comment on column contact_changes.event_id is 'SuperOffice''s EventId.';
comment on column contact_changes.outcome is 'What became of the event: applied, no_op, superseded, after_delete.';
comment on column contact_changes.origin is 'Where the fact came from: webhook, backfill, fetch or reconcile.';
comment on column contact_changes.recorded_at is 'When the event was applied, by the database''s clock.';
comment on column contact_changes.event_seq is 'The event in webhook_events; NULL where the fact did not come by webhook.';
comment on column contact_changes.audit_seq is 'The row in contact_audit_log.';
comment on column contact_changes.occurred_ticks is 'SuperOffice''s Timestamp in units of 100 ns since 1970-01-01 UTC.';
comment on column contact_changes.event_rank is 'Order of the event''s kind among events of the same instant.';

-- The setting keeps the function from being inlined: compiling the plan (jit) would
-- take longer than a day's changes. "offset 0" computes each value once.
-- +goose StatementBegin
create function contactmirror_known_before(tenant text, contact bigint, ticks bigint, event text, event_id uuid) returns jsonb
language sql stable parallel safe
cost 10000 -- so that it is called for the rows of a page only
set jit = off
begin atomic
    with facts as (
        select f.*, row_number() over (order by f.occurred_ticks, contactmirror_rank(f.event), f.event_id) as place
        from (
            select a.event, a.event_id, a.occurred_at, a.occurred_ticks, a.changed_by_associate_id, a.soft_deleted, a.field_values,
                a.changed_columns || a.unreadable_columns || coalesce(a.erased_columns, '{}') as named
            from contact_audit_log a
            where a.context_identifier = contactmirror_known_before.tenant and a.contact_id = contactmirror_known_before.contact
                and a.outcome is not null and a.occurred_ticks <= contactmirror_known_before.ticks
                and (a.occurred_ticks, contactmirror_rank(a.event), a.event_id)
                    < (contactmirror_known_before.ticks, contactmirror_rank(contactmirror_known_before.event), contactmirror_known_before.event_id)
            offset 0 -- stays a subquery, and so an index scan
        ) f
    ), folded as (
        select contactmirror_values(f.field_values order by f.place) as known,
            contactmirror_settled(f.named, f.field_values order by f.place) as settled,
            coalesce(max(f.place) filter (where not f.soft_deleted), 0) as restored
        from facts f
        having count(*) > 0
    )
    select jsonb_build_object(
            'context_identifier', contactmirror_known_before.tenant, 'contact_id', contactmirror_known_before.contact,
            'soft_deleted', bin.since is not null, 'soft_deleted_at', contactmirror_utc(bin.since), 'pending_columns', c.pending,
            'last_event', l.event, 'last_event_id', l.event_id, 'last_event_at', contactmirror_utc(l.occurred_at),
            'last_event_ticks', l.occurred_ticks, 'last_changed_by_associate_id', l.changed_by_associate_id
        ) || c.known
    from folded d
    cross join lateral (
        select f.*
        from facts f
        order by f.place desc
        limit 1
    ) l
    cross join lateral (
        -- The stretch in the recycle bin that has not ended.
        select coalesce(
            (array_agg(s.deleted_date order by s.place desc) filter (where s.deleted_date is not null))[1],
            (array_agg(s.occurred_at order by s.place))[1]
        ) as since
        from (
            select f.place, f.occurred_at, contactmirror_time(f.field_values ->> 'DeletedDate') at time zone 'UTC' as deleted_date
            from facts f
            where f.soft_deleted and f.place > d.restored
        ) s
    ) bin
    cross join lateral (
        select jsonb_object_agg(n.column_name, coalesce(contactmirror_value(n.type, n.source_name, d.known -> n.source_name), 'null')) as known,
            coalesce(to_jsonb(array_agg(n.column_name order by n.place) filter (where not d.settled ? n.source_name)), '[]') as pending
        from (select column_name, source_name, type, row_number() over () as place from contact_columns) n
        where n.column_name <> 'contact_id'
    ) c;
end;
-- +goose StatementEnd

comment on function contactmirror_known_before(text, bigint, bigint, text, uuid) is 'A contact as its facts before an event (ticks, event, event_id) say it was, in the source''s order: a row of contacts as JSON, without first_seen_at and mirrored_at. NULL where there is no fact before it.';

-- +goose StatementBegin
create function contact_changes_between(context_identifier text, "from" timestamptz, "to" timestamptz) returns setof contact_changes
language sql stable parallel safe
set jit = off
begin atomic
    select c.context_identifier, c.contact_id, c.column_name, c.kind, c.occurred_at, c.not_before,
        c.old_value, c.new_value, c.old_value #>> '{}' as old_text, c.new_value #>> '{}' as new_text, c.value_known, c.value_from,
        c.changed_by_associate_id, c.event, c.event_id, c.outcome, c.origin, c.recorded_at, c.event_seq, c.audit_seq,
        c.occurred_ticks, c.event_rank
    from (
        select c.context_identifier, c.contact_id, c.column_name, c.kind, c.occurred_at, c.not_before,
            c.old_value, c.new_value, c.value_known, c.value_from,
            c.changed_by_associate_id, c.event, c.event_id, c.outcome, c.origin, c.recorded_at, c.event_seq, c.audit_seq,
            c.occurred_ticks, c.event_rank
        from contact_changes c
        where c.context_identifier = contact_changes_between.context_identifier
            and c.occurred_at >= contact_changes_between."from" and c.occurred_at < contact_changes_between."to"
        offset 0
    ) c;
end;
-- +goose StatementEnd

comment on function contact_changes_between(text, timestamptz, timestamptz) is 'contact_changes_between(context_identifier, from, to): the lines of contact_changes of a tenant whose event occurred from one time on and before another. Reads only the events between, and what their contacts'' values were before.';

create view deleted_contacts as
select d.context_identifier, d.contact_id, d.occurred_at as deleted_at,
    case when d.hard_deleted then 'hard' else 'soft' end as deletion,
    d.changed_by_associate_id as deleted_by_associate_id,
    case when t.contact_id is null then c.name else (
        select n.field_values ->> 'name'
        from contact_audit_log n
        where n.context_identifier = d.context_identifier and n.contact_id = d.contact_id
            and n.outcome is not null and n.field_values ? 'name'
            and n.occurred_ticks <= t.occurred_ticks
            and (n.occurred_ticks, contactmirror_rank(n.event), n.event_id) < (t.occurred_ticks, contactmirror_rank('contact.deleted'), t.event_id)
        order by n.occurred_ticks desc, contactmirror_rank(n.event) desc, n.event_id desc
        limit 1
    ) end as name,
    case when t.contact_id is null then contactmirror_row(c)
        else contactmirror_known_before(d.context_identifier, d.contact_id, t.occurred_ticks, 'contact.deleted', t.event_id)
    end as last_known,
    case when d.soft_deleted then (
        select n.occurred_at
        from contact_audit_log n
        where n.context_identifier = d.context_identifier and n.contact_id = d.contact_id
            and n.outcome is not null and not n.soft_deleted
            and n.occurred_ticks >= d.occurred_ticks
            and (n.occurred_ticks, contactmirror_rank(n.event), n.event_id) > (d.occurred_ticks, contactmirror_rank(d.event), d.event_id)
            and (t.occurred_ticks is null or (n.occurred_ticks, contactmirror_rank(n.event), n.event_id)
                < (t.occurred_ticks, contactmirror_rank('contact.deleted'), t.event_id))
        order by n.occurred_ticks, contactmirror_rank(n.event), n.event_id
        limit 1
    ) end as restored_at,
    t.deleted_at as hard_deleted_at,
    d.event, d.event_id, d.event_seq, d.audit_seq, d.origin,
    d.occurred_at, d.occurred_ticks, contactmirror_rank(d.event) as event_rank
from contact_audit_log d
left join contact_tombstones t on t.context_identifier = d.context_identifier and t.contact_id = d.contact_id
left join contacts c on c.context_identifier = d.context_identifier and c.contact_id = d.contact_id
where (d.soft_deleted or d.hard_deleted)
    and case
        when d.hard_deleted then (d.occurred_ticks, d.event_id) = (t.occurred_ticks, t.event_id)
        -- The first of a stretch in the recycle bin, and not said of a dead contact.
        else (t.occurred_ticks is null or (d.occurred_ticks, contactmirror_rank(d.event), d.event_id)
                < (t.occurred_ticks, contactmirror_rank('contact.deleted'), t.event_id))
            and not coalesce((
                select b.soft_deleted
                from contact_audit_log b
                where b.context_identifier = d.context_identifier and b.contact_id = d.contact_id
                    and b.outcome is not null and b.soft_deleted is not null
                    and b.occurred_ticks <= d.occurred_ticks
                    and (b.occurred_ticks, contactmirror_rank(b.event), b.event_id) < (d.occurred_ticks, contactmirror_rank(d.event), d.event_id)
                order by b.occurred_ticks desc, contactmirror_rank(b.event) desc, b.event_id desc
                limit 1
            ), false)
    end;

comment on view deleted_contacts is 'One line for each deletion: each time a contact came into the recycle bin, and its hard delete (of several the earliest).';
comment on column deleted_contacts.context_identifier is 'SuperOffice''s ContextIdentifier, the tenant.';
comment on column deleted_contacts.contact_id is 'The contact.';
comment on column deleted_contacts.deleted_at is 'When: SuperOffice''s Timestamp of the event, cut to microseconds.';
comment on column deleted_contacts.deletion is 'soft: into the recycle bin; hard: permanently.';
comment on column deleted_contacts.deleted_by_associate_id is 'Who caused the event; NULL where it does not say.';
comment on column deleted_contacts.name is 'The contact''s name, as in last_known; NULL where it was never known.';
comment on column deleted_contacts.last_known is 'The contact''s row, by column name: as it is in contacts, or as it was just before the hard delete in the source''s order, from all facts that have arrived by now. NULL where there is none before it. contact_audit_log.last_known is what was known when the delete was applied.';
comment on column deleted_contacts.restored_at is 'Of a soft deletion: when the contact came back out of the recycle bin; NULL where it did not.';
comment on column deleted_contacts.hard_deleted_at is 'When the contact was hard-deleted; NULL where it was not.';
comment on column deleted_contacts.event is 'SuperOffice''s name of the event that says so.';
comment on column deleted_contacts.event_id is 'Its EventId.';
comment on column deleted_contacts.event_seq is 'It in webhook_events; NULL where the fact did not come by webhook.';
comment on column deleted_contacts.audit_seq is 'It in contact_audit_log.';
comment on column deleted_contacts.origin is 'Where the fact came from: webhook, backfill, fetch or reconcile.';
comment on column deleted_contacts.occurred_at is 'The same as deleted_at.';
comment on column deleted_contacts.occurred_ticks is 'SuperOffice''s Timestamp in units of 100 ns since 1970-01-01 UTC.';
comment on column deleted_contacts.event_rank is 'Order of the event''s kind among events of the same instant.';

create view restorable_contacts as
select c.context_identifier, c.contact_id, c.name, c.department, c.soft_deleted_at,
    -- A day of an interval is as long as the session's zone makes it; hours are not.
    c.soft_deleted_at + interval '336 hours' as expires_at,
    least(14, greatest(0, ceil(extract(epoch from c.soft_deleted_at + interval '336 hours' - now()) / 8640) / 10))::numeric(3, 1) as days_left,
    c.last_changed_by_associate_id, c.pending_columns
from contacts c
where c.soft_deleted;

comment on view restorable_contacts is 'Contacts in the recycle bin, from which SuperOffice can restore them. It empties the bin after 14 days, unless its preference SoftDeleteRetention says otherwise.';
comment on column restorable_contacts.context_identifier is 'SuperOffice''s ContextIdentifier, the tenant.';
comment on column restorable_contacts.contact_id is 'The contact.';
comment on column restorable_contacts.name is 'Its name, as far as known.';
comment on column restorable_contacts.department is 'Its department, as far as known.';
comment on column restorable_contacts.soft_deleted_at is 'Since when in the recycle bin.';
comment on column restorable_contacts.expires_at is '14 times 24 hours after soft_deleted_at.';
comment on column restorable_contacts.days_left is 'Days until expires_at, rounded up to a tenth of 24 hours; at most 14. 0 once it has passed: then SuperOffice has not said yet that it deleted the contact.';
comment on column restorable_contacts.last_changed_by_associate_id is 'Who caused the newest event; NULL where it does not say.';
comment on column restorable_contacts.pending_columns is 'Columns whose current value is not known here.';

create view pending_contacts as
select c.context_identifier, c.contact_id, c.name, c.department, p.stale_columns, p.unknown_columns,
    c.soft_deleted, c.last_event_at, c.last_changed_by_associate_id
from contacts c
join (
    -- Grouped in the order of an index that holds these columns, and of the contacts.
    select a.context_identifier, a.contact_id, bit_or(a.given_columns) as columns
    from contact_audit_log a
    where a.outcome is not null
    group by a.context_identifier, a.contact_id
) given on given.context_identifier = c.context_identifier and given.contact_id = c.contact_id
cross join lateral (
    select coalesce(array_agg(n.column_name order by n.place) filter (where n.column_name = any (g.names)), '{}') as stale_columns,
        coalesce(array_agg(n.column_name order by n.place) filter (where n.column_name <> all (g.names)), '{}') as unknown_columns
    from (select contactmirror_given(given.columns) as names) g
    cross join unnest(c.pending_columns) with ordinality n (column_name, place)
) p
where c.pending_columns <> '{}'
    -- Most contacts were given what SuperOffice 11 sends, and the rest is pending: these
    -- have no stale column, which comparing the two lists finds out faster.
    and (given.columns & ~contactmirror_sent() <> 0 or c.pending_columns <> array[
        'name', 'kananame', 'department', 'number1', 'number2', 'org_nr', 'sound_ex', 'dbi_key',
        'updated_associate_id', 'text_id', 'mother_id', 'group_id', 'tz_location_id',
        'ticket_priority_id', 'support_language_id', 'support_associate_id', 'support_person_id',
        'dbi_agent_id', 'updated_count', 'active_erp_links', 'xstop', 'nomailing',
        'dbi_last_syncronized', 'dbi_last_modified'
    ])
    and c.pending_columns && contactmirror_given(given.columns);

comment on view pending_contacts is 'Contacts with a stale column: one that an event named, or gave a value that can''t be read, since the value in contacts was given.';
comment on column pending_contacts.context_identifier is 'SuperOffice''s ContextIdentifier, the tenant.';
comment on column pending_contacts.contact_id is 'The contact.';
comment on column pending_contacts.name is 'Its name, as far as known.';
comment on column pending_contacts.department is 'Its department, as far as known.';
comment on column pending_contacts.stale_columns is 'The stale columns: contacts has an older value, which may be NULL.';
comment on column pending_contacts.unknown_columns is 'Columns of which no value was ever known, or none since the contact was erased.';
comment on column pending_contacts.soft_deleted is 'In SuperOffice''s recycle bin.';
comment on column pending_contacts.last_event_at is 'Timestamp of the newest event.';
comment on column pending_contacts.last_changed_by_associate_id is 'Who caused it; NULL where it does not say.';

-- +goose StatementBegin
create function column_provenance(context_identifier text, contact_id bigint) returns table (
    column_name text, source_name text, value jsonb, pending boolean, occurred_at timestamptz, event text, event_id uuid,
    changed_by_associate_id bigint, origin text, pending_since timestamptz
)
language sql stable parallel safe
rows 37
-- To compile it takes longer than to run it: the planner overrates it.
set jit = off
begin atomic
    with live as (
        select
        from contacts c
        where contactmirror_require_tenant(column_provenance.context_identifier)
            and c.context_identifier = column_provenance.context_identifier and c.contact_id = column_provenance.contact_id
        limit 1
    ), facts as (
        select a.*, row_number() over (order by a.occurred_ticks, contactmirror_rank(a.event), a.event_id) as place
        from live
        cross join lateral (
            select l.event, l.event_id, l.occurred_at, l.occurred_ticks, l.changed_by_associate_id, l.origin,
                l.changed_columns, l.field_values, l.unreadable_columns, l.erased_columns
            from contact_audit_log l
            where l.context_identifier = column_provenance.context_identifier and l.contact_id = column_provenance.contact_id
                and l.outcome is not null
            offset 0 -- stays a subquery, and so an index scan
        ) a
    )
    select s.column_name, s.source_name, g.value, g.value is null or n.place is not null,
        g.occurred_at, g.event, g.event_id, g.changed_by_associate_id, g.origin, n.occurred_at
    from live
    cross join contact_columns s
    left join lateral (
        -- The last fact that gives the column a value.
        select f.*, contactmirror_value(s.type, s.source_name, f.field_values -> s.source_name) as value
        from facts f
        where f.field_values ? s.source_name
        order by f.place desc
        limit 1
    ) g on true
    left join lateral (
        -- The first after it that says no more than that it changed.
        select f.place, f.occurred_at
        from facts f
        where f.place > coalesce(g.place, 0)
            and s.source_name = any (f.changed_columns || f.unreadable_columns || coalesce(f.erased_columns, '{}'))
        order by f.place
        limit 1
    ) n on true
    where s.column_name <> 'contact_id';
end;
-- +goose StatementEnd

comment on function column_provenance(text, bigint) is 'column_provenance(context_identifier, contact_id): where each value of a live contact comes from: the event that gave it, when, by whom; and whether it is pending, since when an event named the column without a value (NULL where none has). value is SQL''s NULL where none was ever given. No rows where the contact has none in contacts; fails for an unknown tenant.';

-- +goose StatementBegin
create function contactmirror_vouched(tenant text, vouched_for text[], vouched_except text[]) returns boolean
language sql immutable
return vouched_for is null or tenant = any (vouched_for) or '*' = any (vouched_for) and not coalesce(tenant = any (vouched_except), false);
-- +goose StatementEnd

comment on function contactmirror_vouched(text, text[], text[]) is 'Whether an unreadable delivery may be the tenant''s: see quarantined_deliveries.vouched_for (vouched_for, vouched_except).';

create view mirror_waiting as
-- Not only the first event of each tenant and shard: events from a spool are older
-- than those that were queued before them.
select context_identifier, 'queue' as place, case context_identifier when '' then '""' else context_identifier end as name,
    min(received_at) as since, null::uuid as process, true as delayed, null::text[] as vouched_for, null::text[] as vouched_except
from sync_queue
group by context_identifier
union all
select context_identifier, 'quarantine', quarantine_seq::text, received_at, null, true, vouched_for, vouched_except
from quarantined_deliveries
where resolved_at is null
union all
select null, 'spool', format('%s:%s %s', host, pid, process),
    least(
        coalesce(spool_oldest_at, case when spool_records > 0 or spool_error is not null then observed_at - interval '2 seconds' end),
        spool_moved_aside_oldest_at
    ),
    process, true, null, null
from processes
where (spool_oldest_at is not null or spool_records > 0 or spool_moved_aside_files > 0 or spool_error is not null)
    and database_identity = (select contactmirror_database_identity())
union all
-- Nothing received within the last two seconds before a heartbeat need be in the
-- database or in the spool yet, for no answer takes longer.
select null, 'receiver', format('%s:%s %s', host, pid, process),
    observed_at - interval '2 seconds', process, heartbeat_at < now() - interval '30 seconds', null, null
from processes
where 'receive' = any (roles) and database_identity = (select contactmirror_database_identity());

comment on view mirror_waiting is 'What keeps the mirror from being complete: for each place where a delivery may wait, the receipt of the oldest that may not have been applied.';
comment on column mirror_waiting.context_identifier is 'The tenant; NULL where it may be any, or one of vouched_for.';
comment on column mirror_waiting.place is 'queue; quarantine: an open entry; spool: deliveries in the spool of a process, in files moved aside there, or in one that the process can''t open; receiver: a process with the role receive, whose deliveries are known up to its last heartbeat only.';
comment on column mirror_waiting.name is 'The tenant of the queue; quarantine_seq; host, process id and identity of the process.';
comment on column mirror_waiting.since is 'Receipt time from which on something may be missing.';
comment on column mirror_waiting.process is 'The process, for spool and receiver.';
comment on column mirror_waiting.delayed is 'False for a receiver with a heartbeat within the last 30 seconds.';
comment on column mirror_waiting.vouched_for is 'As in quarantined_deliveries.';
comment on column mirror_waiting.vouched_except is 'As in quarantined_deliveries.';

-- What is stored never goes back, so nothing is computed from older rows than the
-- ones that the last call saw: the row is locked first, and read by later statements.
--
-- The receivers' rows are read before queue and quarantine. A delivery that is in
-- neither then is in a spool, or in a request that its receiver's next heartbeat
-- covers; and one that has left a spool is in the database.
-- +goose StatementBegin
create function contactmirror_advance_freshness() returns boolean
language plpgsql
set jit = off
as $$
declare
    identity constant text := contactmirror_database_identity();
    f        freshness;
    clock    timestamptz;
    oldest   timestamptz; -- what the receivers' heartbeats allow
    newest   timestamptz;
    spooled  timestamptz;
    received timestamptz;
    everyone timestamptz; -- for a tenant that no row names
begin
    perform contactmirror_require_read_committed();
    insert into freshness (id, database_identity) values (1, identity) on conflict (id) do nothing;
    select * into f from freshness r where r.id = 1 for update skip locked;
    if not found then
        return false;
    end if;
    clock := clock_timestamp();
    if f.database_identity <> identity then -- a restored dump: receivers of the other database say nothing
        f.last_heartbeat_at := f.complete_through;
    end if;

    select min(w.since) filter (where w.place = 'receiver'), max(w.since) filter (where w.place = 'receiver'),
        min(w.since) filter (where w.place = 'spool')
    into oldest, newest, spooled
    from mirror_waiting w
    where w.place in ('receiver', 'spool');
    f.last_heartbeat_at := greatest(f.last_heartbeat_at, newest);
    received := coalesce(oldest, f.last_heartbeat_at);
    if received is not null then
        received := least(received, spooled, clock);
    end if;

    -- Events whose commit takes longer than their receiver waits for it are in no
    -- spool if that could not take them either. They are seen once it has ended.
    select format('%s of %s in %s', coalesce('with process id ' || l.pid, 'prepared'), coalesce(a.usename, 'unknown'), a.datname)
    into f.waits_for
    from pg_locks l
    left join pg_stat_activity a on a.pid = l.pid
    where l.locktype = 'relation' and l.database = (select d.oid from pg_database d where d.datname = current_database())
        and l.relation = 'webhook_events'::regclass and l.mode = 'RowExclusiveLock'
        and l.pid is distinct from pg_backend_pid()
        and coalesce(a.xact_start, '-infinity') < clock - interval '500 milliseconds'
    order by a.xact_start
    limit 1;

    if received is not null and f.waits_for is null then
        select least(received, min(w.since)) into everyone
        from mirror_waiting w
        where w.place = 'quarantine' and w.context_identifier is null and (w.vouched_for is null or '*' = any (w.vouched_for));
        everyone := greatest(f.complete_through, everyone);

        with waiting as materialized (
            select w.context_identifier, w.since, w.vouched_for, w.vouched_except
            from mirror_waiting w
            where w.place in ('queue', 'quarantine')
        ), known as (
            select w.context_identifier, min(w.since) as since
            from waiting w
            where w.context_identifier is not null
            group by w.context_identifier
        ), named as (
            select k.context_identifier from known k
            union
            select v.tenant from waiting w cross join unnest(w.vouched_for || w.vouched_except) as v (tenant) where v.tenant <> '*'
            union
            select t.context_identifier from tenant_freshness t where t.complete_through is not null
        ), reached as (
            select n.context_identifier, greatest(
                coalesce(t.complete_through, f.complete_through),
                least(received, k.since, (
                    select min(w.since)
                    from waiting w
                    where w.context_identifier is null
                        and contactmirror_vouched(n.context_identifier, w.vouched_for, w.vouched_except)
                ))
            ) as through
            from named n
            left join tenant_freshness t using (context_identifier)
            left join known k using (context_identifier)
        )
        insert into tenant_freshness as t (context_identifier, complete_through)
        select r.context_identifier, nullif(r.through, everyone)
        from reached r
        where r.through <> everyone or exists (
            select from tenant_freshness s where s.context_identifier = r.context_identifier and s.complete_through is not null
        )
        order by r.context_identifier
        on conflict (context_identifier) do update
        set complete_through = excluded.complete_through
        where t.complete_through is distinct from excluded.complete_through;
        delete from tenant_freshness t where t.complete_through is null and t.late_deliveries = 0;
        f.complete_through := everyone;
    end if;

    update freshness r
    set database_identity = identity,
        complete_through = f.complete_through,
        last_heartbeat_at = f.last_heartbeat_at,
        waits_for = f.waits_for,
        advanced_at = clock
    where r.id = 1;
    return true;
end
$$;
-- +goose StatementEnd

comment on function contactmirror_advance_freshness() is 'Brings complete_through of every tenant up to date, and never takes it back. Returns false, and does nothing, while another session does it. Reads the whole queue.';

create view mirror_holding as
with heartbeat as (
    select count(*) as receivers,
        coalesce(
            max(since) filter (where not delayed),
            (select last_heartbeat_at from freshness where id = 1),
            'infinity'
        ) as newest
    from mirror_waiting
    where place = 'receiver'
)
-- The ordinary lag of heartbeats holds nothing.
select w.context_identifier, w.place, w.place || ' ' || w.name as holder, w.since, w.process, w.vouched_for, w.vouched_except
from mirror_waiting w
cross join heartbeat h
where w.delayed and (w.place = 'receiver' or w.since <= h.newest) or w.since < h.newest - interval '30 seconds'
union all
select null, 'receiver', 'receiver (none is running)', h.newest, null, null, null
from heartbeat h
where h.receivers = 0
union all
select null, 'transaction', 'transaction ' || waits_for, advanced_at, null, null, null
from freshness
where waits_for is not null;

comment on view mirror_holding is 'What holds complete_through back beyond the ordinary lag of heartbeats.';
comment on column mirror_holding.context_identifier is 'As in mirror_waiting.';
comment on column mirror_holding.place is 'receiver, spool, queue, quarantine or transaction.';
comment on column mirror_holding.holder is 'The place and its name.';
comment on column mirror_holding.since is 'Receipt time from which on something may be missing.';
comment on column mirror_holding.process is 'The process, for spool and receiver.';
comment on column mirror_holding.vouched_for is 'As in quarantined_deliveries.';
comment on column mirror_holding.vouched_except is 'As in quarantined_deliveries.';

create view mirror_freshness as
with holding as materialized (
    select context_identifier, place, holder, since, process, vouched_for, vouched_except
    from mirror_holding
), heartbeat as (
    select count(*) as receivers_alive
    from mirror_waiting
    where place = 'receiver' and not delayed
), tenants as (
    select context_identifier, max(newest_received_at) as newest_received_at, max(newest_occurred_at) as newest_occurred_at,
        min(mirrored_since) as mirrored_since
    from (
        select context_identifier, newest_received_at, newest_occurred_at, mirrored_since
        from sealed_accounts
        union all
        select context_identifier, newest_received_at, newest_occurred_at, mirrored_since
        from contactmirror_unsealed_events()
    ) part
    where mirrored_since is not null -- else no contact event has come
    group by context_identifier
)
select t.context_identifier, coalesce(s.complete_through, f.complete_through) as complete_through,
    coalesce(w.held_by, '{}') as held_by, f.advanced_at as as_of, h.receivers_alive, t.mirrored_since, t.newest_received_at, t.newest_occurred_at,
    coalesce(q.backlog, 0) as backlog, q.oldest_queued_at,
    coalesce(now() - q.oldest_queued_at, interval '0') as lag,
    coalesce(o.open_quarantine, 0) as open_quarantine,
    coalesce(s.late_deliveries, 0) as late_deliveries
from tenants t
cross join heartbeat h
left join freshness f on f.id = 1
left join tenant_freshness s using (context_identifier)
left join (
    select context_identifier, count(*) as backlog, min(received_at) as oldest_queued_at
    from sync_queue
    group by context_identifier
) q using (context_identifier)
left join (
    select context_identifier, count(*) as open_quarantine
    from quarantined_deliveries
    where resolved_at is null
    group by context_identifier
) o using (context_identifier)
left join lateral (
    select array_agg(first.holder order by first.since, first.holder) as held_by
    from (
        -- Of the entries in quarantine only the oldest.
        select distinct on (g.place, g.process) g.holder, g.since
        from holding g
        where g.context_identifier = t.context_identifier
            or g.context_identifier is null and contactmirror_vouched(t.context_identifier, g.vouched_for, g.vouched_except)
        order by g.place, g.process, g.since, g.holder
    ) first
) w on true;

comment on view mirror_freshness is 'How fresh the mirror is, for each tenant of which a contact event was accepted. A report is final for everything received before complete_through.';
comment on column mirror_freshness.context_identifier is 'SuperOffice''s ContextIdentifier, the tenant.';
comment on column mirror_freshness.complete_through is 'Receipt time before which everything is applied that the receivers of this mirror were sent. It never goes back in the life of one database. NULL before the first heartbeat of a receiver. A receiver without a recent heartbeat holds it back until its spool drains or contactmirror processes forget removes it; a spool file that was moved aside, until contactmirror spool retry or discard handles it.';
comment on column mirror_freshness.held_by is 'What holds complete_through back beyond the ordinary lag of heartbeats, the oldest first: receiver, spool, queue, quarantine or transaction, and its name. Of the entries in quarantine only the oldest is named. An event that is late is named too, although complete_through has passed it.';
comment on column mirror_freshness.as_of is 'When complete_through was last brought up to date: every running process tries to every 2 seconds.';
comment on column mirror_freshness.receivers_alive is 'Processes with the role receive that had a heartbeat within the last 30 seconds.';
comment on column mirror_freshness.mirrored_since is 'When the first contact event of the tenant was received.';
comment on column mirror_freshness.newest_received_at is 'When the last contact event was received, by the receiver''s clock.';
comment on column mirror_freshness.newest_occurred_at is 'The greatest Timestamp of a contact event.';
comment on column mirror_freshness.backlog is 'Events that are still to be applied.';
comment on column mirror_freshness.oldest_queued_at is 'When the oldest of them arrived; NULL where nothing waits.';
comment on column mirror_freshness.lag is 'For how long it has waited.';
comment on column mirror_freshness.open_quarantine is 'The tenant''s entries in quarantine that nobody has resolved.';
comment on column mirror_freshness.late_deliveries is 'Events that were stored when complete_through had passed their receipt: a receiver that had not reached the database since its start accepted them while another one ran, or its clock is behind.';

-- +goose Down

drop view mirror_freshness;
drop view mirror_holding;
drop function contactmirror_advance_freshness();
drop view mirror_waiting;
drop function contactmirror_vouched(text, text[], text[]);
drop function column_provenance(text, bigint);
drop view pending_contacts;
drop view restorable_contacts;
drop view deleted_contacts;
drop function contactmirror_known_before(text, bigint, bigint, text, uuid);
drop function contact_changes_between(text, timestamptz, timestamptz);
drop view contact_changes;
drop function contactmirror_irregular_changes(bigint);
drop view contact_timeline;
