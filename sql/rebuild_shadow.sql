-- Makes the shadow: for each contact that differs the row that it should have, and
-- the tombstone, and which of them is wrong. It is dropped in the transaction that makes it.
create temp table rebuild_shadow as
select c.*, true as live, true as row_wrong, true as tombstone_wrong, t.deleted_at, t.event_seq, t.occurred_ticks, t.event_id
from contacts c, contact_tombstones t
limit 0
