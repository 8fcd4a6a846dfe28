-- Keeps what comes for a contact and is not queued waiting until the transaction ends.
select contactmirror_lock_erasure(@context_identifier::text, @contact_id::bigint)
