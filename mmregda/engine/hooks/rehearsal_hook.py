"""A rehearsal before the first iteration, whatever tool trains."""

from __future__ import annotations

from typing import Set

from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmpose.registry import HOOKS

from mmregda.engine.rehearsal import rehearse_run


@HOOKS.register_module()
class RehearsalHook(Hook):
    """Rehearses a run before it trains, or a validation or test that stands alone.

    Loops of this package bring it with them. See
    :func:`~mmregda.engine.rehearsal.rehearse_run`.
    """

    # Before any hook changes or compiles the model.
    priority = 'VERY_HIGH'

    def __init__(self) -> None:
        self._done: Set[str] = set()

    def before_train(self, runner: Runner) -> None:
        """Rehearse training and validation."""
        self._rehearse(runner, 'train')

    def before_val(self, runner: Runner) -> None:
        """Rehearse validation, unless it has been with training."""
        self._rehearse(runner, 'val')

    def before_test(self, runner: Runner) -> None:
        """Rehearse a test."""
        self._rehearse(runner, 'test')

    def _rehearse(self, runner: Runner, phase: str) -> None:
        if phase not in self._done:
            rehearse_run(runner, phase)
            self._done |= {'train', 'val'} if phase == 'train' else {phase}
