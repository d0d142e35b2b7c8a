"""The deconvolutions of Simple Baselines as a neck."""

from __future__ import annotations

from typing import Sequence, Tuple

from mmcv.cnn import build_upsample_layer
from mmengine.model import BaseModule
from mmpose.registry import MODELS
from torch import Tensor, nn


@MODELS.register_module()
class DeconvNeck(BaseModule):
    """Deconvolutions that belong to the feature extractor.

    MMPose's ``HeatmapHead`` holds the deconvolutions of `Simple Baselines`_
    itself. In RegDA they are part of the feature extractor psi, which adapts,
    and not of the regressor f, so here they are a neck. Use it with a head of
    ``deconv_out_channels=None``.

    Args:
        in_channels (int): Channels of the backbone's last feature map.
        out_channels (Sequence[int]): Channels of each deconvolution (4x4,
            stride 2, no bias), followed by batch normalisation and ReLU.
            Defaults to (256, 256, 256).
        init_cfg (dict | list, optional): Defaults to N(0, 0.001) weights.

    .. _Simple Baselines: https://arxiv.org/abs/1804.06208
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: Sequence[int] = (256, 256, 256),
        init_cfg=(
            dict(type='Normal', layer='ConvTranspose2d', std=0.001),
            dict(type='Constant', layer='BatchNorm2d', val=1),
        ),
    ) -> None:
        super().__init__(list(init_cfg) if isinstance(init_cfg, tuple) else init_cfg)
        layers = []
        for channels in out_channels:
            layers += [
                build_upsample_layer(
                    dict(
                        type='deconv',
                        in_channels=in_channels,
                        out_channels=channels,
                        kernel_size=4,
                        stride=2,
                        padding=1,
                        bias=False,
                    )
                ),
                nn.BatchNorm2d(channels),
                nn.ReLU(inplace=True),
            ]
            in_channels = channels
        self.layers = nn.Sequential(*layers)

    def forward(self, feats: Tuple[Tensor, ...]) -> Tuple[Tensor]:
        """Upsample the last feature map.

        Args:
            feats (tuple[Tensor]): Feature maps; the last is (B, C, h, w).

        Returns:
            tuple[Tensor]: One map, (B, C', h * 2^n, w * 2^n) for n
            deconvolutions.
        """
        return (self.layers(feats[-1]),)
