"""Methods x seeds x pairs: the plan, its jobs, their workers, the tables."""
