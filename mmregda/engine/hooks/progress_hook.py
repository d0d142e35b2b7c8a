"""A progress bar."""

from __future__ import annotations

import atexit
from typing import Optional

from mmengine.dist import master_only
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmpose.registry import HOOKS
from rich.progress import TextColumn

from mmregda.progress import ProgressBars


@HOOKS.register_module()
class ProgressBarHook(Hook):
    """Shows training, or an evaluation alone, as one progress bar.

    It takes the place of the scrolling log with
    ``runner_type = 'QuietRunner'`` in the config.

    Args:
        title (str): What is being trained.
        metric (str, optional): The validation metric to show, such as
            ``'source/PCK/Avg'``.
    """

    priority = 'VERY_LOW'

    def __init__(self, title: str, metric: Optional[str] = None) -> None:
        self.title = title
        self.metric = metric
        self._progress: Optional[ProgressBars] = None

    @master_only
    def before_train(self, runner: Runner) -> None:
        """Show the bar."""
        self._start(runner.max_iters, runner.iter)

    def _start(self, total: int, completed: int = 0) -> None:
        self._progress = ProgressBars(TextColumn('{task.fields[note]}'))
        self._task = self._progress.add_task(
            self.title, total=total, completed=completed, note=''
        )
        # After an error too, the cursor is to come back.
        atexit.register(self._progress.stop)
        self._progress.start()

    @master_only
    def before_val(self, runner: Runner) -> None:
        """Show the bar, unless it is that of a training."""
        self._validates_alone = self._progress is None
        if self._validates_alone:
            loop = runner.val_loop
            loops = getattr(loop, 'loops', {'': loop}).values()
            self._start(sum(len(each.dataloader) for each in loops))

    @master_only
    def after_val_iter(
        self, runner: Runner, batch_idx: int, data_batch=None, outputs=None
    ) -> None:
        """Advance."""
        if self._validates_alone:
            self._progress.advance(self._task)

    @master_only
    def after_val(self, runner: Runner) -> None:
        """Leave the bar as it is."""
        if self._validates_alone:
            self.after_train(runner)

    @master_only
    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch=None, outputs=None
    ) -> None:
        """Advance."""
        self._progress.advance(self._task)

    @master_only
    def after_val_epoch(self, runner: Runner, metrics=None) -> None:
        """Show the metric."""
        if self._progress is not None and self.metric in (metrics or {}):
            note = f'{self.metric} {100 * metrics[self.metric]:.1f}'
            self._progress.update(self._task, note=note)

    @master_only
    def after_train(self, runner: Runner) -> None:
        """Leave the bar as it is."""
        self._progress.stop()
        atexit.unregister(self._progress.stop)  # Again, it would print a line.
