"""Layers that autocast leaves alone."""

from __future__ import annotations

from types import MethodType

import torch
from torch import Tensor, nn


def keep_precision(layer: nn.Module) -> None:
    """Let a layer compute in the type of its weights, also under autocast.

    A heatmap of bfloat16 has 8 binary digits: around its maximum several
    positions are equal, and the argmax is the first of them, which is the one
    up and to the left. The features that the last layer sums are many, and
    their rounding averages out; that of its result does not.

    Args:
        layer (nn.Module): A layer of one input with ``weight``, changed in
            place. Its class and the names of its weights stay.
    """
    # No hooks, which cannot run a layer within a context; a layer in its place would
    # be of another class or name. A method and not a closure: copies get their own.
    layer.forward = MethodType(_forward_uncast, layer)


def _forward_uncast(layer: nn.Module, x: Tensor) -> Tensor:
    if x.device.type == 'meta':  # which knows no autocast
        return type(layer).forward(layer, x)
    with torch.autocast(x.device.type, enabled=False):
        return type(layer).forward(layer, x.to(layer.weight.dtype))
