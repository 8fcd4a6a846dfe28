-- Does the log hold what a cursor proves, and what proves what is visible now, as the
-- cursor of the end? Fails in the middle of a restore, when rows may not be there yet.
select changes_held(@cursor::text) as held, changes_cursor() as now
where (select contactmirror_require_restored())
