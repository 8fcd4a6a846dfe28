-- The account of every tenant, as reports see it.
select v.context_identifier, v.accepted, v.ignored, v.queued, v.quarantined, v.applied, v.no_op, v.superseded, v.after_delete
from event_accounting v
where @context_identifier::text is null or v.context_identifier = @context_identifier::text
order by v.context_identifier collate "C"
