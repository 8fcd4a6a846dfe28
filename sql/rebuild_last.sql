-- How far the log goes in a snapshot: its greatest number, 0 where it is empty.
select coalesce(max(audit_seq), 0)
from contact_audit_log
