-- Removes tombstones of contacts that no logged event deletes. Only the tables'
-- owner may.
delete from contact_tombstones t
using rebuild_shadow s
where s.deleted_at is null and s.tombstone_wrong and t.context_identifier = s.context_identifier and t.contact_id = s.contact_id
