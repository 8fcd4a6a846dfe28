-- Locks a shard: nobody applies events of its contacts until the transaction ends.
select shard
from sync_shards
where shard = @shard::smallint
for update
