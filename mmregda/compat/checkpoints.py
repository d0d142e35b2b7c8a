"""What PyTorch's safe loader has to know of MMEngine's checkpoints."""

from __future__ import annotations

import importlib
import os
import pickle
from typing import Any, Callable, Dict, Sequence

import numpy as np
import torch
from mmengine.logging import HistoryBuffer
from mmengine.runner.checkpoint import CheckpointLoader

from mmregda.compat import plain_numpy

# NumPy 1 and 2 call the same modules by different names, and a checkpoint may
# come from either.
_MULTIARRAY = ('numpy.core.multiarray', 'numpy._core.multiarray')
# Configs as text, which MMEngine runs when it resumes or infers from a checkpoint.
_PROGRAMS = ('config', 'cfg')


def _get_statistic(owner: type, name: str) -> Callable:
    """``getattr`` as far as a checkpoint of MMEngine needs it, and no further.

    A log history is pickled with its methods ``mean``, ``max`` and so on, each
    as a call of ``getattr``. The builtin itself would reach much else.
    """
    if owner is not HistoryBuffer or name.startswith('_'):
        raise ValueError(f'a checkpoint asks for the attribute {name!r} of {owner!r}')
    return getattr(owner, name)


def allow_checkpoint_classes() -> bool:
    """Add what MMEngine's checkpoints hold to the safe loader's list."""
    multiarray = importlib.import_module(np.ndarray(0).__reduce__()[0].__module__)
    # An empty array, as of MMPose's hands without sigmas, is saved as bytes().
    classes: Sequence = [HistoryBuffer, np.ndarray, np.dtype, bytes]
    # Plain numbers only: an array of objects could hold anything.
    classes += sorted({type(np.dtype(c)) for c in '?bBhHiIlLqQefd'}, key=str)
    for name in ('_reconstruct', 'scalar'):
        for module in _MULTIARRAY:
            classes.append((getattr(multiarray, name), f'{module}.{name}'))
    classes.append((_get_statistic, 'builtins.getattr'))
    known = torch.serialization.get_safe_globals()
    new = [c for c in classes if c not in known]
    torch.serialization.add_safe_globals(new)
    return bool(new)


def read_plain_checkpoints() -> None:
    """Have MMEngine read checkpoint files by :func:`load_plain`."""
    CheckpointLoader.register_scheme('', load_plain, force=True)


def load_plain(filename: str, map_location: Any = None) -> Dict[str, Any]:
    """Load a file of weights, plain arrays, numbers and log histories.

    In place of numpy's own constructors of arrays, which the safe loader would
    call with whatever a file says, it has those of
    :mod:`mmregda.compat.plain_numpy`. What else a program has added to the
    safe loader's list stays on it. The text of the config, which is a program, is
    left out.

    Args:
        filename (str): The checkpoint.
        map_location (str | torch.device | Callable, optional): As of
            :func:`torch.load`.

    Raises:
        FileNotFoundError: If there is none.
        pickle.UnpicklingError: If it holds anything else.
    """
    filename = os.path.expanduser(filename)
    if not os.path.isfile(filename):
        raise FileNotFoundError(f'{filename} cannot be found.')
    known = torch.serialization.get_safe_globals()
    torch.serialization.clear_safe_globals()
    try:
        torch.serialization.add_safe_globals(
            [
                *(c for c in known if not _name(c).startswith(('numpy.', 'builtins.'))),
                HistoryBuffer,
                (_get_statistic, 'builtins.getattr'),
                (plain_numpy.no_bytes, 'builtins.bytes'),
                (plain_numpy.PlainType, 'numpy.dtype'),
                (plain_numpy.PlainArray, 'numpy.ndarray'),
                *((plain_numpy.empty_array, f'{m}._reconstruct') for m in _MULTIARRAY),
                *((plain_numpy.scalar, f'{m}.scalar') for m in _MULTIARRAY),
            ]
        )
        content = torch.load(filename, map_location=map_location, weights_only=True)
    except pickle.UnpicklingError as error:
        # Around the reason PyTorch explains how to load it unsafely.
        reason = str(error).partition('WeightsUnpickler error: ')[2]
        reason = reason.partition('Check the documentation')[0].strip()
        raise pickle.UnpicklingError(reason or str(error)) from error
    finally:
        torch.serialization.clear_safe_globals()
        torch.serialization.add_safe_globals(known)
    for place in (('meta',), ('message_hub', 'runtime_info')):
        entries = content
        for name in place:
            entries = entries.get(name) if isinstance(entries, dict) else None
        if isinstance(entries, dict):
            for name in _PROGRAMS:
                entries.pop(name, None)
    return content


def _name(known: Any) -> str:
    """Of what is on the safe loader's list, as files name it."""
    if isinstance(known, tuple):
        return known[1]
    return f'{known.__module__}.{known.__qualname__}'
