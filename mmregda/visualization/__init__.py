"""Figures, and what they are drawn from."""

from mmregda.visualization.curves import load_scalars
from mmregda.visualization.prediction_files import draw_predictions, write_predictions
from mmregda.visualization.predictions import Predictions, predict_run
from mmregda.visualization.qualitative import plot_predictions
from mmregda.visualization.runs import Run, labeled, load_run
from mmregda.visualization.samples import (
    TrainingSample,
    draw_samples,
    write_sample_sheet,
)
from mmregda.visualization.statistics import plot_statistics

__all__ = [
    'Predictions',
    'Run',
    'TrainingSample',
    'draw_predictions',
    'draw_samples',
    'labeled',
    'load_run',
    'load_scalars',
    'plot_predictions',
    'plot_statistics',
    'predict_run',
    'write_predictions',
    'write_sample_sheet',
]
