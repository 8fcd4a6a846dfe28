-- The partitions of webhook_bodies that may hold bodies received before a time, oldest
-- first, the default ones last.
select partition_name, received_before is null as is_default
from body_partitions
where coalesce(received_from < @before::timestamptz, true)
order by received_before, ignored
