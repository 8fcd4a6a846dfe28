-- What stands in quarantine, oldest first.
select quarantine_seq, received_at, reason, context_identifier, event_seq, deliveries, attempts,
    octet_length(body) as bytes, resolved_at, resolution
from quarantined_deliveries
where (@all::boolean or resolved_at is null)
    and (@context_identifier::text is null or context_identifier = @context_identifier::text)
order by quarantine_seq
