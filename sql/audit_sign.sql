-- Signs the heads of audit chains, or marks them as broken, whose shards' locks are held.
update sync_shards s
set audit_signatures = h.audit_signatures, audit_break = h.audit_break
from unnest(@shards::smallint[], @audit_signatures::bytea[], @audit_breaks::bigint[]) as h (shard, audit_signatures, audit_break)
where s.shard = h.shard
