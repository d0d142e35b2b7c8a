"""Figures, and what they are drawn from."""

from mmregda.visualization.curves import load_scalars
from mmregda.visualization.prediction_files import (
    draw_predictions,
    write_predictions,
)
from mmregda.visualization.predictions import (
    DrawnSample,
    Predictions,
    predict_run,
    predict_samples,
)
from mmregda.visualization.qualitative import plot_predictions
from mmregda.visualization.report import write_report
from mmregda.visualization.runs import Run, labeled, load_run
from mmregda.visualization.samples import (
    TrainingSample,
    draw_samples,
    write_sample_sheet,
)
from mmregda.visualization.statistics import plot_statistics

__all__ = [
    'DrawnSample',
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
    'predict_samples',
    'write_predictions',
    'write_report',
    'write_sample_sheet',
]
