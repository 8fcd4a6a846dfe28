-- The time before which everything has expired, by the database's clock.
select now() - @keep::bigint * interval '1 microsecond'
