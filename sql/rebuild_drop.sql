-- Drops the shadow.
drop table rebuild_shadow
