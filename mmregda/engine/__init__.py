"""Training: loops over two domains, hooks, optimisers, stages."""

from mmregda.engine.distributed import PlayerDistributedDataParallel
from mmregda.engine.hooks import (
    AtomicCheckpointHook,
    DisparityStatisticsHook,
    DomainVisualizationHook,
    ProgressBarHook,
    RehearsalHook,
    ResumeHook,
)
from mmregda.engine.loops import (
    DomainAdaptTrainLoop,
    DomainTestLoop,
    DomainValLoop,
    SeededTrainLoop,
)
from mmregda.engine.optim_wrapper_constructor import PlayerOptimWrapperConstructor
from mmregda.engine.player_optim_wrappers import (
    PlayerAmpOptimWrapper,
    PlayerOptimWrapper,
)
from mmregda.engine.runner import QuietRunner
from mmregda.engine.schedulers import InverseDecayLR
from mmregda.engine.stages import evaluate, pretrain, rehearse, train

__all__ = [
    'AtomicCheckpointHook',
    'DisparityStatisticsHook',
    'DomainAdaptTrainLoop',
    'DomainTestLoop',
    'DomainValLoop',
    'DomainVisualizationHook',
    'InverseDecayLR',
    'PlayerAmpOptimWrapper',
    'PlayerDistributedDataParallel',
    'PlayerOptimWrapper',
    'PlayerOptimWrapperConstructor',
    'ProgressBarHook',
    'QuietRunner',
    'RehearsalHook',
    'ResumeHook',
    'SeededTrainLoop',
    'evaluate',
    'pretrain',
    'rehearse',
    'train',
]
