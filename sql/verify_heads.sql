-- The heads of the audit chains.
select s.shard, s.audit_count, s.audit_head, s.audit_signatures
from sync_shards s
order by s.shard
