-- How many tenants' accounts do not add up.
select count(*)
from event_accounting
where not balanced
