"""Metrics."""

from mmregda.evaluation.grouped_pck import GroupedPCKAccuracy
from mmregda.evaluation.validators import label_free_evidence

__all__ = ['GroupedPCKAccuracy', 'label_free_evidence']
