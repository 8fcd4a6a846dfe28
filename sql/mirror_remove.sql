-- Removes contacts from the mirror, by row address and key, as mirror_update does.
delete from contacts
using (
    select unnest(@row::tid[]) as row, unnest(@context_identifier::text[]) as context_identifier, unnest(@contact_id::bigint[]) as contact_id
) w
where contacts.ctid = w.row
    and contacts.context_identifier is not distinct from w.context_identifier -- a filter, not a reason to use the index
    and contacts.contact_id is not distinct from w.contact_id
