-- The last audit row below the horizon, 0 where there is none.
select coalesce(max(audit_seq), 0)
from contact_audit_log
where audit_seq <= (select audit_seq from log_horizon where id = 1)
