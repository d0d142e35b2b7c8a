"""The model, its adaptation methods, losses and necks."""

from mmregda.models.adaptations import (
    DAN,
    DANN,
    MCD,
    AdaBN,
    BaseAdaptation,
    DisparityDiscrepancy,
    GroundFalseMinimax,
    MeanTeacherRegDA,
    RegDA,
    SourceOnly,
)
from mmregda.models.backbones import TimmBackbone
from mmregda.models.data_preprocessor import PromptPoseDataPreprocessor
from mmregda.models.domain_adaptive_topdown import DomainAdaptiveTopdown
from mmregda.models.losses import (
    GroundFalseKLLoss,
    KeypointKLLoss,
    MultiKernelMMDLoss,
)
from mmregda.models.necks import DeconvNeck
from mmregda.models.position_space import (
    HeatmapSpace,
    PositionSpace,
    SimCCSpace,
    position_space_of,
)

__all__ = [
    'DAN',
    'DANN',
    'MCD',
    'AdaBN',
    'BaseAdaptation',
    'DeconvNeck',
    'DisparityDiscrepancy',
    'DomainAdaptiveTopdown',
    'GroundFalseKLLoss',
    'GroundFalseMinimax',
    'HeatmapSpace',
    'KeypointKLLoss',
    'MeanTeacherRegDA',
    'MultiKernelMMDLoss',
    'PositionSpace',
    'PromptPoseDataPreprocessor',
    'RegDA',
    'SimCCSpace',
    'SourceOnly',
    'TimmBackbone',
    'position_space_of',
]
