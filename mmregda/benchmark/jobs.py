"""Trainings as processes: some at a time, each once, resumed where they were."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Sequence

import torch
from mmengine.config import Config

from mmregda.datasets.annotation_files import load_json
from mmregda.errors import InputError
from mmregda.files import write_text

_RESULT, _PROGRESS = 'result.json', 'progress'
_WORKER = (sys.executable, '-m', 'mmregda.benchmark.worker')


@dataclass(eq=False)
class Job:
    """One training.

    Attributes:
        name (str): What is trained.
        folder (Path): Where its config, log, checkpoints and result are. The
            folder's name is a fingerprint of the config, so a result in it is
            a result of these settings.
        cfg (Config): The config.
        needs (Job, optional): The job whose weights this one starts from.
        status (str): ``'waiting'``, ``'running'``, ``'done'`` or ``'failed'``.
        message (str): Why it failed.
        result (dict): What the worker has written.
    """

    name: str
    folder: Path
    cfg: Config
    needs: Optional[Job] = None
    status: str = 'waiting'
    message: str = ''
    result: dict = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.look()

    @property
    def log(self) -> Path:
        """Path: What the worker prints."""
        return self.folder / 'worker.log'

    @property
    def num_iters(self) -> int:
        """int: Its length in iterations."""
        return self.cfg.train_cfg.max_iters

    @property
    def iteration(self) -> int:
        """int: How far it is."""
        if self.status == 'done':
            return self.num_iters
        try:
            return int((self.folder / _PROGRESS).read_text())
        except (OSError, ValueError):
            return 0

    def look(self) -> bool:
        """Take the result, if it is there."""
        path = self.folder / _RESULT
        if path.is_file():
            self.result = load_json(str(path), 'result')
            if not isinstance(self.result, dict):
                raise InputError(
                    f'result "{path}" is no JSON object. Remove it to train again.'
                )
            self.status = 'done'
        return self.status == 'done'

    def fail(self, message: str) -> None:
        """It will not be run again now."""
        self.status, self.message = 'failed', message


def write_json(path: Path, content: dict) -> None:
    """Write a file that is whole or not there; what is no number becomes null."""
    text = json.dumps(_finite(content), indent=2, allow_nan=False)
    write_text(str(path), f'{text}\n')


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def run_jobs(
    jobs: Sequence[Job],
    slots: int = 1,
    on_change: Callable[[Job], None] = lambda job: None,
    on_tick: Callable[[], None] = lambda: None,
    worker: Sequence[str] = _WORKER,
) -> None:
    """Run jobs in processes of their own.

    A job that has a result is not run. One that failed leaves the others
    alone, but for those that need it. If this process is interrupted, it stops
    the workers; the next call goes on from their checkpoints.

    Args:
        jobs (Sequence[Job]): The jobs, each after the one it needs.
        slots (int): How many run at a time. The CPU cores are shared out
            between them, the GPUs given in turn.
        on_change (Callable): Called with each job that starts or ends.
        on_tick (Callable): Called several times a second.
        worker (Sequence[str]): The command that is given a job's folder.
    """
    free = list(range(slots))
    running: Dict[Job, tuple] = {}
    try:
        while any(job.status in ('waiting', 'running') for job in jobs):
            for job, (process, slot) in list(running.items()):
                if process.poll() is not None:
                    del running[job]
                    free.append(slot)
                    if process.returncode < 0:
                        name = signal.Signals(-process.returncode).name
                        job.fail(f'it was killed by {name} (is memory short?)')
                    elif process.returncode or not job.look():
                        job.fail(_last_line(job.log))
                    on_change(job)
            for job in jobs:
                if job.status != 'waiting':
                    continue
                if job.needs and job.needs.status == 'failed':
                    job.fail(f'"{job.needs.name}" failed, from which it starts')
                    on_change(job)
                elif free and (job.needs is None or job.needs.status == 'done'):
                    slot = free.pop(0)
                    running[job] = _start(job, worker, slot, slots), slot
                    on_change(job)
            on_tick()
            time.sleep(0.2)
    finally:
        for process, _ in running.values():
            process.terminate()
        for job, (process, _) in running.items():
            process.wait()
            job.status = 'waiting'


def _start(job: Job, worker: Sequence[str], slot: int, slots: int) -> subprocess.Popen:
    job.folder.mkdir(parents=True, exist_ok=True)
    if job.needs:
        checkpoint = job.needs.result['checkpoint']
        job.cfg.pretrain = dict(job.cfg.get('pretrain') or {}, checkpoint=checkpoint)
    job.cfg.dump(str(job.folder / 'config.py'))
    with open(job.log, 'ab') as log:
        process = subprocess.Popen(
            [*worker, str(job.folder)],
            stdout=log,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env=_environment(slot, slots),
        )
    job.status = 'running'
    return process


def _environment(slot: int, slots: int) -> Dict[str, str]:
    env = dict(os.environ)
    # Two runs of one thread are faster than one of two, and then another.
    env.setdefault('OMP_NUM_THREADS', str(max(1, (os.cpu_count() or 1) // slots)))
    count = torch.cuda.device_count()
    if count > 1:
        devices = env.get('CUDA_VISIBLE_DEVICES') or ','.join(map(str, range(count)))
        env['CUDA_VISIBLE_DEVICES'] = devices.split(',')[slot % count]
    return env


def _last_line(path: Path) -> str:
    lines: List[str] = []
    if path.is_file():
        lines = path.read_text(encoding='utf-8', errors='replace').strip().splitlines()
    return lines[-1].strip() if lines else 'it wrote nothing'
