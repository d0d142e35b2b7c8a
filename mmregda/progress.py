"""Progress bars, and lines where the output is no terminal."""

from __future__ import annotations

import time
from typing import Any, Iterable, Optional

from rich.live import Live
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

# A log file that is watched grows often enough, and stays readable.
_SECONDS_PER_LINE = 30


class ProgressBars(Progress):
    """rich's bars with counts, time passed and time left.

    In a file, a pipe or a dumb terminal, rich shows nothing before the end. Here the
    bars are printed there every 30 seconds.

    Args:
        *columns (ProgressColumn): To show after the others.
        **options: Of ``rich.progress.Progress``.
    """

    def __init__(self, *columns: ProgressColumn, **options: Any) -> None:
        super().__init__(
            TextColumn('{task.description}'),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            *columns,
            # rich's half a minute is too short for steps that take as long.
            speed_estimate_period=600,
            **options,
        )
        if not (self.console.is_interactive or self.console.is_jupyter):
            self.live = _Lines(
                console=self.console,
                auto_refresh=self.live.auto_refresh,
                get_renderable=self.get_renderable,
            )


class _Lines(Live):
    """Prints what it shows now and then, and at the end as rich does."""

    _printed = float('inf')

    def start(self, refresh: bool = False) -> None:
        self._printed = time.monotonic()
        super().start(refresh)

    def refresh(self) -> None:
        now = time.monotonic()
        if not self.is_started:
            super().refresh()
        elif now - self._printed >= _SECONDS_PER_LINE:
            self._printed = now
            self.console.print(self.renderable)


def track(
    sequence: Iterable, description: str, total: Optional[int] = None
) -> Iterable:
    """Iterate and show progress."""
    if not description:
        yield from sequence
        return
    with ProgressBars() as bars:
        yield from bars.track(sequence, total=total, description=description)
