-- Lets later events of a contact be kept with their values again.
select contactmirror_lift_erasure(@context_identifier::text, @contact_id::bigint, @audit_seq::bigint)
