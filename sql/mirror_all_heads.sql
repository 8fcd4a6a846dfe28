-- The ends of all audit chains, locked: nobody applies anything meanwhile.
select s.shard, s.audit_count, s.audit_head
from sync_shards s
order by s.shard
for update
