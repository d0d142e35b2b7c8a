"""What the readers of published layouts have in common."""

from __future__ import annotations

import os
import random
from functools import lru_cache
from glob import escape, glob
from typing import Any, Callable, Dict, Iterable, List, Optional, Sequence, Union

import numpy as np
from mmpose.datasets.datasets import BaseCocoStyleDataset

from mmregda.errors import InputError


class PublishedDataset(BaseCocoStyleDataset):
    """A top-down dataset read from the folder its authors publish.

    A subclass sets :attr:`MARKS`, :attr:`TREE`, :attr:`FOLDER`, :attr:`SOURCE` and
    ``METAINFO``, and writes :meth:`load_samples`.

    Args:
        data_root (str): The published folder, or the folder that holds it.
        split (str): ``'train'``, ``'test'`` or ``'all'``.
        pipeline (list): Transforms, as in any MMPose dataset.
        test_mode (bool): As in any MMPose dataset. Defaults to False.
        indices (int | Sequence[int], optional): Use only these samples, or
            the first so many.
        labeled (bool): With False the samples carry no keypoints: for a target
            inside ``UnlabeledDataset``. Unless a dataset says otherwise, they
            are not even read, and its files need not have any.
        require_images (bool): With False a missing image is met when it is
            read, not before: for a check that is to find all of them.
        **kwargs: Further arguments of :class:`mmengine.dataset.BaseDataset`.

    Raises:
        InputError: If the folder, its annotation or an image is missing, or
            if the split is empty.
    """

    FOLDER: str = ''
    """str: Name of the folder as published."""
    MARKS: Sequence[str] = ()
    """Sequence[str]: Patterns of files, one of which is in the folder as published."""
    TREE: str = ''
    """str: The expected tree, for the error message."""
    SOURCE: str = ''
    """str: Where the dataset is published, for the error message."""
    SPLITS: Sequence[str] = ('train', 'test', 'all')

    def __init__(
        self,
        data_root: str,
        split: str = 'train',
        pipeline: Sequence[Union[dict, Callable]] = (),
        test_mode: bool = False,
        indices: Optional[Union[int, Sequence[int]]] = None,
        labeled: bool = True,
        require_images: bool = True,
        **kwargs,
    ) -> None:
        self.require_known('split', split, self.SPLITS)
        self.split = split
        self.labeled = labeled
        self.require_images = require_images
        super().__init__(
            data_root=data_root,
            pipeline=list(pipeline),
            test_mode=test_mode,
            indices=indices,
            **kwargs,
        )

    @classmethod
    def require_known(cls, name: str, value: str, known: Iterable[str]) -> None:
        """Raise :class:`InputError` for an argument that is none of those known."""
        if value not in known:
            raise InputError(
                f'{cls.__name__}: {name} is "{value}", expected one of '
                f'{", ".join(known)}'
            )

    def load_samples(self, root: str) -> Iterable[dict]:
        """Yield the samples of the split, without the keys every one shares.

        Yields:
            dict: ``img_path`` (relative to ``root``), and what else the pipeline
            needs: ``bbox`` (4,) in pixels as x1, y1, x2, y2, ``keypoints`` (K, 2)
            in pixels, ``keypoints_visible`` (K,), 0 where a keypoint has no label
            or is not to be learnt, 1 by default.
        """
        raise NotImplementedError

    def load_data_list(self) -> List[dict]:
        root = self._find_root()
        # Not a system call for each of many images.
        names_of = lru_cache(maxsize=None)(lambda folder: set(names_in(folder)))
        data_list = []
        for sample in self.load_samples(root):
            sample, path = dict(sample), os.path.join(root, sample['img_path'])
            _require_inside(sample['img_path'], root)
            folder, name = os.path.split(path)
            if self.require_images and name not in names_of(folder):
                raise InputError(
                    f'image "{path}" is annotated but missing. Check that the archive '
                    'was unpacked completely.'
                )
            keypoints = sample.pop('keypoints', None)
            visible = sample.pop('keypoints_visible', None)
            if self.labeled and keypoints is not None:
                visible = np.ones(len(keypoints)) if visible is None else visible
                sample['keypoints'] = np.float32(keypoints)[None]
                sample['keypoints_visible'] = np.float32(visible)[None]
            if 'bbox' in sample:
                sample['bbox'] = np.float32(sample['bbox'])[None]
            sample['id'] = sample['img_id'] = len(data_list)
            sample.update(img_path=path, bbox_score=np.ones(1, dtype=np.float32))
            data_list.append(sample)
        if not data_list:
            raise InputError(
                f'{type(self).__name__}: the "{self.split}" split of "{root}" is '
                f'empty: no sample passes the selection rules. Expected:\n{self.TREE}'
            )
        return data_list

    def _find_root(self) -> str:
        """The published folder: ``data_root`` itself or its child."""
        for root in (self.data_root, os.path.join(self.data_root, self.FOLDER)):
            if any(glob(os.path.join(escape(root), mark)) for mark in self.MARKS):
                return root
        raise InputError(
            f'{type(self).__name__}: "{os.path.abspath(self.data_root)}" is not '
            f'the published dataset. Expected:\n{self.TREE}\n'
            f'Published at {self.SOURCE}'
        )


