-- Takes out of the mirror what should have no row.
delete from contacts c
using rebuild_shadow s
where not s.live and s.row_wrong and c.context_identifier = s.context_identifier and c.contact_id = s.contact_id
