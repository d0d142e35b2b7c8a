"""Scores of a model on a domain that need no label of it."""

from mmregda.evaluation.validators.consistency import label_free_evidence

__all__ = ['label_free_evidence']
