-- Draws numbers for rows of the audit log, which its chain covers too.
select nextval('contact_audit_log_audit_seq_seq') as audit_seq
from generate_series(1, @rows::integer)
