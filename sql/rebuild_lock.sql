-- Locks every shard, in the order that everybody does who waits for locks.
select s.shard
from sync_shards s
order by s.shard
for update
