-- The facts in the log, the ones of a contact in a row: of one part of the
-- shards, and of the contacts asked for. A contact's facts are all there, though
-- only some were recorded in the time asked for, or after a certain row.
select
    -- generated: audit.Key | audit.Fact of a
    a.event_seq, a.context_identifier, a.contact_id, a.event, a.event_id, a.occurred_ticks, a.changed_columns,
    a.field_values, a.unreadable_columns, a.soft_deleted, a.changed_by_associate_id, a.erased_columns
    -- end
from contact_audit_log a
where a.outcome is not null and a.shard % @parts::integer = @part::integer
    and (@context_identifier::text is null or a.context_identifier = @context_identifier::text)
    and (@contact_id::bigint is null or a.contact_id = @contact_id::bigint)
    and (
        not @some::boolean
        or (a.context_identifier, a.contact_id) in (
            select r.context_identifier, r.contact_id
            from contact_audit_log r
            where r.recorded_at >= coalesce(@since::timestamptz, '-infinity') and r.recorded_at < coalesce(@until::timestamptz, 'infinity')
        )
    )
order by a.contact_id, a.context_identifier collate "C" -- numbers first, for they sort fast
