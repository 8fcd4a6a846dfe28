-- The times before which bodies of contact events and of ignored ones have expired, by
-- the database's clock; NULL where they are kept forever.
select now() - @bodies::bigint * interval '1 microsecond' as bodies, now() - @ignored::bigint * interval '1 microsecond' as ignored
