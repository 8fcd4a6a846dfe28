-- The body of an event, NULL where it is missing, if its contact has been erased.
select (
        select b.body
        from webhook_bodies b
        where b.event_seq = @event_seq::bigint and b.received_at = @received_at::timestamptz and not b.ignored -- reads one partition
    ) as body
from webhook_events w
join erasures x on x.context_identifier = w.context_identifier and x.contact_id = w.primary_key and x.lifted_at is null
where w.event_seq = @event_seq::bigint
