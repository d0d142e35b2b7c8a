"""Metrics."""

from mmregda.evaluation.grouped_pck import GroupedPCKAccuracy

__all__ = ['GroupedPCKAccuracy']
