"""The model, its adaptation methods, losses and necks."""

from mmregda.models.adaptations import BaseAdaptation, RegDA, SourceOnly
from mmregda.models.domain_adaptive_topdown import DomainAdaptiveTopdown
from mmregda.models.losses import GroundFalseKLLoss, KeypointKLLoss
from mmregda.models.necks import DeconvNeck

__all__ = [
    'BaseAdaptation',
    'DeconvNeck',
    'DomainAdaptiveTopdown',
    'GroundFalseKLLoss',
    'KeypointKLLoss',
    'RegDA',
    'SourceOnly',
]
