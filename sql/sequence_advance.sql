-- Moves sequences that are behind their tables, and restores options that keep numbers
-- in order; returns those that it changed.
select sequence_name, numbers, moved_from, moved_to, options
from contactmirror_advance_sequences()
