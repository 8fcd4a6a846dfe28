-- The time, by the database's clock, and a UUID that nothing has.
select clock_timestamp() as at, gen_random_uuid() as id
