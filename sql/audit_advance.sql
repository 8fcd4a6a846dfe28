-- Moves the ends of audit chains, whose shards' locks are held. A seal is of the
-- end that was.
update sync_shards s
set audit_count = h.audit_count, audit_head = h.audit_head, audit_seal = null
from unnest(@shards::smallint[], @audit_counts::bigint[], @audit_heads::bytea[]) as h (shard, audit_count, audit_head)
where s.shard = h.shard
