-- Writes the tombstones of the shadow.
insert into contact_tombstones (context_identifier, contact_id, deleted_at, event_seq, occurred_ticks, event_id)
select s.context_identifier, s.contact_id, s.deleted_at, s.event_seq, s.occurred_ticks, s.event_id
from rebuild_shadow s
where s.deleted_at is not null and s.tombstone_wrong
on conflict (context_identifier, contact_id) do update
set deleted_at = excluded.deleted_at,
    event_seq = excluded.event_seq,
    occurred_ticks = excluded.occurred_ticks,
    event_id = excluded.event_id
