"""Fourier domain adaptation."""

from __future__ import annotations

from typing import Dict, Optional

import torch
from mmengine.optim import OptimWrapperDict
from mmpose.registry import MODELS
from torch import Tensor, nn

from mmregda.errors import InputError
from mmregda.models.adaptations.base import BaseAdaptation, labeled_loss, minimize


@MODELS.register_module()
class FDA(BaseAdaptation):
    r"""`Fourier Domain Adaptation`_ (Yang & Soatto, CVPR 2020), its images alone.

    Source images take the low frequencies of the amplitude spectrum of target images
    (:func:`restyle_`) and keep their labels:

    .. math::
        \min_{\psi, f} L_{sup}(f) \quad \text{on } \mathcal{F}^{-1}(
        [M_\beta \mathcal{F}^A(x^t) + (1 - M_\beta) \mathcal{F}^A(x^s),
        \mathcal{F}^P(x^s)])

    The paper's entropy on the target and its rounds of self-training are left out.

    Args:
        head (dict, optional): Not used; no head is added.
        beta (float): Of :func:`restyle_`. Defaults to 0.01.

    .. _Fourier Domain Adaptation: https://arxiv.org/abs/2004.05498
    """

    label = 'FDA: the source in the style of the target'

    def __init__(self, head: Optional[dict] = None, beta: float = 0.01) -> None:
        super().__init__()
        self.beta = beta

    def step(
        self,
        model: nn.Module,
        batches: Dict[str, dict],
        optim_wrapper: OptimWrapperDict,
    ) -> Dict[str, Tensor]:
        source, target = batches['source'], batches['target']
        restyle_(model, source['inputs'], target['inputs'], self.beta)
        with model.autocast(optim_wrapper):
            loss = labeled_loss(model, source)
        minimize(loss, optim_wrapper, ('feature_extractor', 'head'))
        return dict(loss_sup=loss.detach())


@torch.no_grad()
def restyle_(
    model: nn.Module, images: Tensor, styles: Tensor, beta: float, alpha: float = 1.0
) -> None:
    """Give images the low frequencies of others' amplitude spectra, in place.

    Phases stay, and so does what is where.

    Args:
        model (DomainAdaptiveTopdown): By whose mean and std images are normalised:
            the spectra are those of pixels.
        images (Tensor): (B, 3, H, W).
        styles (Tensor): (B', 3, H, W), taken in turn.
        beta (float): Frequencies of up to ``floor(beta * min(H, W))`` periods in the
            image's width and height are low.
        alpha (float): The part of the amplitude that is the others'. Defaults to 1.

    Raises:
        InputError: If the images are not of one size.
    """
    if images.shape[1:] != styles.shape[1:]:
        raise InputError(
            f'images of {tuple(images.shape[2:])} cannot take the style of others of '
            f'{tuple(styles.shape[2:])} (height, width). Give TopdownAffine the same '
            'input_size in the pipelines of source and target.'
        )
    mean = getattr(model.data_preprocessor, 'mean', 0.0)
    std = getattr(model.data_preprocessor, 'std', 1.0)
    turn = torch.arange(len(images), device=images.device) % len(styles)
    own, other = (
        torch.fft.fft2(x.float() * std + mean) for x in (images, styles[turn])
    )
    size = images.shape[-2:]
    y, x = (torch.fft.fftfreq(n, 1 / n, device=images.device).abs() for n in size)
    limit = int(beta * min(size))
    low = (y.round() <= limit).unsqueeze(1) & (x.round() <= limit)
    amplitude = torch.where(low, own.abs().lerp(other.abs(), alpha), own.abs())
    pixels = torch.fft.ifft2(torch.polar(amplitude, own.angle())).real
    images.copy_((pixels - mean) / std)
