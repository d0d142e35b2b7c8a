"""Anyone's own photographs."""

from __future__ import annotations

import copy
import logging
import math
import os
from collections import Counter
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple, Union

import numpy as np
from mmengine.dataset import BaseDataset
from mmengine.logging import print_log
from mmpose.datasets.datasets.utils import parse_pose_metainfo
from mmpose.registry import DATASETS

from mmregda.datasets.box_files import Box, read_boxes
from mmregda.datasets.coco_files import (
    CROWD,
    REMEDIES,
    note_on_corners,
    other_size,
)
from mmregda.datasets.image_folder import ImageFolder
from mmregda.datasets.image_loading import (
    IMAGE_EXTENSIONS,
    image_sizes,
    read_image,
)
from mmregda.datasets.keypoints import definition_of
from mmregda.datasets.pipelines import unlabeled_pipeline
from mmregda.datasets.unlabeled import UnlabeledDataset
from mmregda.datasets.views import Transforms
from mmregda.errors import InputError


@DATASETS.register_module()
class UnlabeledImages(BaseDataset):
    """A folder of images as the target, or to predict on. It has no labels.

    Without ``boxes`` each image is a sample and its own box; with it each box
    is a sample. Images are read at any depth of the folder, in the order of
    their paths, in any common format, and turned upright. What is left out is
    counted in the log.

    The dataset reads its images itself, so a pipeline may begin with MMPose's
    ``LoadImage`` or ``LoadWholeImage`` (as it must for MMPose's inferencers),
    or without. The source's will do: what needs keypoints is left out.

    Args:
        root (str): The folder of the images.
        boxes (str, optional): Where in the images the people or hands are:
            COCO's annotations (of which the boxes alone are read); detections
            in COCO's format for results; a CSV with the columns path, x, y, w,
            h and, with a header, score; or the folder of predictions that an
            inferencer of MMPose or MMDetection wrote. Paths in it are relative
            to ``root``; the bare name of an image in a subfolder will do where
            it is unambiguous. Boxes are in pixels and cut at the image's
            border. An image may have several boxes or none.
        images_json (str, optional): For detections: the COCO file whose
            ``images`` they speak of.
        min_score (float): Boxes of a smaller score are left out. Defaults to
            0.3, as in MMPose's inferencers.
        categories (Sequence[int], optional): Leave out the boxes of other
            categories (COCO's ``category_id``, or MMDetection's labels). By
            default all are taken.
        skip_corrupt (bool): Go on without images that are missing or damaged
            and boxes that are no boxes, which are counted in a warning.
            Defaults to False: they are errors. Damage that shows only when an
            image is decoded costs a warning and another image, or, with
            ``test_mode``, is an error all the same.
        require_images (bool): Look at each image when the dataset is built: at
            headers, and for the ends of JPEG and PNG files. Defaults to True.
        extensions (Sequence[str]): What is taken for an image, by the end of
            its name.
        metainfo (str | dict, optional): The keypoints that a model predicts
            here, for pictures and flipped tests: a name of
            :func:`~mmregda.datasets.keypoints.metainfo_named` such as ``'coco17'``
            or ``'hand21'``, or a metainfo as in any MMPose dataset.
        pipeline (list): Transforms, as in any MMPose dataset.
        views (dict, optional): As in
            :class:`~mmregda.datasets.UnlabeledDataset`.
        **kwargs: Further arguments of :class:`mmengine.dataset.BaseDataset`,
            such as ``test_mode`` or ``indices``.

    Attributes:
        left_out (list[str]): What ``skip_corrupt`` has left out, one by one.

    Raises:
        InputError: If the folder or the boxes cannot be used, naming the file.
    """

    def __init__(
        self,
        root: str,
        boxes: Optional[str] = None,
        images_json: Optional[str] = None,
        min_score: float = 0.3,
        categories: Optional[Sequence[int]] = None,
        skip_corrupt: bool = False,
        require_images: bool = True,
        extensions: Sequence[str] = IMAGE_EXTENSIONS,
        metainfo: Optional[Union[str, dict]] = None,
        pipeline: Transforms = (),
        views: Optional[Mapping[str, Transforms]] = None,
        **kwargs,
    ) -> None:
        if not root:
            raise InputError(
                f'UnlabeledImages.root is {root!r}: set it to the folder of the images'
            )
        self.root = os.fspath(root)
        self.boxes = boxes
        self.images_json = images_json
        self.min_score = min_score
        self.categories = None if categories is None else frozenset(categories)
        self.skip_corrupt = skip_corrupt
        self.require_images = require_images
        self.extensions = tuple(extension.lower() for extension in extensions)
        self.left_out: List[str] = []
        super().__init__(metainfo=metainfo, **kwargs)
        self.pipeline = unlabeled_pipeline(pipeline, views, type(self).__name__)

    @classmethod
    def _load_metainfo(cls, metainfo: Optional[Union[str, dict]] = None) -> dict:
        return parse_pose_metainfo(definition_of(metainfo)) if metainfo else {}

    def load_data_list(self) -> List[dict]:
        """Index the folder."""
        folder = ImageFolder(self.root, self.extensions)
        if not folder.paths:
            raise InputError(
                f'"{os.path.abspath(self.root)}" holds no image (found: '
                f'{_counts(folder.others) or "nothing"}). Expected files that end '
                f'in {", ".join(self.extensions)}.'
            )
        left_out = _LeftOut()
        # By extension: a telephone's .heic are photographs, to anyone else.
        others = f'files that are no images ({_counts(folder.others)})'
        left_out.counts[others] = sum(folder.others.values())
        samples = (
            [dict(path=path) for path in folder.paths]
            if self.boxes is None
            else self._box_samples(folder, left_out)
        )
        if self.skip_corrupt or self.require_images:
            samples = self._whole_samples(folder, samples, left_out)
        of_boxes = f' with the boxes of "{self.boxes}"' if self.boxes else ''
        where = f'the {len(folder.paths)} images in "{self.root}"{of_boxes}'
        if left_out.faults:
            faults = left_out.listed_faults()
            if not self.skip_corrupt:
                raise InputError(
                    f'some of {where} cannot be used: {faults}. Set skip_corrupt=True '
                    'to go on without.'
                )
            self._log(f'left out of {where}: {faults}', logging.WARNING)
        if not samples:
            remedy = f' {REMEDIES[CROWD]}' if left_out.counts[CROWD] else ''
            raise InputError(
                f'no sample is left of {where}. Left out: '
                f'{_counts(left_out.counts)}.{remedy}'
            )
        self.left_out = [
            f'{kind}: {fault}'
            for kind, faults in left_out.faults.items()
            for fault in faults
        ]
        self._log(
            f'{len(samples)} samples of {len({s["path"] for s in samples})} images '
            f'in "{self.root}". Left out: {_counts(left_out.counts) or "nothing"}'
        )
        image_ids = {path: index for index, path in enumerate(folder.paths)}
        data_list = []
        for sample_id, sample in enumerate(samples):
            path = sample.pop('path')
            image_id = image_ids.setdefault(path, len(image_ids))
            sample.setdefault('img_id', image_id)
            sample.setdefault('bbox_score', np.ones(1, dtype=np.float32))
            sample.update(id=sample_id, img_path=folder.full_path(path))
            data_list.append(sample)
        return data_list

    def get_data_info(self, idx: int) -> dict:
        """The ``idx``-th sample before its image is read.

        Returns:
            dict: ``img_path``, ``img_id``, ``id``, ``bbox_score`` (1,), with
            ``boxes`` also ``bbox`` (1, 4) as x1, y1, x2, y2 in pixels, and the
            keys of the metainfo that MMPose's transforms want.
        """
        info = super().get_data_info(idx)
        for key, value in self._metainfo.items():
            if key in UnlabeledDataset.METAINFO_KEYS:
                info[key] = copy.deepcopy(value)
        return info

    def prepare_data(self, idx: int) -> Any:
        """Read the image of the ``idx``-th sample and run the pipeline.

        Returns:
            Any: The pipeline's result (with ``views`` one for each), or None for
            a damaged image that is to be skipped.
        """
        info = self.get_data_info(idx)
        try:
            image = read_image(info['img_path'])
            size = image.shape[:2]
            info['bbox'] = _box_inside(info, size, info['img_path'])
        except InputError as error:
            if self.test_mode:
                raise
            if not self.skip_corrupt:
                raise InputError(
                    f'{error} Or set skip_corrupt=True to go on without.'
                ) from error
            self._log(f'{error} Another image takes its place.', logging.WARNING)
            return None
        info.update(img=image, img_shape=size, ori_shape=size)
        return self.pipeline(info)

    def _box_samples(self, folder: ImageFolder, left_out: _LeftOut) -> List[dict]:
        boxes = read_boxes(self.boxes, self.images_json)
        images: Dict[str, str] = {}
        samples = []
        kinds: Counter = Counter()
        for box in boxes:
            if box.image not in images:
                named_by = f'boxes file "{self.boxes}", {box.place}'
                images[box.image] = folder.find(box.image, named_by)
            path, problem = images[box.image], _problem_of(box)
            if box.is_crowd:
                left_out.add(CROWD)
            elif problem:
                fault = f'{box.place} ("{box.image}") {problem}'
                left_out.add('entries that are no boxes', fault)
            elif not path:
                left_out.add('boxes of missing images', f'"{box.image}"')
            elif box.score < self.min_score:
                left_out.add(f'boxes of a score below {self.min_score}')
            elif self.categories is not None and box.category not in self.categories:
                left_out.add('boxes of another category')
            else:
                kinds[box.category] += 1
                sample = dict(
                    path=path,
                    bbox=np.array([box.xyxy], dtype=np.float32),
                    bbox_score=np.array([box.score], dtype=np.float32),
                )
                if box.image_id is not None:
                    sample['img_id'] = box.image_id
                if box.size:
                    sample['stated_size'] = box.size
                samples.append(sample)
        unnamed = set(folder.paths) - set(images.values())
        left_out.counts['images without a box'] = len(unnamed)
        if len(kinds) > 1:
            self._log(
                'the boxes are of several categories: '
                f'{_counts({f"of {c}": n for c, n in kinds.items()})}. '
                'Choose with categories=[...].',
                logging.WARNING,
            )
        return samples

    def _whole_samples(
        self, folder: ImageFolder, samples: List[dict], left_out: _LeftOut
    ) -> List[dict]:
        """The samples whose images pass a quick look."""
        paths = sorted({sample['path'] for sample in samples})
        found = dict(zip(paths, image_sizes([folder.full_path(p) for p in paths])))
        for path in paths:
            if isinstance(found[path], InputError):
                left_out.add('damaged images', str(found[path]))
        whole = []
        for sample in samples:
            size = found[sample['path']]
            if isinstance(size, InputError):
                continue
            try:
                _box_inside(sample, size, folder.full_path(sample['path']))
            except InputError as error:
                left_out.add('boxes that do not fit their image', str(error))
            else:
                whole.append(sample)
        boxes = [s['bbox'][0] for s in whole if 'bbox' in s]
        corners = note_on_corners(
            [(*box[:2], *box[2:] - box[:2]) for box in boxes],
            [found[s['path']][::-1] for s in whole if 'bbox' in s],
        )
        if corners:
            self._log(f'boxes file "{self.boxes}": {corners}', logging.WARNING)
        return whole

    def _log(self, message: str, level: int = logging.INFO) -> None:
        print_log(f'UnlabeledImages: {message}', logger='current', level=level)


