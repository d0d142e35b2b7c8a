"""Checkpoints that are read back."""

from __future__ import annotations

import logging
import os
import zipfile
from glob import escape, glob
from typing import Any, Dict, List, Optional

from mmengine.logging import print_log
from mmengine.runner import Runner, find_latest_checkpoint
from mmengine.runner.checkpoint import CheckpointLoader

from mmregda.engine.distributed import agreed
from mmregda.errors import InputError

# What a training is resumed from, beside the schedulers, which it may not have.
_STATES = ('meta', 'state_dict', 'message_hub', 'optimizer')


def read_checkpoint(path: str) -> Dict[str, Any]:
    """All that a checkpoint holds, on the CPU.

    Raises:
        InputError: If the file does not exist, is damaged, or holds what is
            not loaded from a data file.
    """
    if '://' not in path and not os.path.isfile(path):
        raise InputError(f'checkpoint "{path}" does not exist')
    try:
        content = CheckpointLoader.load_checkpoint(path, 'cpu', logger='silent')
    except Exception as error:  # What a forged file makes its readers raise is theirs.
        reason = f'{type(error).__name__}: {error}'.rstrip(': ')
        raise InputError(
            f'checkpoint "{path}" can not be loaded. Is it whole, and one of '
            f'PyTorch? ({reason})'
        ) from error
    if not isinstance(content, dict):
        raise InputError(f'checkpoint "{path}" holds no state_dict')
    return content


def latest_checkpoint(work_dir: str) -> Optional[str]:
    """The checkpoint to resume a training from.

    It is the one that ``last_checkpoint`` names. If that can not be read, or
    there is no such note, it is the newest in the folder that can, and a
    warning says so.

    Args:
        work_dir (str): Where the training has left ``last_checkpoint``.

    Returns:
        str, optional: The file; None if the training has saved nothing.

    Raises:
        InputError: If there are checkpoints of which none can be read.
    """
    note = os.path.join(work_dir, 'last_checkpoint')
    noted = os.path.isfile(note)
    named = (find_latest_checkpoint(work_dir) if noted else '') or ''
    # The work directory may have been moved since.
    moved = os.path.join(work_dir, os.path.basename(named))
    named = moved if os.path.isfile(moved) else named
    folder = os.path.dirname(named) or work_dir
    others = set(glob(os.path.join(escape(folder), '*.pth'))) - {named}
    candidates = sorted(others, key=os.path.getmtime, reverse=True)
    problems: List[str] = []
    for path in [named, *candidates] if noted else candidates:
        try:
            content = read_checkpoint(path)
            _require_sound(path)
            missing = [state for state in _STATES if state not in content]
        except InputError as error:
            problems.append(str(error))
            continue
        if missing:
            problems += [f'"{path}" has no {missing[0]}'] * (path == named)
            continue
        if not noted:
            problems.insert(0, f'"{note}" is not there')
        for problem in problems:
            print_log(problem, logger='current', level=logging.WARNING)
        if problems:
            message = f'Resuming from "{path}" instead.'
            print_log(message, logger='current', level=logging.WARNING)
        return path
    # Without a note, files that are no checkpoints of a training do not matter.
    if not noted and not problems:
        return None
    raise InputError(
        f'"{work_dir}" has no checkpoint to resume from: {"; ".join(problems)}. '
        'Leave --resume out to start anew.'
    )


def _require_sound(path: str) -> None:
    """Compare checksums: a disk may have lost a part in the middle of a file."""
    # Not so before PyTorch 1.6, and then there are none.
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
        if damaged:
            raise InputError(f'checkpoint "{path}" is damaged in {damaged}')


def resume_from_latest(runner: Runner) -> None:
    """Have a runner that resumes do so from :func:`latest_checkpoint`.

    MMEngine would take the one that ``last_checkpoint`` names, be it whole or
    not. If the config names another, it stays with that.
    """
    if runner._resume and runner._load_from is None:
        runner._load_from = agreed(latest_checkpoint(runner.work_dir))
