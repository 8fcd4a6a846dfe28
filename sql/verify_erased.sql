-- Facts without values that no erasure in the log accounts for, and facts with values
-- that one has erased: how many, and some of them.
with erasure as (
    -- From the erasure until its lifting, by place in the chain and by time.
    select x.context_identifier, x.contact_id, x.lifted_place, x.lifted_at
    from (
        select a.context_identifier, a.contact_id, a.event,
            lead(a.chain_seq) over following as lifted_place,
            lead(a.recorded_at) over following as lifted_at
        from contact_audit_log a
        where a.outcome is null and (@context_identifier::text is null or a.context_identifier = @context_identifier::text)
        window following as (partition by a.context_identifier, a.contact_id order by a.chain_seq)
    ) x
    where x.event = 'mirror.erased'
), last_lifted as (
    -- A fact has no values if it was applied, or received, before the last lifting.
    select context_identifier, contact_id, max(coalesce(lifted_place, 9223372036854775807)) as place, max(coalesce(lifted_at, 'infinity')) as at
    from erasure
    group by context_identifier, contact_id
), fact as (
    select a.audit_seq, a.event_seq, a.context_identifier, a.contact_id, a.received_at, a.erased_columns is not null as erased,
        num_nonnulls(a.field_values, a.id_values, a.last_known, a.salt) > 0 or a.given_columns <> 0 as has_values,
        coalesce(a.chain_seq < l.place or a.received_at <= l.at, false) as covered
    from contact_audit_log a
    left join last_lifted l on l.context_identifier = a.context_identifier and l.contact_id = a.contact_id
    where a.outcome is not null and (a.erased_columns is not null or l.place is not null)
        and (@context_identifier::text is null or a.context_identifier = @context_identifier::text)
), compared as (
    select f.audit_seq, f.context_identifier, f.contact_id,
        case
            when f.erased and f.has_values then 'its values were erased, and it has some'
            when f.covered and not f.erased then 'the log says that its values were erased, and it has them'
            -- What was in quarantine when the contact was erased stays without values,
            -- though its receiver's clock was ahead of the lifting.
            when f.erased and not f.covered and not exists (
                select
                from quarantined_deliveries q
                where q.bytes_removed_at is not null
                    and (q.event_seq = f.event_seq
                        or q.event_seq is null and q.resolution = 'retried' and q.received_at = f.received_at and q.context_identifier = f.context_identifier)
            ) then 'its values are erased, and no erasure in the log erased them'
        end as difference
    from fact f
)
select audit_seq, context_identifier, contact_id, difference, count(*) over () as total
from compared
where difference is not null
order by audit_seq
limit @some::integer
