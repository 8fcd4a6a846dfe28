-- The bodies of some events. The numbers are a parameter, so that partitions that
-- hold none of them are left out from the start.
select event_seq, body
from webhook_bodies
where event_seq = any (@event_seqs::bigint[])
