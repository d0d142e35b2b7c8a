"""Transforms that MMPose and MMCV lack."""

from __future__ import annotations

import math
import random
from typing import Dict, Optional, Tuple

import cv2
import numpy as np
from mmcv.transforms import BaseTransform
from mmcv.transforms.utils import cache_randomness
from mmpose.codecs.base import BaseKeypointCodec
from mmpose.datasets.transforms import GenerateTarget as MMPoseGenerateTarget
from mmpose.datasets.transforms import LoadImage, RandomFlip
from mmpose.registry import TRANSFORMS

from mmregda.datasets.image_loading import read_image


@TRANSFORMS.register_module()
class LoadWholeImage(LoadImage):
    """:class:`mmpose.datasets.transforms.LoadImage` that names a bad file.

    Whatever the file holds, of grey, transparent, CMYK, 16-bit or animated
    images, it is loaded as :func:`~mmregda.datasets.image_loading.read_image`
    says.

    Added keys: ``img`` (h, w, 3) uint8 BGR, ``img_shape``, ``ori_shape``.

    Raises:
        InputError: If the file is missing, cut short or no image.
    """

    def transform(self, results: Dict) -> Dict:
        if 'img' in results:
            return super().transform(results)
        img = read_image(
            results['img_path'],
            color_type=self.color_type,
            backend=self.imdecode_backend,
            backend_args=self.backend_args,
        )
        # The library ignores this option for an image in memory.
        results['img'] = img.astype(np.float32) if self.to_float32 else img
        return super().transform(results)


@TRANSFORMS.register_module()
class WholeImageBox(BaseTransform):
    """Makes the whole image the box of a sample that has none.

    This is how datasets are read that are published as crops. A sample that has a
    box keeps it.

    Required keys: ``img_shape``. Added keys: ``bbox`` (1, 4) float32, x1, y1, x2,
    y2 in pixels; ``bbox_score`` (1,).
    """

    def transform(self, results: Dict) -> Dict:
        if results.get('bbox') is None:
            height, width = results['img_shape']
            results['bbox'] = np.array([[0, 0, width, height]], dtype=np.float32)
        results.setdefault('bbox_score', np.ones(1, dtype=np.float32))
        return results


@TRANSFORMS.register_module()
class MirrorRightHand(RandomFlip):
    """Mirrors right hands, so that all samples are of one handedness.

    Required keys: those of :class:`mmpose.datasets.transforms.RandomFlip`, whose
    work it is. Optional keys: ``hand_type``. A sample that does not say
    ``'right'`` stays as it is.
    """

    def __init__(self) -> None:
        super().__init__(prob=1.0)

    def transform(self, results: Dict) -> Dict:
        hand_type = results.get('hand_type')
        if isinstance(hand_type, str) and hand_type == 'right':
            img = results['img']
            results = super().transform(results)
            # The same pixels in order, not a view that runs backwards, which
            # OpenCV copies pixel by pixel before it warps it.
            results['img'] = cv2.flip(img, 1)
        return results


class GenerateTarget(MMPoseGenerateTarget):
    """MMPose's ``GenerateTarget``, with weight 0 for keypoints outside of the crop.

    A keypoint is outside if its nearest position on the codec's grid is, as in RegDA's
    published code. MMPose's codecs give it weight 1 while any part of its Gaussian is
    inside, and some always do. :func:`~mmregda.datasets.looked_at` replaces MMPose's
    transform with this one, so it is not registered.
    """

    def transform(self, results: Dict) -> Optional[Dict]:
        """Add the labels; arguments and keys are as MMPose's."""
        keypoints = results.get('transformed_keypoints')
        keypoints = results.get('keypoints') if keypoints is None else keypoints
        visible = results.get('keypoints_visible')
        if keypoints is None or visible is None:
            return super().transform(results)
        codecs = self.encoder if isinstance(self.encoder, list) else [self.encoder]
        results['keypoints_visible'] = visible.copy()
        for codec in codecs:
            results['keypoints_visible'][~_are_inside(keypoints, codec)] = 0
        results = super().transform(results)
        results['keypoints_visible'] = (
            visible[..., 0] if 'keypoints_visible_weights' in results else visible
        )
        return results


def _are_inside(keypoints: np.ndarray, codec: BaseKeypointCodec) -> np.ndarray:
    """(N, K) whether keypoints (N, K, 2), in pixels of the input, are on the grid."""
    size = getattr(codec, 'input_size', None)
    scale = 1.0
    if hasattr(codec, 'heatmap_size') and hasattr(codec, 'scale_factor'):
        size, scale = codec.heatmap_size, codec.scale_factor
    elif size is not None and hasattr(codec, 'simcc_split_ratio'):
        size = np.around(np.multiply(size, codec.simcc_split_ratio))
        scale = 1 / codec.simcc_split_ratio
    if np.shape(size) != (2,) or np.ndim(scale) > 1 or np.size(scale) > 2:
        return np.ones(keypoints.shape[:-1], dtype=bool)  # No grid of a plane.
    nearest = np.floor(keypoints[..., :2] / scale + 0.5)
    return ((nearest >= 0) & (nearest < size)).all(axis=-1)


