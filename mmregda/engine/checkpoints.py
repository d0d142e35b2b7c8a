"""Checkpoints that are read back."""

from __future__ import annotations

import logging
import os
import re
import zipfile
from glob import escape, glob
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

import torch
from mmengine.device import get_device
from mmengine.logging import print_log
from mmengine.runner.checkpoint import CheckpointLoader
from mmpose.registry import MODELS
from torch import Tensor, nn

from mmregda.datasets.keypoint_names import keypoint_names
from mmregda.errors import InputError, building, during
from mmregda.models.backbones.weight_sources import require_tensors
from mmregda.models.necks import DeconvNeck

# Where a run says which checkpoint is its last.
NOTE = 'last_checkpoint'
# What it says while there is none: what lies there is an earlier run's.
NONE_YET = 'none'


class Checkpoint(NamedTuple):
    """A checkpoint that was read.

    Attributes:
        path (str): The file.
        content (dict): What it holds, on the CPU.
    """

    path: str
    content: Dict[str, Any]


def read_checkpoint(path: str) -> Dict[str, Any]:
    """All that a checkpoint holds, on the CPU.

    Raises:
        InputError: If the file does not exist, is damaged, or holds what is
            not loaded from a data file.
    """
    if '://' not in path and not os.path.isfile(path):
        raise InputError(f'checkpoint "{path}" does not exist')
    _take_back(path)  # A run that failed may not have taken what it was handed.
    with during(
        f'checkpoint "{path}" cannot be loaded', 'Is it whole, and one of PyTorch?'
    ):
        content = CheckpointLoader.load_checkpoint(path, 'cpu', logger='silent')
    if not isinstance(content, dict):
        raise InputError(f'checkpoint "{path}" holds no state_dict')
    return content


def hand_over(path: str, content: Dict[str, Any]) -> None:
    """Have MMEngine take what was read of a file, once, in place of reading it again.

    Args:
        path (str): The file.
        content (dict): What :func:`read_checkpoint` has read.
    """

    # MMEngine's log calls a loader by the end of its name.
    def load_from_memory(filename: str, map_location: Any = None) -> Dict[str, Any]:
        _take_back(path)
        return content

    CheckpointLoader.register_scheme(_scheme(path), load_from_memory, force=True)


def _take_back(path: str) -> None:
    CheckpointLoader._schemes.pop(_scheme(path), None)


def _scheme(path: str) -> str:
    return f'{re.escape(path)}$'


def weights_of(content: Dict[str, Any], where: str) -> Dict[str, Tensor]:
    """The state dict in what :func:`read_checkpoint` has read.

    Raises:
        InputError: If there is none.
    """
    return require_tensors(content.get('state_dict', content), where)


def named_as_in(model: nn.Module, weights: Dict[str, Tensor]) -> Dict[str, Tensor]:
    """Weights by the names that they have in a model.

    MMPose has Simple Baselines' deconvolutions in the head, ``DeconvNeck`` in psi; a
    distributed wrapper puts ``module.`` before all names.
    """
    weights = {re.sub(r'^module\.', '', name): w for name, w in weights.items()}
    if isinstance(getattr(model, 'neck', None), DeconvNeck) and not any(
        name.startswith('neck.') for name in weights
    ):
        return {
            name.replace('head.deconv_layers.', 'neck.layers.'): value
            for name, value in weights.items()
        }
    return weights


def trained_names(content: Dict[str, Any]) -> List[str]:
    """The keypoint names that a read checkpoint's channels were trained as, if any."""
    meta = content.get('meta')
    meta = meta if isinstance(meta, dict) else {}
    names = meta.get('keypoint_names')  # of weights that pretraining has kept
    if isinstance(names, list) and all(isinstance(name, str) for name in names):
        return names
    return keypoint_names(meta.get('dataset_meta'))


def require_same_weights(
    model: nn.Module,
    weights: Dict[str, Tensor],
    where: str,
    parts: Optional[Sequence[str]] = None,
) -> None:
    """Refuse weights of another architecture, of which some would be skipped.

    Only the model's children that are named in ``parts`` matter, if any are.

    Raises:
        InputError: At the first name or shape that differs.
    """
    prefixes = '' if parts is None else tuple(f'{part}.' for part in parts)
    ours, theirs = (
        {k: v for k, v in shapes_of(state).items() if k.startswith(prefixes)}
        for state in (model.state_dict(), weights)
    )
    for name in [*ours, *theirs]:
        if ours.get(name) != theirs.get(name):
            what = 'model' if parts is None else ' and '.join(parts)
            raise InputError(
                f'the weights of "{where}" are not of this model: "{name}" is '
                f'{theirs.get(name, "missing")} there and '
                f'{ours.get(name, "missing")} here. The {what} of both must be '
                'configured alike.'
            )


