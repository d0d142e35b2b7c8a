"""Adaptation methods, one file each."""

from mmregda.models.adaptations.adabn import AdaBN
from mmregda.models.adaptations.adversarial_regression import AdversarialRegression
from mmregda.models.adaptations.base import (
    BaseAdaptation,
    frozen,
    minimize,
    pooled,
)
from mmregda.models.adaptations.dan import DAN
from mmregda.models.adaptations.dann import DANN
from mmregda.models.adaptations.disparity_discrepancy import DisparityDiscrepancy
from mmregda.models.adaptations.ground_false_minimax import GroundFalseMinimax
from mmregda.models.adaptations.mcd import MCD
from mmregda.models.adaptations.mean_teacher_regda import MeanTeacherRegDA
from mmregda.models.adaptations.regda import RegDA
from mmregda.models.adaptations.source_only import SourceOnly
from mmregda.models.adaptations.warm_start import WarmStartGradientScale
from mmregda.models.batch_norm import counted

__all__ = [
    'DAN',
    'DANN',
    'MCD',
    'AdaBN',
    'AdversarialRegression',
    'BaseAdaptation',
    'DisparityDiscrepancy',
    'GroundFalseMinimax',
    'MeanTeacherRegDA',
    'RegDA',
    'SourceOnly',
    'WarmStartGradientScale',
    'counted',
    'frozen',
    'minimize',
    'pooled',
]
