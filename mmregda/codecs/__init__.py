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
from mmregda.codecs.position_space import (
    HeatmapSpace,
    PositionSpace,
    SimCCSpace,
    position_space_of,
)

__all__ = [
    'GaussianHeatmap',
    'HeatmapSpace',
    'PositionSpace',
    'ProbabilityDecoder',
    'SimCCProbabilityDecoder',
    'SimCCSpace',
    'argmax_keypoints',
    'gaussian_heatmaps',
    'heatmap_confidence',
    'position_space_of',
    'relative_probability',
    'simcc_confidence',
]
