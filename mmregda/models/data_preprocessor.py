"""Batches on their way into the model."""

from __future__ import annotations

import copy
from typing import Any

from mmengine.structures import BaseDataElement
from mmpose.models.data_preprocessors import PoseDataPreprocessor
from mmpose.registry import MODELS
from torch import Tensor


@MODELS.register_module()
class PromptPoseDataPreprocessor(PoseDataPreprocessor):
    """MMPose's ``PoseDataPreprocessor``, for which a GPU is kept waiting less.

    What comes out is the same, and so are the arguments. MMPose's turns BGR into
    RGB by a list of indices, whose copy to a GPU the host waits for, with
    ``non_blocking`` too; and moves a sample by copying all that is known of it,
    paths and boxes, once for each image. Meanwhile the GPU has nothing to do.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._reversed = self._channel_conversion
        self._channel_conversion = False  # it is done here

    def cast_data(self, data: Any) -> Any:
        """Move tensors to the device; samples are copied as far as they change."""
        # Another `to` is for what is held in another way, as labels of several levels.
        kind = type(data)
        if not isinstance(data, BaseDataElement) or kind.to is not BaseDataElement.to:
            return super().cast_data(data)
        moved = copy.copy(data)
        attributes = vars(moved)
        for names in ('_data_fields', '_metainfo_fields'):
            attributes[names] = set(attributes[names])
        for name in attributes['_data_fields']:
            if isinstance(attributes.get(name), (Tensor, BaseDataElement)):
                attributes[name] = self.cast_data(attributes[name])
        return moved

    def forward(self, data: dict, training: bool = False) -> dict:
        """Move and normalise a batch, as ``PoseDataPreprocessor`` says."""
        if self._reversed:
            images = self.cast_data(data['inputs'])
            if isinstance(images, Tensor):
                images = images.flip(-3)
            else:
                images = [image.flip(-3) for image in images]
            data = dict(data, inputs=images)
        return super().forward(data, training)
