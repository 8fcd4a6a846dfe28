-- The ends of the audit chains of some shards, whose locks are held.
select s.shard, s.audit_count, s.audit_head
from sync_shards s
where s.shard = any (@shards::smallint[])
