-- Locks a shard: nobody applies, erases or retries events of its contacts until the
-- transaction ends. Whoever locks a shard and entries of quarantine locks the shard first.
select shard
from sync_shards
where shard = @shard::smallint
for update
