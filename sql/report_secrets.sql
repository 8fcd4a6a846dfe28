-- The secrets by which receivers verify deliveries, and how they are used.
select receiver_id::text as receiver_id, context_identifier, ordinal, not_before, not_after, last_matched_at, refused_since
from receiver_secrets
order by receiver_id, context_identifier <> '*', context_identifier, ordinal
