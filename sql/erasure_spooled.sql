-- How many deliveries the receivers hold in their spools, as they last reported.
select coalesce(sum(spool_records), 0)::bigint
from receivers
