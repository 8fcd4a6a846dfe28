-- Is there an audit chain that does not end in a link of the key?
select exists (
    select from sync_shards s
    where s.audit_head is null or substring(s.audit_head for 4) <> @key_id::bytea
)
