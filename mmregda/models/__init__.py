"""The model, its adaptation methods, losses and necks."""

from mmregda.models.adaptations import METHODS, BaseAdaptation
from mmregda.models.backbones import TimmBackbone
from mmregda.models.data_preprocessor import PromptPoseDataPreprocessor
from mmregda.models.domain_adaptive_topdown import DomainAdaptiveTopdown
from mmregda.models.losses import GroundFalseKLLoss, KeypointKLLoss, MultiKernelMMDLoss
from mmregda.models.necks import DeconvNeck

globals().update(METHODS)

__all__ = [
    'BaseAdaptation',
    'DeconvNeck',
    'DomainAdaptiveTopdown',
    'GroundFalseKLLoss',
    'KeypointKLLoss',
    'MultiKernelMMDLoss',
    'PromptPoseDataPreprocessor',
    'TimmBackbone',
]
__all__ += METHODS
