-- Erases a contact everywhere but in contacts.
select already, audit_rows, bodies, duplicates, quarantined
from contactmirror_erase(
    @context_identifier::text, @contact_id::bigint, @audit_seqs::bigint[], @commitments::bytea[], @quarantine_seqs::bigint[], @reason::text
)
