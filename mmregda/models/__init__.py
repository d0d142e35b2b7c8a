"""The model, its adaptation methods, losses and necks."""

from mmregda.models.adaptations import METHODS, BaseAdaptation
from mmregda.models.backbones import TimmBackbone
from mmregda.models.data_preprocessor import PromptPoseDataPreprocessor
from mmregda.models.domain_adaptive_topdown import DomainAdaptiveTopdown
from mmregda.models.losses import GroundFalseKLLoss, KeypointKLLoss, MultiKernelMMDLoss
from mmregda.models.necks import DeconvNeck
from mmregda.models.position_space import (
    HeatmapSpace,
    PositionSpace,
    SimCCSpace,
    position_space_of,
)

globals().update(METHODS)

__all__ = [
    'BaseAdaptation',
    'DeconvNeck',
    'DomainAdaptiveTopdown',
    'GroundFalseKLLoss',
    'HeatmapSpace',
    'KeypointKLLoss',
    'MultiKernelMMDLoss',
    'PositionSpace',
    'PromptPoseDataPreprocessor',
    'SimCCSpace',
    'TimmBackbone',
    'position_space_of',
]
__all__ += METHODS
