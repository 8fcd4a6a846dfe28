-- The heads of all audit chains, locked: nothing is applied meanwhile. Fails in the
-- middle of a restore, and where rows are missing after it.
select s.shard, s.audit_count, s.audit_head, s.audit_signatures, s.audit_break
from sync_shards s
where (select contactmirror_require_restored())
order by s.shard
for update
