-- How far the log goes in a snapshot: its greatest number, and the erasures that
-- were lifted. Every other erasure may still change rows of the log.
select coalesce(max(a.audit_seq), 0) as audit_seq,
    array(select e.erasure_seq from erasures e where e.lifted_at is not null) as lifted
from contact_audit_log a
