"""Adaptation methods, one file each."""

from mmregda.models.adaptations.base import (
    BaseAdaptation,
    counted_twice,
    frozen,
    minimize,
)
from mmregda.models.adaptations.regda import RegDA
from mmregda.models.adaptations.source_only import SourceOnly
from mmregda.models.adaptations.warm_start import WarmStartGradientScale

__all__ = [
    'BaseAdaptation',
    'RegDA',
    'SourceOnly',
    'WarmStartGradientScale',
    'counted_twice',
    'frozen',
    'minimize',
]
