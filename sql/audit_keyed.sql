-- How many audit chains end in a link or a seal of a key?
select count(*)::integer as keyed
from sync_shards s
where coalesce(substring(s.audit_seal for 4), substring(s.audit_head for 4)) <> @no_key::bytea
