"""One rehearsal before anything trains.

The first samples go through the real thing: pipeline, collation, a training step of a
copy of the model, prediction, metrics. What fails becomes one message. Beside that
there are checks of what would not fail, but train on wrong labels.
"""

from mmregda.engine.rehearsal.rehearse import rehearse_run

__all__ = ['rehearse_run']
