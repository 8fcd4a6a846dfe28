-- The number of the last row of the log.
select coalesce(max(a.audit_seq), 0) as audit_seq
from contact_audit_log a
