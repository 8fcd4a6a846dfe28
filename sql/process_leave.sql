-- Removes the row of a process that stops in order and leaves nothing in its spool.
delete from processes
where process = @process::uuid
