"""What a network's output says about keypoints, and what it is to say."""

from mmregda.codecs.decoding import (
    ProbabilityDecoder,
    decode_probability,
    probability_near,
    relative_probability,
)
from mmregda.codecs.gaussian_heatmap import GaussianHeatmap, gaussian_heatmaps

__all__ = [
    'GaussianHeatmap',
    'ProbabilityDecoder',
    'decode_probability',
    'gaussian_heatmaps',
    'probability_near',
    'relative_probability',
]
