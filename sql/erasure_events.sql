-- A contact's events in open quarantine, with their bodies where these are kept.
select q.event_seq, b.body
from quarantined_deliveries q
cross join lateral (
    select w.context_identifier, w.primary_key, w.received_at
    from webhook_events w
    where w.event_seq = q.event_seq
    limit 1
) e
left join lateral (
    select k.body
    from webhook_bodies k
    where k.event_seq = q.event_seq and k.received_at = e.received_at and not k.ignored -- reads one partition
    limit 1
) b on true
where q.resolved_at is null and q.bytes_removed_at is null
    and e.context_identifier = @context_identifier::text and e.primary_key = @contact_id::bigint
order by q.event_seq
