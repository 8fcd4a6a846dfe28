-- Moves the heads of audit chains, whose shards' locks are held.
update sync_shards s
set audit_count = h.audit_count, audit_head = h.audit_head, audit_signatures = h.audit_signatures, audit_break = h.audit_break
from unnest(@shards::smallint[], @audit_counts::bigint[], @audit_heads::bytea[], @audit_signatures::bytea[], @audit_breaks::bigint[])
    as h (shard, audit_count, audit_head, audit_signatures, audit_break)
where s.shard = h.shard
