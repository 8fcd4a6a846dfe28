-- How many deliveries are in the spools of all processes, as of their last heartbeats.
select coalesce(sum(spool_records), 0)::bigint
from processes
