-- Repeated deliveries that can't have come: how many, and some of them. That a delivery
-- was repeated, and how often, can't be proved: nothing else tells of it.
with last_lifted as (
    select x.context_identifier, x.contact_id, max(coalesce(x.lifted_at, 'infinity')) as at
    from (
        select a.context_identifier, a.contact_id, a.event,
            lead(a.recorded_at) over (partition by a.context_identifier, a.contact_id order by a.chain_seq) as lifted_at
        from contact_audit_log a
        where a.outcome is null
    ) x
    where x.event = 'mirror.erased'
    group by x.context_identifier, x.contact_id
), compared as (
    select d.duplicate_seq, d.event_seq, e.context_identifier,
        case
            when e.event_seq is null then 'no such event was accepted'
            when d.body_sha256 = '' and l.at is null then 'it has no hash, and its contact was not erased'
            when d.body_sha256 <> '' and d.received_at <= l.at and exists (
                select from contact_audit_log a where a.event_seq = e.event_seq and a.erased_columns is not null
            ) then 'it has a hash, and its contact was erased'
            when d.body_sha256 <> '' and l.at is null and e.keyless_sha256 <> d.body_sha256 then
                'its body is not that of the event, which is known by its body'
        end as difference
    from duplicate_deliveries d
    left join webhook_events e on e.event_seq = d.event_seq
    left join last_lifted l on l.context_identifier = e.context_identifier and l.contact_id = e.primary_key
    where @context_identifier::text is null or e.context_identifier = @context_identifier::text
)
select duplicate_seq, event_seq, context_identifier, difference, count(*) over () as total
from compared
where difference is not null
order by duplicate_seq
limit @some::integer
