-- Moves the heads of audit chains, whose shards' locks are held.
update sync_shards s
set audit_count = h.audit_count, audit_head = h.audit_head, audit_seq = greatest(s.audit_seq, h.audit_seq),
    audit_signatures = h.audit_signatures, audit_break = h.audit_break
from unnest(@shards::smallint[], @audit_counts::bigint[], @audit_heads::bytea[], @audit_seqs::bigint[], @audit_signatures::bytea[], @audit_breaks::bigint[])
    as h (shard, audit_count, audit_head, audit_seq, audit_signatures, audit_break)
where s.shard = h.shard
