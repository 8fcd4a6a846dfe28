-- The bodies of some contact events that were received within a range of time.
select event_seq, body
from contactmirror_bodies(@event_seqs::bigint[], @first::timestamptz, @last::timestamptz)
