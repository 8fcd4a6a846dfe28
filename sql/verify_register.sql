-- Differences between the register of erasures and the rows of the log about them: how
-- many, and some of them. Of each contact erasures and liftings alternate in the log.
with logged as (
    select a.audit_seq, a.context_identifier, a.contact_id, a.event, a.recorded_at,
        lag(a.event) over following as previous_event,
        lead(a.event) over following as next_event,
        lead(a.audit_seq) over following as next_audit_seq,
        lead(a.recorded_at) over following as next_recorded_at
    from contact_audit_log a
    where a.outcome is null and (@context_identifier::text is null or a.context_identifier = @context_identifier::text)
    window following as (partition by a.context_identifier, a.contact_id order by a.chain_seq)
), registered as (
    select e.audit_seq, e.context_identifier, e.contact_id, e.erased_at, e.lifted_at, e.lifted_audit_seq, e.reason
    from erasures e
    where @context_identifier::text is null or e.context_identifier = @context_identifier::text
), compared as (
    select l.audit_seq, l.context_identifier, l.contact_id,
        case
            when l.previous_event = 'mirror.erased' then 'the contact was erased already'
            when r.audit_seq is null then 'it is not in erasures'
            when (r.context_identifier, r.contact_id) <> (l.context_identifier, l.contact_id) then 'erasures has it of another contact'
            when r.erased_at <> l.recorded_at then 'erasures has another erased_at'
            when r.lifted_audit_seq is distinct from l.next_audit_seq or r.lifted_at is distinct from l.next_recorded_at then
                'erasures has another lifting than the log'
            when o.detail is null then 'operator_actions has no such action'
            when r.reason is distinct from o.detail ->> 'reason' then 'erasures has another reason than operator_actions'
        end as difference
    from logged l
    left join registered r on r.audit_seq = l.audit_seq
    left join lateral (
        select a.detail
        from operator_actions a
        where a.action = 'erase' and a.context_identifier = l.context_identifier and a.contact_id = l.contact_id
            and a.detail -> 'audit_seq' = to_jsonb(l.audit_seq)
            and a.detail -> 'already' = 'false'
        order by a.action_seq
        limit 1
    ) o on true
    where l.event = 'mirror.erased'
    union all
    select l.audit_seq, l.context_identifier, l.contact_id, 'it lifts no erasure'
    from logged l
    where l.event = 'mirror.erasure_lifted' and l.previous_event is distinct from 'mirror.erased'
    union all
    select r.audit_seq, r.context_identifier, r.contact_id, 'erasures has it, and the log does not'
    from registered r
    where not exists (select from contact_audit_log a where a.audit_seq = r.audit_seq and a.event = 'mirror.erased')
)
select audit_seq, context_identifier, contact_id, difference, count(*) over () as total
from compared
where difference is not null
order by audit_seq
limit @some::integer
