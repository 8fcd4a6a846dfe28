-- The whole audit log, in the order of every shard's chain.
select a.audit_seq, a.chain_seq, a.chain, a.salt, a.commitment,
    a.event_seq, a.shard, a.context_identifier, a.contact_id, a.event, a.event_id, a.occurred_at, a.occurred_ticks,
    a.received_at, a.recorded_at, a.changed_columns, a.field_values, a.given_columns, a.id_values, a.unreadable_columns,
    coalesce(a.noticed_columns, '{}') as noticed_columns, a.irregular,
    a.soft_deleted, a.hard_deleted, a.outcome, a.effect, a.changed_by_associate_id, a.webhook_name, a.origin, a.last_known,
    -- as the worker writes lists: of one dimension, counted from 1, no NULLs
    coalesce(array_dims(a.changed_columns), '[1:0]') = format('[1:%s]', cardinality(a.changed_columns))
        and coalesce(array_dims(a.unreadable_columns), '[1:0]') = format('[1:%s]', cardinality(a.unreadable_columns))
        and coalesce(array_dims(a.noticed_columns), '[1:0]') = format('[1:%s]', coalesce(cardinality(a.noticed_columns), 0))
        and coalesce(array_dims(a.erased_columns), '[1:0]') = format('[1:%s]', coalesce(cardinality(a.erased_columns), 0))
        and a.noticed_columns is distinct from '{}' -- NULL for none
        and array_position(a.changed_columns, null) is null
        and array_position(a.noticed_columns, null) is null
        and array_position(a.erased_columns, null) is null
        and array_position(a.unreadable_columns, null) is null as plain_lists,
    a.erased_columns is not null as erased, coalesce(a.erased_columns, '{}') as erased_columns
from contact_audit_log a
order by a.audit_seq
