-- The partitions of webhook_bodies, oldest first, the default one last.
select partition_name
from body_partitions
order by to_seq
