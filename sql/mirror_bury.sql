-- Makes tombstones, or moves them to an earlier hard delete.
insert into contact_tombstones (context_identifier, contact_id, deleted_at, event_seq, occurred_ticks, event_id)
select context_identifier, contact_id, deleted_at, event_seq, occurred_ticks, event_id
from unnest(
    @context_identifiers::text[], @contact_ids::bigint[], @deleted_at::timestamptz[],
    @event_seqs::bigint[], @occurred_ticks::bigint[], @event_ids::uuid[]
) as t (context_identifier, contact_id, deleted_at, event_seq, occurred_ticks, event_id)
on conflict (context_identifier, contact_id) do update
set deleted_at = excluded.deleted_at,
    event_seq = excluded.event_seq,
    occurred_ticks = excluded.occurred_ticks,
    event_id = excluded.event_id
