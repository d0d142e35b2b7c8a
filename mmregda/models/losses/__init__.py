"""Losses."""

from mmregda.models.losses.keypoint_kl import (
    GroundFalseKLLoss,
    KeypointKLLoss,
    ground_false,
)
from mmregda.models.losses.mmd import MultiKernelMMDLoss

__all__ = ['GroundFalseKLLoss', 'KeypointKLLoss', 'MultiKernelMMDLoss', 'ground_false']
