-- Fails in the middle of a restore, when rows that a consumer is sent, or a cursor
-- names, may not be there yet.
select contactmirror_require_restored()
