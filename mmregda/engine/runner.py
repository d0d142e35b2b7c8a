"""A runner that leaves the console to a progress bar."""

from __future__ import annotations

import io
import logging
from contextlib import redirect_stdout
from typing import Any

from mmengine.logging import MMLogger
from mmengine.registry import RUNNERS
from mmengine.runner import Runner


@RUNNERS.register_module()
class QuietRunner(Runner):
    """MMEngine's runner, with errors alone on the console.

    The log file gets every line, from the first on. Set
    ``runner_type = 'QuietRunner'`` in a config that shows its progress with
    :class:`~mmregda.engine.hooks.ProgressBarHook`.
    """

    def build_logger(self, *args: Any, **kwargs: Any) -> MMLogger:
        """Build the logger, as MMEngine calls it before all else."""
        logger = super().build_logger(*args, **kwargs)
        quiet_console(logger)
        return logger

    def _init_model_weights(self) -> None:
        """Initialise, without what MMEngine prints past its logger."""
        with redirect_stdout(io.StringIO()):
            super()._init_model_weights()

    def load_or_resume(self) -> None:
        """Load the checkpoint, as silently."""
        with redirect_stdout(io.StringIO()):
            super().load_or_resume()


def quiet_console(logger: logging.Logger) -> None:
    """Leave errors on the console; log files get everything."""
    for handler in logger.handlers:
        if type(handler) is logging.StreamHandler:
            handler.setLevel(logging.ERROR)
