-- The heads of the audit chains of some shards, whose locks are held.
select s.shard, s.audit_count, s.audit_head, s.audit_signatures, s.audit_break
from sync_shards s
where s.shard = any (@shards::smallint[])