def shapes_of(weights: Dict[str, Tensor]) -> Dict[str, Tuple[int, ...]]:
    """The shapes of weights, by name; () of what is no tensor."""
    return {name: tuple(getattr(w, 'shape', ())) for name, w in weights.items()}


def load_network(
    model: dict, checkpoint: str, device: Optional[str] = None
) -> nn.Module:
    """Build a model with its trained weights, ready to predict.

    Args:
        model (dict): Its config.
        checkpoint (str): Its weights.
        device (str, optional): By default the GPU if there is one.

    Returns:
        nn.Module: In evaluation mode.

    Raises:
        InputError: If the checkpoint is missing or of another model, or the
            device is not there.
    """
    place = _device(device)
    parts = [part for part in ('backbone', 'neck', 'head') if model.get(part)]
    content = read_checkpoint(checkpoint)
    with building(f'the model of "{checkpoint}"'):
        network = MODELS.build(model)
    weights = named_as_in(network, weights_of(content, checkpoint))
    require_same_weights(network, weights, checkpoint, parts)
    network.load_state_dict(weights, strict=False)
    network.trained_names = trained_names(content)
    return network.to(place).eval()


def _device(name: Optional[str]) -> torch.device:
    try:
        device = torch.device(name or get_device())
        torch.empty(0, device=device)
    # Without CUDA, PyTorch says so by an assertion.
    except (RuntimeError, AssertionError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(
            f'device "{name}" cannot be used ({reason}). Leave it out for what '
            'this machine has.'
        ) from error
    return device


def noted_checkpoint(work_dir: str) -> Optional[str]:
    """The checkpoint that a run's ``last_checkpoint`` names, which need not be there.

    The folder may have been moved since, with its checkpoints.
    """
    note = os.path.join(work_dir, NOTE)
    if not os.path.isfile(note):
        return None
    named = Path(note).read_bytes().decode(errors='replace').strip()
    if named == NONE_YET:
        return None
    moved = os.path.join(work_dir, os.path.basename(named))
    return moved if os.path.isfile(moved) else named


def latest_checkpoint(work_dir: str) -> Optional[str]:
    """The file of :func:`newest_resumable`."""
    found = newest_resumable(work_dir)
    return found and found.path


def newest_resumable(work_dir: str) -> Optional[Checkpoint]:
    """The checkpoint to resume a run from.

    It is the one that ``last_checkpoint`` names. If that cannot be read, or there is no
    such note, it is the latest in the folder that can, and a warning says so.

    Args:
        work_dir (str): Where the run has left ``last_checkpoint``.

    Returns:
        Checkpoint, optional: None if the run has saved nothing yet.

    Raises:
        InputError: If there are checkpoints of which none can be read.
    """
    named = noted_checkpoint(work_dir)
    if named is None and os.path.isfile(os.path.join(work_dir, NOTE)):
        return None
    folder = os.path.dirname(named or '') or work_dir
    found = set(glob(os.path.join(escape(folder), '*.pth')))
    others = sorted(found - {named}, key=_age)
    problems: List[str] = []
    for path in others if named is None else [named, *others]:
        content = None
        try:
            content = read_checkpoint(path)
            _require_sound(path)
            require_resumable(content, path)
        except InputError as error:
            # Others that can be read, such as the best, are not made to resume from.
            if path == named or content is None:
                problems.append(str(error))
            continue
        if named is None:
            problems.insert(0, f'"{os.path.join(work_dir, NOTE)}" is not there')
        if problems:
            problems.append(f'Resuming from "{path}" instead.')
        for problem in problems:
            print_log(problem, logger='current', level=logging.WARNING)
        return Checkpoint(path, content)
    # Files that are no checkpoints of a run do not matter.
    if not problems:
        return None
    raise InputError(
        f'"{work_dir}" has no checkpoint to resume from: {"; ".join(problems)}. '
        'Leave --resume out to start anew.'
    )


def _age(path: str) -> Tuple[int, float]:
    """Sorts the latest first: by iterations, which copying does not change."""
    numbers = re.findall(r'\d+', os.path.basename(path)) or ['-1']
    return -int(numbers[-1]), -os.path.getmtime(path)


def require_resumable(
    content: Dict[str, Any], path: str, optimizer: bool = True
) -> None:
    """Refuse a read checkpoint that holds no run.

    Raises:
        InputError: With the first entry that is missing or of another kind.
    """
    states = ('meta', 'state_dict', 'message_hub', 'optimizer')
    for name in states if optimizer else states[:-1]:
        if not isinstance(content.get(name), dict):
            raise InputError(f'"{path}" has no {name}')
    if type(content['meta'].get('iter')) is not int:
        raise InputError(f'"{path}" has no meta.iter')
    require_tensors(content['state_dict'], path)


def _require_sound(path: str) -> None:
    """Compare checksums: a disk may have lost a part in the middle of a file."""
    # Not so before PyTorch 1.6, and then there are none.
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
        if damaged:
            raise InputError(f'checkpoint "{path}" is damaged in {damaged}')
