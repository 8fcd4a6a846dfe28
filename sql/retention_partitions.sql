-- The partitions of webhook_bodies that may hold expired bodies, oldest first, the
-- default ones last. A time that is NULL leaves a branch out.
select partition_name, ignored, received_before is null as is_default
from body_partitions
where case when ignored then @ignored_before::timestamptz else @bodies_before::timestamptz end > coalesce(received_from, '-infinity')
order by received_before, ignored
