-- The heads of all audit chains.
select s.shard, s.audit_count, s.audit_head, s.audit_signatures, s.audit_break
from sync_shards s
order by s.shard