def _require_inside(path: str, root: str) -> None:
    """Raise :class:`InputError` if an annotated path leads out of the root."""
    # A link may lead anywhere, an annotation may not; nor may it choose by
    # what the file is read, as "http://" would.
    parts = path.replace(os.sep, '/').split('/')
    if os.path.isabs(path) or os.pardir in parts or '://' in path:
        raise InputError(f'image "{path}" is annotated but lies outside of "{root}"')


def shuffled_parts(samples: Iterable[Any]) -> Dict[str, List[Any]]:
    """RegDA's split of samples, and UniFrame's of those that RegDA trains on.

    Returns:
        dict[str, list]: Of the samples, shuffled with seed 42, the first n =
        min(20 %, 3200) are ``'test'``, the others ``'train'``. Of these the first n are
        ``'val'``, the others ``'train-val'``. ``'all'`` has all in this order.
    """
    samples = list(samples)
    random.Random(42).shuffle(samples)
    n = min(int(0.2 * len(samples)), 3200)
    parts = dict(all=samples, test=samples[:n], train=samples[n:])
    return {**parts, 'val': samples[n : 2 * n], 'train-val': samples[2 * n :]}


def names_in(folder: str) -> List[str]:
    """Names of what a folder holds, none if there is no such folder.

    Raises:
        InputError: If the folder cannot be read.
    """
    try:
        return os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return []
    except OSError as error:
        raise InputError(
            f'folder "{folder}" cannot be read: {error.strerror}'
        ) from error


_LARGEST = np.finfo(np.float32).max


def finite_array(values: Any, shape: Sequence[int], name: str = '') -> np.ndarray:
    """What an annotation file gives as an array of this shape, float64.

    Raises:
        ValueError: If the values are not finite numbers of that shape. A number
            that is infinite in float32, which training uses, is not finite.
    """
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        array = None
    if (
        array is None
        or array.shape != tuple(shape)
        or not (np.abs(array) <= _LARGEST).all()
    ):
        raise ValueError(f'{name} not finite numbers of shape {tuple(shape)}'.strip())
    return array


def projected(points: np.ndarray, intrinsic: np.ndarray, name: str) -> np.ndarray:
    """Pixels (K, 2) of points (K, 3) before a camera, of its matrix (3, 3).

    Raises:
        ValueError: If a point is behind the camera, or a pixel is not finite.
    """
    u, v, depth = intrinsic @ points.T
    if depth.min() <= 0:
        raise ValueError(f'a keypoint of {name} is behind the camera')
    with np.errstate(over='ignore'):
        pixels = np.stack([u / depth, v / depth], axis=1)
    return finite_array(pixels, (len(points), 2), f'{name} projects to')


def hand_box(keypoints: np.ndarray, image_side: int) -> np.ndarray:
    """The square box of whole pixels around a hand, as in RegDA's code.

    Its side is 1.5 times the keypoints' extent (the larger of width and height), at
    most the image's. Side and place are rounded (half to even), then the box is moved
    as far as it reaches out of the image. Of its columns of pixels the first is x1 and
    the last is x2 = x1 + side - 1; rows likewise.

    Args:
        keypoints (np.ndarray): (K, 2) in pixels.
        image_side (int): Side of the square image in pixels.

    Returns:
        np.ndarray: (4,) x1, y1, x2, y2 in pixels, float32.
    """
    low, high = keypoints.min(axis=0), keypoints.max(axis=0)
    # At least two pixels, so that x2 > x1.
    side = np.clip(np.rint(1.5 * float((high - low).max())), 2, image_side)
    corner = np.rint((low + high) / 2 - side / 2)
    corner = np.clip(corner, 0, image_side - side)
    return np.concatenate([corner, corner + side - 1]).astype(np.float32)
