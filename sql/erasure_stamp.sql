-- When the transaction began, by the database's clock, and a UUID that nothing has.
select now() as at, gen_random_uuid() as id
