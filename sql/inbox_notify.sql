-- Wakes workers of other processes.
select pg_notify('contactmirror_queue', '')
