"""Scores of a model on a domain that need no label of it."""

from mmregda.evaluation.validators.base import Validator
from mmregda.evaluation.validators.consistency import label_free_evidence
from mmregda.evaluation.validators.entropy import MutualInformation, NegativeEntropy
from mmregda.evaluation.validators.equivariance import Equivariance
from mmregda.evaluation.validators.flatness import Flatness
from mmregda.evaluation.validators.importance_weighted import (
    ImportanceWeightedValidation,
)
from mmregda.evaluation.validators.mix_val import MixVal
from mmregda.evaluation.validators.soft_neighborhood_density import (
    SoftNeighborhoodDensity,
)

__all__ = [
    'Equivariance',
    'Flatness',
    'ImportanceWeightedValidation',
    'MixVal',
    'MutualInformation',
    'NegativeEntropy',
    'SoftNeighborhoodDensity',
    'Validator',
    'label_free_evidence',
]
