-- How many audit chains were written with a key, or would have to be.
select count(*)::integer as keyed
from sync_shards s
where s.audit_signatures is not null or s.audit_break is not null
