-- Erases a contact everywhere but in contacts.
select audit_rows, bodies, duplicates, quarantined, redacted
from contactmirror_erase(
    @context_identifier::text, @contact_id::bigint, @audit_seq::bigint, @reason::text, @audit_seqs::bigint[], @commitments::bytea[],
    @event_seqs::bigint[], @redacted_events::bytea[], @quarantine_seqs::bigint[], @redacted_deliveries::bytea[]
)
