-- Moves sequences that are behind their tables; returns those that were.
select sequence_name, numbers, moved_from, moved_to
from contactmirror_advance_sequences()
