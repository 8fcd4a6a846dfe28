-- Removes the bytes of a retried delivery that became an event of an erased contact.
select contactmirror_strip_delivery(@quarantine_seq::bigint, @context_identifier::text, @contact_id::bigint)
