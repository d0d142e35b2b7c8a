#!/usr/bin/env python
"""Kill a training again and again; it must end as one that was left alone.

python benchmarks/kill_soak.py
python benchmarks/kill_soak.py --kills 8 --adaptation dann mcd adabn

For each adaptation, tools/train.py trains a tiny network through both stages,
with two workers for each domain: once undisturbed, and once killed with SIGKILL
and resumed with --resume, over and over. Some kills come at a moment of the clock,
drawn from the seed, the others where a training is most vulnerable: between two
players' steps, in a validation, at every step of the writing of a checkpoint, at
the change of stage. Printed is a Markdown table; the exit status is 1 if

- a kill has lost more iterations than lie between two checkpoints,
- what is to be resumed from does not load,
- a process of the killed training is still there after a minute, or
- the two final checkpoints (parameters, buffers, optimisers, schedulers, logged
  scalars) or the logs differ by a bit.
"""

# ruff: noqa: E402, I001
import os

# Sums depend on the number of threads, which is to be the same in all runs.
os.environ.setdefault('OMP_NUM_THREADS', '1')

import argparse
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Tuple

import numpy as np
import torch
from fault_injection import AT_CHANGE_OF_STAGE, FAULTS
from mmengine.logging import HistoryBuffer
from report import track
from tiny_training import write_tiny_training

from mmregda.engine.checkpoints import latest_checkpoint, read_checkpoint
from mmregda.visualization import load_scalars

ROOT = Path(__file__).resolve().parents[1]
INTERVAL = 2
BY_CLOCK = 'at a moment of the clock'
# What the clock and the machine say, and where the files are.
NOT_COMPARED = {'time', 'data_time', 'eta', 'memory', 'meta'}
NOT_COMPARED |= {'cfg', 'experiment_name', 'last_ckpt', 'best_ckpt', 'run_id'}


