"""Published datasets read as they are, and transforms that MMPose lacks."""

from mmregda.datasets.h3d import H3DDataset
from mmregda.datasets.keypoints import HAND21, KEYPOINT_GROUPS
from mmregda.datasets.rhd import RHDDataset
from mmregda.datasets.transforms import (
    ColorJitter,
    LoadWholeImage,
    MirrorRightHand,
    RandomGaussianBlur,
    RandomRotatedSubCrop,
    WholeImageBox,
)
from mmregda.datasets.unlabeled import UnlabeledDataset

__all__ = [
    'HAND21',
    'KEYPOINT_GROUPS',
    'ColorJitter',
    'H3DDataset',
    'LoadWholeImage',
    'MirrorRightHand',
    'RHDDataset',
    'RandomGaussianBlur',
    'RandomRotatedSubCrop',
    'UnlabeledDataset',
    'WholeImageBox',
]
