"""What a network's output says about keypoints, and what it is to say."""

from mmregda.codecs.decoding import (
    ProbabilityDecoder,
    SimCCProbabilityDecoder,
    argmax_keypoints,
    heatmap_confidence,
    relative_probability,
    simcc_confidence,
)
from mmregda.codecs.gaussian_heatmap import GaussianHeatmap, gaussian_heatmaps

__all__ = [
    'GaussianHeatmap',
    'ProbabilityDecoder',
    'SimCCProbabilityDecoder',
    'argmax_keypoints',
    'gaussian_heatmaps',
    'heatmap_confidence',
    'relative_probability',
    'simcc_confidence',
]
