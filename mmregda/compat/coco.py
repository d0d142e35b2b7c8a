"""xtcocotools out of pycocotools, as far as MMPose's datasets and OKS need it.

xtcocotools extends pycocotools. What MMPose uses of the extension for plain
keypoints is small and lives here: ground truth without ``iscrowd`` or
``area``, ``sigmas`` for other keypoints than COCO's 17, and ``use_area``.
"""

from __future__ import annotations

import contextlib
import io
import sys
import types
from collections import defaultdict
from importlib.machinery import ModuleSpec

import numpy as np
import pycocotools.coco
import pycocotools.cocoeval
import pycocotools.mask

__all__ = ['COCO', 'COCOeval', 'install']

# Share of its box that xtcocotools takes a person to fill where the
# annotations give no area.
AREA_OF_BOX = 0.53


class COCO(pycocotools.coco.COCO):
    """COCO annotations of a file, as xtcocotools reads them.

    Args:
        annotation_file (str, optional): A JSON file in COCO's layout.
    """

    def __init__(self, annotation_file=None):
        super().__init__(annotation_file)
        self.anno_file = [annotation_file]
        for annotation in self.dataset.get('annotations', ()):
            annotation.setdefault('iscrowd', False)

    def loadRes(self, resFile):
        # No detection at all is a result too; pycocotools fails on it.
        if isinstance(resFile, list) and not resFile:
            results = COCO()
            results.dataset = dict(self.dataset, annotations=[])
            # Prints that it does so; reading a file prints once already.
            with contextlib.redirect_stdout(io.StringIO()):
                results.createIndex()
        else:
            results = super().loadRes(resFile)
        if len(self.anno_file) == 1:
            self.anno_file.append(resFile)
        return results


class COCOeval(pycocotools.cocoeval.COCOeval):
    """Average precision and recall by object keypoint similarity (OKS).

    Args:
        cocoGt (COCO): The ground truth.
        cocoDt (COCO): What ``cocoGt.loadRes`` made of the results.
        iouType (str): ``'keypoints'``, or ``'bbox'`` and ``'segm'`` as in
            pycocotools.
        sigmas (np.ndarray, optional): Shape (K, ), each keypoint's spread.
            COCO's 17 by default.
        use_area (bool): Scale by the annotated area; if False, by a fixed
            share of the box.

    Raises:
        NotImplementedError: For the kinds of keypoints that only xtcocotools
            knows (crowd, whole-body and its parts).
    """

    def __init__(
        self, cocoGt=None, cocoDt=None, iouType='keypoints', sigmas=None, use_area=True
    ):
        if iouType not in ('keypoints', 'bbox', 'segm'):
            raise NotImplementedError(
                f'iou_type={iouType!r} needs xtcocotools, which is not installed '
                '(it has no wheel for Python 3.12 and later: build it with '
                '`pip install xtcocotools`, a compiler and Cython, or use an '
                "older Python). Without it there is iou_type='keypoints'."
            )
        super().__init__(cocoGt, cocoDt, iouType)
        self.use_area = use_area
        if iouType == 'keypoints' and sigmas is not None:
            self.params.kpt_oks_sigmas = np.asarray(sigmas)

    @property
    def sigmas(self):
        return self.params.kpt_oks_sigmas

    def _prepare(self):
        """Group annotations by image and category, as the base class means them.

        The base class reads the number of keypoints, the area and an id other
        than 0 off each annotation. xtcocotools needs none of these, so they
        are filled in, on copies: the caller's annotations are not ours.
        """
        if self.params.iouType != 'keypoints':
            return super()._prepare()
        self._gts, self._dts = defaultdict(list), defaultdict(list)
        for annotation in self._selected(self.cocoGt):
            gt = dict(annotation)
            visible = np.count_nonzero(np.asarray(gt['keypoints'])[2::3] > 0)
            gt['ignore'] = bool(visible == 0 or gt.get('iscrowd', False))
            if not self.use_area or 'area' not in gt:
                gt['area'] = gt['bbox'][2] * gt['bbox'][3] * AREA_OF_BOX
            if gt['id'] == 0:  # which the base class takes for "not matched"
                gt['id'] = max(self.cocoGt.anns) + 1
            self._gts[gt['image_id'], gt['category_id']].append(gt)
        for dt in self._selected(self.cocoDt):
            if np.any(np.asarray(dt['keypoints'])[2::3] > 0):
                self._dts[dt['image_id'], dt['category_id']].append(dt)
        self.evalImgs = defaultdict(list)
        self.eval = {}

    def _selected(self, coco):
        params = self.params
        categories = params.catIds if params.useCats else []
        return coco.loadAnns(coco.getAnnIds(imgIds=params.imgIds, catIds=categories))


def install() -> None:
    """Make ``import xtcocotools`` and its modules find what is here."""
    package = types.ModuleType('xtcocotools', __doc__)
    package.__path__ = []
    coco = types.ModuleType('xtcocotools.coco')
    coco.COCO = COCO
    cocoeval = types.ModuleType('xtcocotools.cocoeval')
    cocoeval.COCOeval = COCOeval
    cocoeval.Params = pycocotools.cocoeval.Params
    package.coco, package.cocoeval = coco, cocoeval
    package.mask = pycocotools.mask
    for module in (package, coco, cocoeval):
        module.__spec__ = ModuleSpec(
            module.__name__, None, is_package=module is package
        )
        sys.modules[module.__name__] = module
    sys.modules['xtcocotools.mask'] = pycocotools.mask
