-- Moves the horizon of the two logs up as far as is certain. No row where another
-- process is at it.
select moved, settled, unsealed
from advance_log_horizon()
