-- Removes the bytes of resolved quarantine entries that have expired, a batch at a time.
select reached, deliveries, bytes
from contactmirror_prune_quarantine(@before::timestamptz, @after::bigint, @batch::integer, @really::boolean)
