-- Seals the ends of audit chains, whose shards' locks are held.
update sync_shards s
set audit_seal = h.audit_seal
from unnest(@shards::smallint[], @audit_seals::bytea[]) as h (shard, audit_seal)
where s.shard = h.shard
