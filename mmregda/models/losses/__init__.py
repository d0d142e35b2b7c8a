"""Losses."""

from mmregda.models.losses.heatmap_kl import GroundFalseKLLoss, KeypointKLLoss
from mmregda.models.losses.mmd import MultiKernelMMDLoss

__all__ = ['GroundFalseKLLoss', 'KeypointKLLoss', 'MultiKernelMMDLoss']
