"""Where a sample lies in its image, and several samples of one image."""

from __future__ import annotations

import copy
from typing import Any, Callable, Dict, Mapping, Optional, Sequence, Tuple, Union

import numpy as np
from mmcv.transforms import Compose as MMCVCompose
from mmcv.transforms import RandomApply, RandomChoice
from mmengine.dataset import Compose
from mmpose.datasets.transforms import RandomFlip, TopdownAffine
from mmpose.structures.bbox import get_udp_warp_matrix, get_warp_matrix

from mmregda.errors import InputError

Transforms = Sequence[Union[dict, Callable]]

IMAGE_TO_VIEW = 'image_to_view'
_KNOWN = (IMAGE_TO_VIEW, 'input_size', 'flip_indices')


class ViewPipeline:
    """A pipeline whose samples know where in the image they lie.

    Each sample's metainfo gets ``image_to_view``, the affine map (3, 3) float64
    from pixels of the image, as it was loaded, to pixels of the network's input;
    whole numbers are the centres of pixels in both, as in OpenCV. It is the
    product of what moved the image, in this order: MMPose's ``RandomFlip`` (and
    its subclasses, such as ``MirrorRightHand``) and ``TopdownAffine``, with
    ``use_udp`` or without. A transform of one's own that moves pixels does the
    same, of the results that it is given: ``results['image_to_view'] = own @
    results['image_to_view']``.

    With ``views`` the image is loaded once, passes the transforms of
    ``pipeline``, and then those of each view apart.

    Args:
        pipeline (list): Transforms, as in any MMPose dataset.
        views (dict, optional): Transforms of each view by its name, which come
            after those of ``pipeline``.

    Attributes:
        views (dict[str, Callable]): The pipeline of each view.

    Raises:
        InputError: If there are views and one has no name or no transforms; when
            called, if a transform changes the size of the image and does not say
            where its pixels went.
    """

    def __init__(
        self, pipeline: Transforms, views: Optional[Mapping[str, Transforms]] = None
    ) -> None:
        self._shared = _tracked(Compose(list(pipeline)))
        self.views = {
            name: _tracked(Compose(list(transforms)))
            for name, transforms in _require_views(views).items()
        }

    def __call__(self, results: dict) -> Optional[dict]:
        """Run the pipeline on a sample as a dataset has it.

        Returns:
            dict, optional: What the pipeline returns; with views one such for
            each, by its name. None if a transform drops the sample.
        """
        results[IMAGE_TO_VIEW] = np.eye(3)
        results = self._shared(results)
        if not self.views or results is None:
            return results
        samples = {}
        for name, transforms in self.views.items():
            # Some of MMPose's transforms write into what they are given.
            samples[name] = transforms(copy.deepcopy(results))
            if samples[name] is None:
                return None
        return samples


def _require_views(views: Any) -> Dict[str, Transforms]:
    if views is None:
        return {}
    sound = isinstance(views, Mapping) and all(
        isinstance(name, str) and name and isinstance(transforms, (list, tuple))
        for name, transforms in views.items()
    )
    if not sound or not views or not all(views.values()):
        raise InputError(
            f'views is {views!r}, expected the transforms of each view by its name, '
            'such as dict(teacher=[...], student=[...])'
        )
    return dict(views)


def _tracked(step: Any) -> Any:
    """A pipeline, changed in place, whose transforms keep ``image_to_view``."""
    if isinstance(step, (list, tuple)):
        return [_tracked(inner) for inner in step]
    if isinstance(step, (Compose, MMCVCompose, RandomApply, RandomChoice)):
        step.transforms = _tracked(step.transforms)
        return step
    return _Tracked(step)


class _Tracked:
    """A transform that takes down where it moves the image."""

    def __init__(self, transform: Callable) -> None:
        self.transform = transform

    def __call__(self, results: dict) -> Optional[dict]:
        if IMAGE_TO_VIEW not in results:  # The sample is packed.
            return self.transform(results)
        known = {name: results[name] for name in _KNOWN if name in results}
        image = results.get('img')
        found = self.transform(results)
        if found is None:
            return None
        if 'data_samples' in found:
            # Whatever its meta_keys are: these belong together.
            found['data_samples'].set_metainfo(known)
            return found
        for name, value in known.items():
            found.setdefault(name, value)
        if found[IMAGE_TO_VIEW] is known[IMAGE_TO_VIEW]:  # or it has said so itself
            moved = self._move(image, found)
            if moved is not None:
                found[IMAGE_TO_VIEW] = moved @ known[IMAGE_TO_VIEW]
        return found

    def _move(self, image: Any, results: dict) -> Optional[np.ndarray]:
        """The map (3, 3) of what the transform has just done to an image, if it has."""
        if isinstance(self.transform, TopdownAffine):
            return _warp(self.transform, results)
        before, after = _size(image), _size(results.get('img'))
        if isinstance(self.transform, RandomFlip):
            flipped = results['img'] is not image
            return _flip(results['flip_direction'], *before) if flipped else None
        if None not in (before, after) and before != after:
            raise InputError(
                f'{type(self.transform).__name__} changes the size of an image from '
                f'{before} to {after} (width, height), and where its pixels went is '
                'not known. Leave it out of the pipeline, or have it multiply '
                "results['image_to_view'] by its own map (3, 3)."
            )
        return None


def _size(image: Any) -> Optional[Tuple[int, int]]:
    """Width and height of an image, or of the images of a video."""
    first = image[0] if isinstance(image, (list, tuple)) else image
    return None if first is None else first.shape[1::-1]


def _warp(transform: TopdownAffine, results: dict) -> np.ndarray:
    """What ``TopdownAffine`` has just done, (3, 3)."""
    rotation = results['bbox_rotation'][0] if 'bbox_rotation' in results else 0.0
    warp = get_udp_warp_matrix if transform.use_udp else get_warp_matrix
    center, scale = results['input_center'], results['input_scale']
    matrix = warp(center, scale, rotation, output_size=transform.input_size)
    return np.vstack([matrix, [0, 0, 1]])


def _flip(direction: str, width: int, height: int) -> np.ndarray:
    matrix = np.eye(3)
    if direction in ('horizontal', 'diagonal'):
        matrix[0] = -1, 0, width - 1
    if direction in ('vertical', 'diagonal'):
        matrix[1] = 0, -1, height - 1
    return matrix


def in_box(keypoints: np.ndarray, center: Any, scale: Any) -> np.ndarray:
    """Keypoints of an image as the network's input has them, but for rotation.

    Args:
        keypoints (np.ndarray): (..., 2 or more), x and y in pixels of the image.
        center (np.ndarray): The sample's ``input_center``, 2 numbers.
        scale (np.ndarray): Its ``input_scale``, 2 numbers.

    Returns:
        np.ndarray: (..., 2) float64, in units of the sides of the input's box.
    """
    center, scale = (np.reshape(v, 2).astype(np.float64) for v in (center, scale))
    return (np.asarray(keypoints)[..., :2] - center) / scale + 0.5


def views_of(batch: dict) -> Dict[str, dict]:
    """The ordinary MMPose samples, or batches, that one of several views is.

    Returns:
        dict[str, dict]: By the name of the view, which is empty if there are none.
    """
    return {'': batch} if 'data_samples' in batch else dict(batch)
