"""Figures, and what they are drawn from."""

from mmregda.visualization.curves import load_scalars
from mmregda.visualization.predictions import DrawnSample, predict_samples
from mmregda.visualization.report import write_report

__all__ = ['DrawnSample', 'load_scalars', 'predict_samples', 'write_report']
