-- The tombstones of some contacts, by their place in the arrays, from 1; and, with no
-- event, of those that have been erased, up to which receipt values are erased.
select k.place, t.occurred_ticks, t.event_id, null::timestamptz as erased_through
from (
    select generate_subscripts(@contact_ids::bigint[], 1)::bigint as place,
        unnest(@context_identifiers::text[]) as context_identifier, unnest(@contact_ids::bigint[]) as contact_id
) k
cross join lateral (
    select *
    from contact_tombstones d
    where d.context_identifier = k.context_identifier and d.contact_id = k.contact_id
    limit 1
) t
union all
select k.place, null::bigint, null::uuid, e.erased_through
from (
    select generate_subscripts(@contact_ids::bigint[], 1)::bigint as place,
        unnest(@context_identifiers::text[]) as context_identifier, unnest(@contact_ids::bigint[]) as contact_id
) k
cross join lateral (
    select max(coalesce(x.lifted_at, 'infinity')) as erased_through
    from erasures x
    where x.context_identifier = k.context_identifier and x.contact_id = k.contact_id
    having count(*) > 0
) e
where (select exists (select from erasures)) -- asked once, and as a rule all there is to it
