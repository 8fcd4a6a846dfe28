-- Drops a partition of bodies that have all expired, or only says whether it would.
select verdict, bodies, bytes, next_expires_at
from contactmirror_drop_bodies(@partition_name::text, @before::timestamptz, @really::boolean)
