-- The tombstones of some contacts, by their place in the arrays, from 1; and,
-- with no event, the places of those that have been erased.
select k.place, t.occurred_ticks, t.event_id
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
select k.place, null::bigint, null::uuid
from (
    select generate_subscripts(@contact_ids::bigint[], 1)::bigint as place,
        unnest(@context_identifiers::text[]) as context_identifier, unnest(@contact_ids::bigint[]) as contact_id
) k
cross join lateral (
    select
    from erasures e
    where e.context_identifier = k.context_identifier and e.contact_id = k.contact_id and e.lifted_at is null
    limit 1
) e
where (select exists (select from erasures where lifted_at is null)) -- asked once, and as a rule all there is to it
