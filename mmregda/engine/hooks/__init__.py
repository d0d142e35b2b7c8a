"""Hooks."""

from mmregda.engine.hooks.checkpoint_hook import AtomicCheckpointHook
from mmregda.engine.hooks.progress_hook import ProgressBarHook
from mmregda.engine.hooks.rehearsal_hook import RehearsalHook
from mmregda.engine.hooks.resume_hook import ResumeHook
from mmregda.engine.hooks.start_weights_hook import StartWeightsHook
from mmregda.engine.hooks.statistics_hook import DisparityStatisticsHook
from mmregda.engine.hooks.visualization_hook import DomainVisualizationHook

__all__ = [
    'AtomicCheckpointHook',
    'DisparityStatisticsHook',
    'DomainVisualizationHook',
    'ProgressBarHook',
    'RehearsalHook',
    'ResumeHook',
    'StartWeightsHook',
]
