-- Puts a redacted body in the place of that of a quarantined event of an erased contact.
select contactmirror_redact_event(@event_seq::bigint, @redacted::bytea)
