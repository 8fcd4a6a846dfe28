-- Removes the bytes of those of some events, in no queue, whose contact has been erased.
select contactmirror_strip_events(@event_seqs::bigint[])
