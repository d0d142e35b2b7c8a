"""Any dataset without its labels."""

from __future__ import annotations

from typing import Any, Mapping, Optional, Union

from mmengine.dataset import BaseDataset
from mmpose.registry import DATASETS

from mmregda.datasets.pipelines import unlabeled_pipeline
from mmregda.datasets.views import Transforms


@DATASETS.register_module()
class UnlabeledDataset:
    """A dataset of which training sees image, box and metainfo only.

    The target half of a training batch comes through here. Keypoints,
    visibility, areas and masks are dropped before the first transform sees the
    sample, whatever the wrapped dataset is: what is not on the list below does
    not pass.

    Args:
        dataset (dict | BaseDataset): Any MMPose dataset. Its own pipeline, if
            it has one, is not used.
        pipeline (list): Transforms, such as the source's: of a pipeline with
            ``GenerateTarget``, what needs keypoints (it, ``RandomHalfBody``) is left
            out, and the log says so. Of any other it is an error.
        views (dict, optional): For a method that sees each image several times,
            the transforms of each view by its name, such as
            ``dict(teacher=[...], student=[...])``. They come after those of
            ``pipeline``, and a sample is a dict of ordinary samples. See
            :class:`~mmregda.datasets.views.ViewPipeline`, also on the
            ``image_to_view`` that every sample has.
    """

    PASSED_KEYS = frozenset(
        ('id', 'img_id', 'img_path', 'img', 'bbox', 'bbox_score', 'hand_type')
    )
    METAINFO_KEYS = frozenset(
        (
            'dataset_name',
            'upper_body_ids',
            'lower_body_ids',
            'flip_pairs',
            'flip_indices',
            'skeleton_links',
        )
    )

    def __init__(
        self,
        dataset: Union[dict, BaseDataset],
        pipeline: Transforms,
        views: Optional[Mapping[str, Transforms]] = None,
    ) -> None:
        if isinstance(dataset, dict):
            dataset = DATASETS.build(dataset)
        self.dataset = dataset
        whose = f'UnlabeledDataset of {type(dataset).__name__}'
        self.pipeline = unlabeled_pipeline(pipeline, views, whose)

    @property
    def metainfo(self) -> dict:
        """dict: The wrapped dataset's metainfo."""
        return self.dataset.metainfo

    def full_init(self) -> None:
        """Read the wrapped dataset's index, as MMEngine's loaders expect."""
        self.dataset.full_init()

    def __len__(self) -> int:
        return len(self.dataset)

    def get_data_info(self, idx: int) -> dict:
        """The ``idx``-th sample before the pipeline, without labels."""
        info = self.dataset.get_data_info(idx)
        kept = self.PASSED_KEYS | self.METAINFO_KEYS
        return {key: value for key, value in info.items() if key in kept}

    def __getitem__(self, idx: int) -> Any:
        return self.pipeline(self.get_data_info(idx))
