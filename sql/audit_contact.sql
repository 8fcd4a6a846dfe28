-- What the mirror says of a contact now: its row, or its tombstone.
select c.name, c.department, coalesce(c.soft_deleted, false) as soft_deleted, c.soft_deleted_at, c.pending_columns,
    c.contact_id is not null as live, c.last_event_at, c.last_changed_by_associate_id, t.deleted_at as hard_deleted_at
from (values (@context_identifier::text, @contact_id::bigint)) as k (context_identifier, contact_id)
left join contacts c using (context_identifier, contact_id)
left join contact_tombstones t using (context_identifier, contact_id)
