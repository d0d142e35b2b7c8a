"""Metrics."""

from mmregda.evaluation.grouped_pck import GroupedPCKAccuracy
from mmregda.evaluation.published_pck import PublishedPCK
from mmregda.evaluation.validators import Validator, label_free_evidence

__all__ = ['GroupedPCKAccuracy', 'PublishedPCK', 'Validator', 'label_free_evidence']
