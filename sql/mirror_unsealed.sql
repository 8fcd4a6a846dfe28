-- Is there an audit chain that neither ends in a link of the key nor is sealed with it?
select exists (
    select from sync_shards s
    where coalesce(substring(s.audit_seal for 4), substring(s.audit_head for 4), '') <> @key_id::bytea
)
