-- Up to where the audit log is complete.
select audit_seq
from log_horizon
where id = 1
