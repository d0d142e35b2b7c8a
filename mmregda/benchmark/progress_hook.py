"""How far a training in another process is."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmpose.registry import HOOKS


@HOOKS.register_module()
class JobProgressHook(Hook):
    """Tells how far a training is, in a file.

    The training ends with the process that has started it.

    Args:
        path (str): The file, which holds the number of iterations.
    """

    priority = 'VERY_LOW'

    def __init__(self, path: str) -> None:
        self.path = Path(path)
        self._parent = os.getppid()
        self._told = 0.0

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch=None, outputs=None
    ) -> None:
        """Write, once a second."""
        if time.monotonic() - self._told > 1:
            self.path.write_text(str(runner.iter + 1))
            self._told = time.monotonic()
            if os.getppid() != self._parent:
                sys.exit('the benchmark has gone; so does this worker')
