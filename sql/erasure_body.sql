-- The body of an event, NULL where it is missing, if its values are erased.
select (
        select b.body
        from webhook_bodies b
        where b.event_seq = @event_seq::bigint and b.received_at = @received_at::timestamptz and not b.ignored -- reads one partition
    ) as body
from webhook_events w
where w.event_seq = @event_seq::bigint and contactmirror_is_erased(w.context_identifier, w.primary_key, w.received_at)
