"""One view of many trainings."""

from __future__ import annotations

from typing import Callable, Dict, Sequence

from rich.console import Console
from rich.markup import escape
from rich.progress import TaskID

from mmregda.benchmark.jobs import Job
from mmregda.progress import ProgressBars


class JobProgress:
    """A bar for all jobs and one for each that runs; a line for each that ended.

    Its methods are what :func:`~mmregda.benchmark.jobs.run_jobs` calls; use it as
    a context manager.

    Args:
        jobs (Sequence[Job]): All jobs; those that are done already do not
            count.
        title (Callable[[Job], str]): What to call a job.
        summary (Callable[[Job], str]): What to say of one that ended.
        console (Console): Where to show it.
    """

    def __init__(
        self,
        jobs: Sequence[Job],
        title: Callable[[Job], str],
        summary: Callable[[Job], str],
        console: Console,
    ) -> None:
        self._jobs = [job for job in jobs if job.status != 'done']
        self._title = title
        self._summary = summary
        self._progress = ProgressBars(
            console=console,
            refresh_per_second=2,
        )
        total = sum(job.num_iters for job in self._jobs)
        self._all = self._progress.add_task('all', total=total)
        self._bars: Dict[Job, TaskID] = {}

    def __enter__(self) -> JobProgress:
        self._progress.start()
        return self

    def __exit__(self, *_) -> None:
        self.on_tick()
        self._progress.stop()

    def on_tick(self) -> None:
        """Advance the bars to where the jobs are."""
        for job, bar in self._bars.items():
            self._progress.update(bar, completed=job.iteration)
        passed = sum(
            job.num_iters if job.status == 'failed' else job.iteration
            for job in self._jobs
        )
        self._progress.update(self._all, completed=passed)

    def on_change(self, job: Job) -> None:
        """Show the bar of a job that starts; say how one has ended."""
        title = escape(self._title(job))
        if job.status == 'running':
            self._bars[job] = self._progress.add_task(title, total=job.num_iters)
            return
        if job in self._bars:
            self._progress.remove_task(self._bars.pop(job))
        self._progress.console.print(f'{title}: {escape(self._summary(job))}')
