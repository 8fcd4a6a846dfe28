-- Draws numbers for rows of the audit log, which its chain covers too. None that
-- the log is complete up to: see contactmirror_number_taken.
with drawn as materialized (
    select nextval('contact_audit_log_audit_seq_seq') as audit_seq
    from generate_series(1, @rows::integer)
)
select audit_seq
from drawn
where (
    select case when (select min(d.audit_seq) from drawn d) > h.noted_audit_seq then true else contactmirror_number_taken('contact_audit_log') end
    from log_horizon h
    where h.id = 1
)
