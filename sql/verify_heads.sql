-- The ends of the audit chains, and how many rows are older than they.
select s.shard, s.audit_unchained, s.audit_count, s.audit_head, s.audit_seal
from sync_shards s
order by s.shard
