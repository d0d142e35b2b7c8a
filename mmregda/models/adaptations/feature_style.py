"""Adaptive instance normalisation inside a backbone."""

from __future__ import annotations

from contextlib import contextmanager
from typing import Iterator, List, Optional, Tuple

import torch
from torch import Tensor, nn

from mmregda.errors import InputError, close_matches

Style = Tuple[Tensor, Tensor]
"""Mean and standard deviation of each channel of each image."""


class FeatureStyle:
    r"""`AdaIN`_ (Huang & Belongie, ICCV 2017) of the features of one layer.

    Features x of an image keep what is where and take the channels' mean and standard
    deviation of another image's features y:

    .. math::
        \sigma(y) \frac{x - \mu(x)}{\sigma(x)} + \mu(y)

    Args:
        backbone (nn.Module): The network.
        layer (str): The name of a module in it that gives a map (B, C, h, w) or
            tokens (B, N, C), such as ``layer1`` of a ResNet.

    Raises:
        InputError: If the backbone has no such module.

    .. _AdaIN: https://arxiv.org/abs/1703.06868
    """

    def __init__(self, backbone: nn.Module, layer: str) -> None:
        modules = dict(backbone.named_modules())
        if layer not in modules or not layer:
            near = close_matches(layer, filter(None, modules))
            raise InputError(
                f'{type(backbone).__name__} has no layer "{layer}" whose features '
                f'could be restyled.{near} Set model.adaptation.feature_style.layer '
                'to the name of one of its modules.'
            )
        self.layer = layer
        self._backbone, self._module = backbone, modules[layer]
        self._given: Optional[Tuple[Style, float]] = None
        # A hook for good, so that a compiler finds it there.
        self._module.register_forward_hook(self._restyle)

    @torch.no_grad()
    def of(self, images: Tensor) -> Style:
        """The style of images (B, 3, H, W), which pass the backbone.

        Raises:
            InputError: If the layer gives neither a map nor tokens.
        """
        seen: List[Tensor] = []
        handle = self._module.register_forward_hook(lambda *args: seen.append(args[-1]))
        try:
            self._backbone(images)
        finally:
            handle.remove()
        if not (seen and isinstance(seen[0], Tensor) and seen[0].ndim in (3, 4)):
            raise InputError(
                f'model.adaptation.feature_style.layer: "{self.layer}" gives no '
                'features of shape (B, C, h, w) or (B, N, C). Name another layer.'
            )
        return _statistics(seen[0])

    @contextmanager
    def given(self, style: Optional[Style], alpha: float = 1.0) -> Iterator[None]:
        """Within, features take this style, image by image in turn.

        Args:
            style (tuple[Tensor], optional): As of :meth:`of`. With none, features stay
                as they are.
            alpha (float): The part of the restyled features in what goes on.
        """
        self._given = None if style is None else (style, alpha)
        try:
            yield
        finally:
            self._given = None

    def _restyle(self, module: nn.Module, args: tuple, x: Tensor) -> Tensor:
        if self._given is None:
            return x
        style, alpha = self._given
        mean, std = _statistics(x)
        turn = torch.arange(len(x), device=x.device) % len(style[0])
        restyled = (x.float() - mean) / std * style[1][turn] + style[0][turn]
        return x.lerp(restyled.to(x.dtype), alpha)


def _statistics(x: Tensor) -> Style:
    """Over the positions of (B, C, h, w) or (B, N, C), which are kept as axes."""
    std, mean = torch.std_mean(
        x.float(), (2, 3) if x.ndim == 4 else 1, correction=0, keepdim=True
    )
    return mean, std + 1e-5
