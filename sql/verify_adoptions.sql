-- The adoptions of audit chains, in the order of every chain.
select a.shard, a.ordinal, a.through_seq, a.adopted_rows, a.digest, a.adopted_count, a.adopted_head, a.link, a.adopted_at, a.actor, a.reason
from audit_adoptions a
order by a.shard, a.ordinal
