-- Takes contacts out of the mirror.
delete from contacts
where ctid = any (array(
    select c.row
    from unnest(@context_identifiers::text[], @contact_ids::bigint[]) as k (context_identifier, contact_id)
    cross join lateral (
        select m.ctid as row
        from contacts m
        where m.context_identifier = k.context_identifier and m.contact_id = k.contact_id
        limit 1
    ) c
))
