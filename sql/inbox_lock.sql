-- Locks shards that have something queued and that nobody else works on, from a
-- given shard on, so that none is always last. To be followed by inbox_claim in
-- the same READ COMMITTED transaction, as a statement of its own: only then does
-- the claim see what the previous holder of the lock has committed.
select s.shard, now() as now
from sync_shards s
where exists (select from sync_queue q where q.shard = s.shard)
order by (s.shard + @rotation::integer) % 32
limit @shards::integer
for update skip locked