@TRANSFORMS.register_module()
class RandomRotatedSubCrop(BaseTransform):
    """Rotates a square crop about its centre, then cuts a square out of it.

    Only the box changes; :class:`mmpose.datasets.transforms.TopdownAffine`
    later does crop, rotation and scale in one warp.

    Required keys: ``bbox_center`` (1, 2) and ``bbox_scale`` (1, 2), in pixels.
    Modified keys: the same. Added keys: ``bbox_rotation`` (1,), in degrees.

    Args:
        rotation (float): The angle is drawn from U(-rotation, rotation), in
            degrees.
        area (tuple[float, float]): The cut-out's area as a fraction of the
            crop's is drawn uniformly from this range; its place is uniform
            among those inside the crop.
        use_udp (bool): As that of the ``TopdownAffine`` that follows, which turns
            the other way with it. Defaults to False.
    """

    def __init__(
        self,
        rotation: float,
        area: Tuple[float, float] = (0.6, 1.0),
        use_udp: bool = False,
    ) -> None:
        if not 0 < area[0] <= area[1] <= 1:
            raise ValueError(f'area must be a range within (0, 1], got {area}')
        self.rotation = rotation
        self.area = area
        self.use_udp = use_udp

    @cache_randomness
    def _draw(self) -> Tuple[float, float, float, float]:
        """Angle in degrees; side, x and y in units of the crop's side."""
        angle = random.uniform(-self.rotation, self.rotation)
        side = math.sqrt(random.uniform(*self.area))
        room = (1 - side) / 2
        return angle, side, random.uniform(-room, room), random.uniform(-room, room)

    def transform(self, results: Dict) -> Dict:
        angle, side, x, y = self._draw()
        scale = np.full((1, 2), results['bbox_scale'].max(), dtype=np.float32)
        # TopdownAffine's warp turns the box by the angle, clockwise in the
        # image (with UDP counter-clockwise), so the cut-out's place turns with it.
        turn = math.radians(-angle if self.use_udp else angle)
        cos, sin = math.cos(turn), math.sin(turn)
        offset = np.array([[x * cos - y * sin, x * sin + y * cos]], dtype=np.float32)
        results['bbox_center'] = results['bbox_center'] + offset * scale
        results['bbox_scale'] = scale * side
        results['bbox_rotation'] = np.array([angle], dtype=np.float32)
        return results


_LEVELS = np.arange(256, dtype=np.float32)


def _blend_with_level(img: np.ndarray, factor: float, level: float) -> np.ndarray:
    """``factor * img + (1 - factor) * level``, looked up in a table of 256."""
    table = cv2.addWeighted(
        _LEVELS, factor, np.full_like(_LEVELS, level), 1 - factor, 0
    )
    return cv2.LUT(img, np.clip(table, 0, 255).astype(np.uint8))


def _adjust_brightness(img: np.ndarray, factor: float) -> np.ndarray:
    return _blend_with_level(img, factor, 0)


def _adjust_contrast(img: np.ndarray, factor: float) -> np.ndarray:
    level = round(cv2.mean(cv2.cvtColor(img, cv2.COLOR_BGR2GRAY))[0])
    return _blend_with_level(img, factor, level)


def _adjust_saturation(img: np.ndarray, factor: float) -> np.ndarray:
    grey = cv2.cvtColor(cv2.cvtColor(img, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
    return cv2.addWeighted(img, factor, grey, 1 - factor, 0)


@TRANSFORMS.register_module()
class ColorJitter(BaseTransform):
    """Brightness, contrast and saturation, each by a random factor.

    The factors are drawn from U(1 - strength, 1 + strength) and applied in
    random order. Each is PIL's, and to the bit what MMCV's ``adjust_brightness``,
    ``adjust_contrast`` and ``adjust_color`` make of an image of bytes, at a
    fraction of their time. MMPose's ``PhotometricDistortion`` draws from other
    distributions: it adds to the brightness, and applies each change to half of
    the images.

    Args:
        strength (float): Defaults to 0.25.
    """

    _ENHANCERS = (_adjust_brightness, _adjust_contrast, _adjust_saturation)

    def __init__(self, strength: float = 0.25) -> None:
        self.strength = strength

    @cache_randomness
    def _draw(self) -> list:
        low, high = 1 - self.strength, 1 + self.strength
        enhancers = list(self._ENHANCERS)
        random.shuffle(enhancers)
        return [(enhance, random.uniform(low, high)) for enhance in enhancers]

    def transform(self, results: Dict) -> Dict:
        img = results['img']
        if img.dtype != np.uint8:
            img = np.clip(img, 0, 255).astype(np.uint8)
        for enhance, factor in self._draw():
            img = enhance(img, factor)
        results['img'] = img
        return results


@TRANSFORMS.register_module()
class RandomGaussianBlur(BaseTransform):
    """Gaussian blur with a random radius (standard deviation), in pixels.

    Args:
        max_radius (float): The radius is drawn from U(0, max_radius).
    """

    def __init__(self, max_radius: float = 0.8) -> None:
        self.max_radius = max_radius

    @cache_randomness
    def _draw(self) -> float:
        return random.uniform(0, self.max_radius)

    def transform(self, results: Dict) -> Optional[Dict]:
        radius = self._draw()
        # Below a tenth of a pixel the kernel is a single 1.
        if radius > 0.1:
            results['img'] = cv2.GaussianBlur(results['img'], (0, 0), radius)
        return results
