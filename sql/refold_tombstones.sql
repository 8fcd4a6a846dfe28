-- The tombstones of some contacts, by their place in the arrays, from 1.
select k.place, t.deleted_at, t.event_seq, t.occurred_ticks, t.event_id
from unnest(@context_identifiers::text[], @contact_ids::bigint[]) with ordinality as k (context_identifier, contact_id, place)
cross join lateral (
    select *
    from contact_tombstones d
    where d.context_identifier = k.context_identifier and d.contact_id = k.contact_id
    limit 1
) t
