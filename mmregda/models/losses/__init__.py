"""Losses between heatmaps."""

from mmregda.models.losses.heatmap_kl import GroundFalseKLLoss, KeypointKLLoss

__all__ = ['GroundFalseKLLoss', 'KeypointKLLoss']