class Run:
    """A training in a folder of its own.

    Args:
        folder (Path): Receives checkpoints, logs and what was printed.
        config (Path): What is trained.
    """

    def __init__(self, folder: Path, config: Path) -> None:
        self.folder, self.config = folder, config
        self.log, self.printed = folder / 'events', folder / 'printed'
        folder.mkdir()

    def start(self, fault: str = '', stage: str = '', at: int = 0) -> subprocess.Popen:
        """Start it, or go on with it, with a fault in it."""
        env = dict(
            os.environ,
            PYTHONPATH=os.pathsep.join((str(ROOT), str(ROOT / 'benchmarks'))),
            FAULT=fault,
            FAULT_STAGE=stage,
            FAULT_AT=str(at),
            FAULT_LOG=str(self.log),
        )
        command = [sys.executable, str(ROOT / 'tools/train.py'), str(self.config)]
        arguments = ['--work-dir', str(self.folder / 'adapt'), '--resume']
        with open(self.printed, 'a') as printed:
            return subprocess.Popen(
                [*command, *arguments],
                env=env,
                stdout=printed,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def events(self) -> List[Tuple[str, str, int]]:
        """What the training has told: event, stage, iteration."""
        if not self.log.exists():
            return []
        lines = self.log.read_text().splitlines()
        return [(e, s, int(i)) for e, s, i in (line.split() for line in lines)]

    def wait_for_events(self, process: subprocess.Popen, told: int = 0) -> None:
        """Wait until a training has told more than so many events, or has ended."""
        while len(self.events()) <= told and process.poll() is None:
            time.sleep(0.1)

    def where(self) -> Tuple[str, int]:
        """The stage, and the iterations of it that were done."""
        events = self.events() or [('begin', 'pretrain', 0)]
        return events[-1][1:]

    def work_dirs(self) -> Iterator[Path]:
        """Folders with checkpoints, of either stage."""
        for note in self.folder.rglob('last_checkpoint'):
            yield note.parent


def processes_of(group: int) -> List[int]:
    """The processes of a session, but for those that only wait to be reaped."""
    found = []
    for stat in Path('/proc').glob('[0-9]*/stat'):
        try:
            fields = stat.read_text().rsplit(')', 1)[1].split()
        except OSError:  # It has just ended.
            continue
        if int(fields[3]) == group and fields[0] != 'Z':
            found.append(int(stat.parent.name))
    return found


def gone(group: int, seconds: float = 60) -> bool:
    """Whether all processes of a session end by themselves."""
    end = time.monotonic() + seconds
    while processes_of(group) and time.monotonic() < end:
        time.sleep(0.2)
    return not processes_of(group)


def disturb(
    run: Run, faults: List[str], start: float, pace: float, draw: random.Random
) -> Dict:
    """Kill and resume a run once for each fault, then let it end.

    Args:
        run (Run): The run.
        faults (list[str]): Names, in the order in which they strike.
        start (float): Seconds until the undisturbed run has begun to train.
        pace (float): Seconds of its iterations.
        draw (random.Random): Decides on moments.

    Returns:
        dict: ``lost``: iterations by fault, one entry for each time;
        ``problems``: what went wrong.
    """
    lost, problems = defaultdict(list), []
    earlier: Optional[Tuple[str, Tuple[str, int]]] = None
    for fault in track([*faults, ''], 'kills'):
        stage, done = run.where()
        at = done + draw.randint(1, INTERVAL)
        told = len(run.events())
        by_clock = fault == BY_CLOCK
        process = run.start('' if by_clock else fault, stage, at)
        if by_clock:
            # One in four while it starts, the others while it trains.
            seconds = draw.uniform(0, start)
            if draw.random() > 0.25:
                run.wait_for_events(process, told)
                seconds = draw.uniform(0, 2 * INTERVAL * pace)
            try:
                process.wait(seconds)
            except subprocess.TimeoutExpired:
                os.kill(process.pid, signal.SIGKILL)
        code = process.wait()
        if not gone(process.pid):
            problems.append(f'{fault}: {len(processes_of(process.pid))} processes left')
        begun = [event for event in run.events()[told:] if event[0] == 'begin']
        if earlier and begun:
            fault_before, (stage_before, done_before) = earlier
            begun_stage, begun_at = begun[0][1:]
            back = done_before - begun_at if begun_stage == stage_before else 0
            lost[fault_before].append(back)
            if back > INTERVAL:
                problems.append(f'{fault_before}: {back} iterations lost')
            if (stage_before, begun_stage) == ('adapt', 'pretrain'):
                problems.append(f'{fault_before}: the first stage is lost')
            earlier = None
        if code == -signal.SIGKILL:
            # Killed before it has begun, it has lost nothing of its own.
            earlier = (fault, run.where()) if begun else earlier
            if not begun:
                lost[fault].append(0)
        elif code != 0:
            problems.append(f'{fault or "at the end"}: exit {code}, see {run.printed}')
            break
        elif fault:
            problems.append(f'{fault}: the training has ended before')
        for work_dir in run.work_dirs():
            named = (work_dir / 'last_checkpoint').read_text()
            if latest_checkpoint(str(work_dir)) != named:
                problems.append(f'{fault}: {named} does not load')
        print(f'  {fault or "left alone"}: {run.where()}', file=sys.stderr, flush=True)
    return dict(lost=lost, problems=problems)


def differences(a: Any, b: Any, where: str = '') -> Iterator[str]:
    """Where two checkpoints' contents differ, by a bit."""
    if isinstance(a, dict) and isinstance(b, dict):
        for key in sorted({*a, *b}, key=str):
            if str(key).rsplit('/')[-1] not in NOT_COMPARED:
                missing = object()
                pair = a.get(key, missing), b.get(key, missing)
                yield from differences(*pair, f'{where}.{key}')
    elif isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
        if len(a) != len(b):
            yield f'{where}: {len(a)} and {len(b)} entries'
        for index, pair in enumerate(zip(a, b)):
            yield from differences(*pair, f'{where}[{index}]')
    elif isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
        if a.dtype != b.dtype or not torch.equal(a, b):
            yield where
    elif isinstance(a, HistoryBuffer) and isinstance(b, HistoryBuffer):
        yield from differences(a.data, b.data, where)
    elif isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        yield from differences(a.tolist(), b.tolist(), where)
    elif not isinstance(a, type(b)) or repr(a) != repr(b):
        yield f'{where}: {a!r} and {b!r}'


def compare(whole: Run, parts: Run) -> List[str]:
    """What differs between two runs that have ended."""
    found = []
    for name in ('adapt', 'pretrain/*'):
        (a,), (b,) = (list(run.folder.glob(name)) for run in (whole, parts))
        paths = [sorted(p.name for p in folder.glob('*.pt*')) for folder in (a, b)]
        found += differences(*paths, f'{name}: files')
        for path in a.glob('*.pth'):
            if (b / path.name).exists():
                contents = [read_checkpoint(str(f / path.name)) for f in (a, b)]
                found += differences(*contents, f'{name}/{path.name}')
        found += differences(*(load_scalars(str(f)) for f in (a, b)), f'{name}: log')
    return found


def soak(adaptation: str, kills: int, seed: int, folder: Path) -> Tuple[List, List]:
    """The rows of one adaptation, and its problems."""
    draw = random.Random(seed)
    change = AT_CHANGE_OF_STAGE if kills > len(AT_CHANGE_OF_STAGE) else []
    kinds = [BY_CLOCK, *(fault for fault in FAULTS if fault not in AT_CHANGE_OF_STAGE)]
    others: List[str] = []
    while len(others) < kills - len(change):
        others += draw.sample(kinds, len(kinds))
    del others[kills - len(change) :]
    # A third in the first stage, then those at its end, then the others.
    first = len(others) // 3
    faults = [*others[:first], *change, *others[first:]]
    # A kill strikes after two intervals at the latest.
    lengths = [2 * INTERVAL * (n + 2) for n in (first, len(others) - first)]
    config = write_tiny_training(
        folder, adaptation, *lengths, interval=INTERVAL, hook='FaultHook'
    )
    whole, parts = (Run(folder / name, config) for name in ('whole', 'parts'))
    began = time.monotonic()
    process = whole.start()
    whole.wait_for_events(process)
    start = time.monotonic() - began
    if process.wait() != 0:
        sys.exit(f'the undisturbed run has failed:\n{whole.printed.read_text()}')
    pace = (time.monotonic() - began - start) / sum(lengths)
    result = disturb(parts, faults, start, pace, draw)
    problems = result['problems']
    if not problems:
        problems += [f'differs: {where}' for where in compare(whole, parts)]
    rows = []
    for fault, lost in result['lost'].items():
        how = 'SIGKILL from outside' if fault == BY_CLOCK else 'SIGKILL from within'
        same = 'differs' if problems else 'identical'
        rows.append([adaptation, fault, how, len(lost), max(lost), same])
    return rows, problems


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--adaptation', nargs='+', default=['regda'], metavar='NAME')
    parser.add_argument('--kills', type=int, default=20, help='in a row (20)')
    parser.add_argument('--seed', type=int, default=0, help='of faults and moments')
    parser.add_argument('--keep', type=Path, help='where to keep what is written')
    args = parser.parse_args()
    header = ['adaptation', 'killed', 'how', 'times', 'iterations lost (most)', 'end']
    table, problems = [header, ['---'] * 3 + ['--:'] * 2 + ['---']], []
    with tempfile.TemporaryDirectory() as temporary:
        for adaptation in args.adaptation:
            folder = (args.keep or Path(temporary)) / adaptation
            folder.mkdir(parents=True)
            print(adaptation, file=sys.stderr, flush=True)
            rows, found = soak(adaptation, args.kills, args.seed, folder)
            table += rows
            problems += [f'{adaptation}: {problem}' for problem in found]
    for row in table:
        print(f'| {" | ".join(map(str, row))} |')
    print(f'\nA checkpoint every {INTERVAL} iterations.')
    if problems:
        sys.exit('\n'.join(problems))


if __name__ == '__main__':
    main()
