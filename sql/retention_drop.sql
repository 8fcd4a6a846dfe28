-- Drops a partition of bodies that have all expired, or only says whether it would.
select verdict, bodies, bytes
from contactmirror_drop_bodies(@partition_name::text, @before::timestamptz, @really::boolean)
