-- Quarantined deliveries that never became events and that may be of a tenant.
select quarantine_seq, context_identifier, body, resolved_at is null as open
from quarantined_deliveries
where event_seq is null and bytes_removed_at is null
    and (context_identifier is null or context_identifier = @context_identifier::text)
order by quarantine_seq
