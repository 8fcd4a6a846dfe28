-- Brings complete_through up to date if that was not done within @max_age; returns
-- whether it was done.
select case
    when exists (
        select from freshness where database_identity = contactmirror_database_identity() and advanced_at > now() - @max_age::interval
    ) then false
    else contactmirror_advance_freshness()
end
