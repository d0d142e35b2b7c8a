"""Published datasets read as they are, and transforms that MMPose lacks."""

from mmregda.datasets.checks import DatasetReport, check_config, check_datasets
from mmregda.datasets.coco_datasets import build_dataset, looked_at
from mmregda.datasets.freihand import FreiHANDDataset
from mmregda.datasets.h3d import H3DDataset
from mmregda.datasets.human36m import Human36MDataset
from mmregda.datasets.keypoints import (
    BODY16,
    HAND21,
    KEYPOINT_GROUPS,
    metainfo_of,
)
from mmregda.datasets.lsp import LSPDataset
from mmregda.datasets.lspet import LSPExtendedDataset
from mmregda.datasets.pipelines import mmpose_alone
from mmregda.datasets.published import PublishedDataset
from mmregda.datasets.rhd import RHDDataset
from mmregda.datasets.samplers import NumberedSampler, SeededDataset
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
from mmregda.datasets.unlabeled_images import UnlabeledImages

__all__ = [
    'BODY16',
    'HAND21',
    'KEYPOINT_GROUPS',
    'ColorJitter',
    'DatasetReport',
    'FreiHANDDataset',
    'H3DDataset',
    'Human36MDataset',
    'LSPDataset',
    'LSPExtendedDataset',
    'LoadWholeImage',
    'MirrorRightHand',
    'NumberedSampler',
    'PublishedDataset',
    'RHDDataset',
    'RandomGaussianBlur',
    'RandomRotatedSubCrop',
    'SURREALDataset',
    'SeededDataset',
    'UnlabeledDataset',
    'UnlabeledImages',
    'WholeImageBox',
    'build_dataset',
    'check_config',
    'check_datasets',
    'looked_at',
    'metainfo_of',
    'mmpose_alone',
]