class _LeftOut:
    """What is left out, counted by kind; of what is wrong, all of it."""

    def __init__(self) -> None:
        self.counts: Counter = Counter()
        self.faults: Dict[str, List[str]] = {}

    def add(self, kind: str, fault: str = '') -> None:
        """Count an entry, and what is wrong with it if it is no choice of the user."""
        self.counts[kind] += 1
        if fault:
            self.faults.setdefault(kind, []).append(fault)

    def listed_faults(self) -> str:
        """Each kind with its first examples."""
        return '; '.join(
            f'{self.counts[kind]} {kind}: {", ".join(faults[:3])}'
            + (', ...' if len(faults) > 3 else '')
            for kind, faults in self.faults.items()
        ).rstrip('.')


def _problem_of(box: Box) -> str:
    x1, y1, x2, y2 = box.xyxy
    if not all(map(math.isfinite, (*box.xyxy, box.score))):
        return 'has not four finite numbers for a box and one for a score'
    if x2 - x1 < 1 or y2 - y1 < 1:
        return f'is {x2 - x1:g} x {y2 - y1:g} pixels'
    return ''


def _box_inside(info: dict, size: Tuple[int, int], path: str) -> np.ndarray:
    """The part of a sample's box (1, 4) inside of its image of (height, width).

    No box is the whole image.

    Raises:
        InputError: If nothing is inside, or the image is to have another size.
    """
    height, width = size
    problem, remedy = other_size(info.get('stated_size'), width, height)
    if problem:
        raise InputError(f'image "{path}" {problem} (the boxes file). {remedy}')
    border = np.array([width, height, width, height], dtype=np.float32)
    if info.get('bbox') is None:
        return np.concatenate([np.zeros(2, np.float32), border[:2]])[None]
    inside = np.clip(info['bbox'], 0, border)
    x1, y1, x2, y2 = inside[0]
    if x2 <= x1 or y2 <= y1:
        raise InputError(
            f'image "{path}" is {width} x {height} pixels, and the box '
            f'{info["bbox"][0].round(1).tolist()} (x1, y1, x2, y2) lies outside.'
        )
    return inside


def _counts(counter: Mapping[str, int]) -> str:
    return ', '.join(f'{count} {name}' for name, count in counter.items() if count)
