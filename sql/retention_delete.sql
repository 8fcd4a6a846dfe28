-- Deletes expired bodies of a partition that can't be dropped, a batch at a time.
select reached, bodies, bytes
from contactmirror_delete_bodies(@partition_name::text, @before::timestamptz, @after::bigint, @batch::integer, @really::boolean)
