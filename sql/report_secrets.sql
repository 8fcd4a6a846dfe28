-- The secrets that each process verifies deliveries with, and when they matched.
select process::text as process, context_identifier, ordinal, not_before, not_after, matched_at, refused_since
from process_secrets
order by process_secrets.process, context_identifier <> '*', context_identifier, ordinal
