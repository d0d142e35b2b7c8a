"""Published datasets read as they are, and transforms that MMPose lacks."""

from mmregda.datasets.h3d import H3DDataset
from mmregda.datasets.keypoints import BODY16, HAND21, KEYPOINT_GROUPS
from mmregda.datasets.lsp import LSPDataset
from mmregda.datasets.rhd import RHDDataset
from mmregda.datasets.surreal import SURREALDataset
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
    'BODY16',
    'HAND21',
    'KEYPOINT_GROUPS',
    'ColorJitter',
    'H3DDataset',
    'LSPDataset',
    'LoadWholeImage',
    'MirrorRightHand',
    'RHDDataset',
    'RandomGaussianBlur',
    'RandomRotatedSubCrop',
    'SURREALDataset',
    'UnlabeledDataset',
    'WholeImageBox',
]
