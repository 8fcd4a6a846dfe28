-- Does the database commit writes? A server that is read-only refuses this, one on which
-- the log is locked does not answer, and the message makes the commit wait for the disk
-- and for synchronous standbys as any other does. It uses a number up.
select nextval('webhook_events_event_seq_seq')
from (select from webhook_events limit 1) as unlocked
right join (values (pg_logical_emit_message(true, 'contactmirror', ''))) as message (lsn) on true
limit 1
