-- The shards whose audit chain has a head that no configured key signed.
select s.shard, s.audit_break as since_audit_seq
from sync_shards s
where s.audit_break is not null
order by s.shard
