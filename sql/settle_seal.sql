-- Counts a step of what lies below the horizon; NULL where another process is at it.
select seal_accounts(@max_rows::integer)
