-- The bodies of some events. The bounds of their numbers, which say nothing new, are
-- what partitions that hold none of them are left out by.
select event_seq, body
from webhook_bodies
where event_seq = any (@event_seqs::bigint[]) and event_seq between @first::bigint and @last::bigint
