-- Removes erased values from the planner's statistics.
select contactmirror_analyze_values()
