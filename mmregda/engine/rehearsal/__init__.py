"""One rehearsal before anything trains.

A mistake in a config, or a file that is not what it should be, is found with one
sample in seconds: not in the first iteration after an hour of pretraining, at the
first validation, or in a table of wrong numbers.
"""

from mmregda.engine.rehearsal.rehearse import rehearse

__all__ = ['rehearse']
