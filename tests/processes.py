"""Runs a function in several processes, as a launcher starts them."""

from __future__ import annotations

import multiprocessing
import os
import socket
import sys
import tempfile
import time
import traceback
from multiprocessing import forkserver
from pathlib import Path
from typing import Any, Callable, List, NamedTuple, Optional
from unittest import mock

import torch

# One process imports everything; the others are its forks.
_server = multiprocessing.get_context('forkserver')
_server.set_forkserver_preload(['mmregda', 'conftest'])
# NCCL wants a GPU for each process, of which no test has more than four. Where there
# are fewer, the processes see none.
DEVICE = 'cuda' if torch.cuda.device_count() >= 4 else 'cpu'
if 0 < torch.cuda.device_count() < 4:
    with mock.patch.dict(os.environ, CUDA_VISIBLE_DEVICES=''):
        forkserver.ensure_running()


class Outcome(NamedTuple):
    """What became of a process: what it returned, or the error that ended it."""

    value: Any = None
    error: Optional[str] = None
    exitcode: Optional[int] = None


def outcomes(
    function: Callable, world_size: int, *args: Any, timeout: float = 300
) -> List[Outcome]:
    """Call ``function(*args)`` in every process.

    Args:
        function (Callable): Of a module's top level. What it returns must be
            what :func:`torch.save` takes.
        world_size (int): The number of processes, with torchrun's variables.
        timeout (float): In seconds; what has not ended by then is killed.

    Raises:
        AssertionError: If a process had to be killed.
    """
    with socket.socket() as free, tempfile.TemporaryDirectory() as folder:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
        free.close()
        files = [Path(folder) / str(rank) for rank in range(world_size)]
        processes = [
            _server.Process(
                target=_call, args=(rank, world_size, port, files[rank], function, args)
            )
            for rank in range(world_size)
        ]
        for process in processes:
            process.start()
        deadline = time.monotonic() + timeout
        for process in processes:
            process.join(max(0, deadline - time.monotonic()))
        hanging = [i for i, p in enumerate(processes) if p.is_alive()]
        for process in processes:
            process.kill()
            process.join()
        assert not hanging, f'processes {hanging} hang after {timeout} s'
        return [
            Outcome(
                *(torch.load(file, weights_only=False) if file.exists() else ()),
            )._replace(exitcode=process.exitcode)
            for file, process in zip(files, processes)
        ]


def results(function: Callable, world_size: int, *args: Any, **kwargs) -> List[Any]:
    """What ``function(*args)`` returns in every process."""
    found = outcomes(function, world_size, *args, **kwargs)
    failed = [f'process {i}: {o}' for i, o in enumerate(found) if o.exitcode != 0]
    assert not failed, '\n'.join(failed)
    return [outcome.value for outcome in found]


def _call(rank, world_size, port, file, function, args) -> None:
    from mmengine.registry import init_default_scope

    # What is no concern of a training, which starts its own workers by forking.
    multiprocessing.set_start_method('fork', force=True)
    os.environ.update(
        OMP_NUM_THREADS='1',
        MKL_NUM_THREADS='1',
        RANK=str(rank),
        LOCAL_RANK=str(rank),
        WORLD_SIZE=str(world_size),
        MASTER_ADDR='127.0.0.1',
        MASTER_PORT=str(port),
    )
    torch.set_num_threads(1)
    init_default_scope('mmpose')
    # As in conftest: configs are written without a layout.
    import yapf.yapflib.yapf_api

    yapf.yapflib.yapf_api.FormatCode = lambda text, **_: (text, True)
    try:
        torch.save((function(*args),), file)
    except Exception as error:
        torch.save((None, f'{type(error).__name__}: {error}'), file)
        traceback.print_exc()
        sys.exit(1)
