"""Adaptive instance normalisation inside a backbone."""

from __future__ import annotations

from contextlib import contextmanager
from typing import Iterator, List, Optional, Tuple

import torch
from torch import Tensor, nn

from mmregda.errors import InputError, close_matches

Style = Tuple[Tensor, Tensor]
"""Mean and standard deviation of each channel of each image."""

_EPSILON = 1e-5  # added to a variance, as batch normalisation does


class FeatureStyle:
    r"""`AdaIN`_ (Huang & Belongie, ICCV 2017) of the features of one layer.

    The features x of an image keep what is where and take each channel's mean and
    standard deviation from the features y of another image:

    .. math::
        \sigma(y) \frac{x - \mu(x)}{\sigma(x)} + \mu(y)

    Args:
        backbone (nn.Module): The network.
        layer (str): The name of a module in it that gives a map (B, C, h, w) or
            tokens (B, N, C), such as ``layer1`` of a ResNet. Class tokens count as
            positions.

    Raises:
        InputError: If the backbone has no such module.

    .. _AdaIN: https://arxiv.org/abs/1703.06868
    """

    def __init__(self, backbone: nn.Module, layer: str) -> None:
        modules = dict(backbone.named_modules())
        if layer not in modules or not layer:
            near = close_matches(str(layer), filter(None, modules))
            raise InputError(
                f'{type(backbone).__name__} has no layer "{layer}" whose features '
                f'could be restyled.{near} Set model.adaptation.feature_style.layer '
                'to the name of one of its modules.'
            )
        self.layer = layer
        self._backbone, self._module = backbone, modules[layer]
        # timm's Swin and others have maps (B, h, w, C).
        output_fmt = str(getattr(getattr(backbone, 'net', None), 'output_fmt', ''))
        self._positions = (1, 2) if output_fmt.endswith('NHWC') else (2, 3)
        self._given: Optional[Tuple[Style, Tensor]] = None
        # A hook for good, so that a compiler finds it there.
        self._module.register_forward_hook(self._restyle)

    @torch.no_grad()
    def of(self, images: Tensor) -> Style:
        """The style of images (B, 3, H, W), computed by a pass of the backbone.

        Raises:
            InputError: If the layer does not give one map, or one set of tokens.
        """
        seen: List[Optional[Style]] = []

        def note(module: nn.Module, args: tuple, x: Tensor) -> None:
            # At once: the next layer may write into its input.
            fits = isinstance(x, Tensor) and x.ndim in (3, 4)
            seen.append(self._statistics(x) if fits else None)

        handle = self._module.register_forward_hook(note)
        try:
            self._backbone(images)
        finally:
            handle.remove()
        if len(seen) != 1 or seen[0] is None:
            raise InputError(
                f'model.adaptation.feature_style.layer: "{self.layer}" does not give '
                'features (B, C, h, w) or (B, N, C) once for each image (a layer may '
                'be used several times, or be replaced by sync_bn). Name another layer.'
            )
        return seen[0]

    @contextmanager
    def given(self, style: Style, alpha: Tensor) -> Iterator[None]:
        """Within, features take this style.

        Args:
            style (tuple[Tensor, Tensor]): As of :meth:`of`, of images that are taken
                in turn.
            alpha (Tensor): (B,), how much of it each image takes: 0 is nothing, 1 is
                all.
        """
        self._given = style, alpha
        try:
            yield
        finally:
            self._given = None

    def _restyle(self, module: nn.Module, args: tuple, x: Tensor) -> Tensor:
        if self._given is None:
            return x
        (mean, std), alpha = self._given
        turn = torch.arange(len(x), device=x.device) % len(mean)
        own_mean, own_std = self._statistics(x)
        restyled = (x.float() - own_mean) / own_std * std[turn] + mean[turn]
        alpha = alpha.view(-1, *[1] * (x.ndim - 1))
        return (x + alpha * (restyled - x)).to(x.dtype)

    def _statistics(self, x: Tensor) -> Style:
        """Over positions, which are kept as axes."""
        positions = 1 if x.ndim == 3 else self._positions
        var, mean = torch.var_mean(x.float(), positions, correction=0, keepdim=True)
        return mean, (var + _EPSILON).sqrt()
