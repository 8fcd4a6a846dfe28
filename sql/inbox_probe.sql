-- Does the database take writes? A server that is read-only refuses this, and one
-- on which the log is locked does not answer. That it succeeds is no proof that a
-- commit would: most calls write nothing. It uses a number up, no more.
select nextval('webhook_events_event_seq_seq')
from (select from webhook_events limit 1) as unlocked
right join (values (1)) as always on true
limit 1
