"""What pipelines consist of, and which transforms need labels."""

from __future__ import annotations

import logging
from importlib.util import find_spec
from typing import (
    Any,
    Callable,
    Iterable,
    Iterator,
    List,
    Mapping,
    Optional,
    Tuple,
)

from mmcv.transforms import Compose as MMCVCompose
from mmengine.dataset import Compose
from mmengine.logging import print_log

from mmregda.datasets.views import Transforms, ViewPipeline
from mmregda.errors import InputError

PIPELINES = (Compose, MMCVCompose, ViewPipeline)
"""tuple[type]: What datasets keep their transforms in."""

NEEDS_KEYPOINTS = frozenset(
    (
        'FilterAnnotations',
        'GenerateTarget',
        'HandRandomFlip',
        'KeypointConverter',
        'RandomHalfBody',
        'SingleHandConverter',
    )
)
"""frozenset: MMPose's transforms that make, change or read keypoints, by name."""


def leaves(pipeline: Any) -> Iterator[Callable]:
    """The transforms of a pipeline, without those that only hold others."""
    held = _held(pipeline)
    if not held:
        yield pipeline
    for inner in held:
        yield from leaves(inner)


def _held(transform: Any) -> List[Any]:
    """The transforms inside of another, such as Compose, RandomApply or a list."""
    if isinstance(transform, (list, tuple)):
        return list(transform)
    if isinstance(transform, dict):
        return list(transform.values())
    held = []
    for name, value in getattr(transform, '__dict__', {}).items():
        one = isinstance(value, PIPELINES) or (name == 'transform' and callable(value))
        # Albumentation keeps configs for another library in a list of this name.
        several = name in ('transforms', 'views') and _are_transforms(value)
        held += [value] if one or several else []
    return held


def _are_transforms(value: Any) -> bool:
    if isinstance(value, dict):
        value = list(value.values())
    return isinstance(value, (list, tuple)) and all(
        callable(item) or _are_transforms(item) for item in value
    )


def unlabeled_pipeline(
    pipeline: Transforms, views: Optional[Mapping[str, Transforms]], whose: str
) -> ViewPipeline:
    """The pipeline of images without labels, such as that of labelled ones.

    A pipeline with ``GenerateTarget`` is the source's: transforms that make, change or
    read keypoints are left out, and the log names them. All others stay,
    ``RandomFlip`` too: without keypoints it flips the image and its box, so that the
    target is seen as the source is.

    Args:
        pipeline (list): Transforms, as in any MMPose dataset.
        views (dict, optional): Further transforms of each view by its name.
        whose (str): The dataset, for messages.

    Raises:
        InputError: If a pipeline that makes no labels has a transform that needs them.
    """
    pipeline, dropped = without(pipeline, NEEDS_KEYPOINTS)
    kept = views
    if isinstance(views, Mapping):
        kept = {}
        for name, transforms in views.items():
            kept[name], found = without(transforms, NEEDS_KEYPOINTS)
            dropped += found
    if dropped:
        names = ', '.join(dict.fromkeys(dropped))
        if 'GenerateTarget' not in dropped:  # It was asked for, and would not be.
            raise InputError(
                f'{names} in the pipeline of {whose} needs keypoints, which unlabelled '
                'images do not have. Leave it out.'
            )
        message = f'{whose}: left out of the pipeline, as there are no labels: {names}'
        # What changes an image or the choice of images is seen on the source alone.
        labels_alone = set(dropped) <= {'GenerateTarget', 'KeypointConverter'}
        level = logging.INFO if labels_alone else logging.WARNING
        print_log(message, logger='current', level=level)
    return ViewPipeline(pipeline, kept)


def without(pipeline: Transforms, names: Iterable[str]) -> Tuple[List, List[str]]:
    """A pipeline without transforms of these classes, and the names that were found.

    They may be within others, in ``transforms``.
    """
    kept, dropped = [], []
    for transform in pipeline:
        if isinstance(transform, (list, tuple)):  # A choice of RandomChoice.
            inner, found = without(transform, names)
            kept.append(inner)
            dropped += found
            continue
        name = name_of(transform)
        if name in names:
            dropped.append(name)
            continue
        inner = transform.get('transforms') if isinstance(transform, dict) else None
        if isinstance(inner, (list, tuple)) and name != 'Albumentation':
            inner, found = without(inner, names)
            transform = {**transform, 'transforms': inner}
            dropped += found
            if found and not any(inner):
                continue
        kept.append(transform)
    return kept, dropped


def mmpose_alone(pipeline: Transforms) -> List:
    """A pipeline of MMPose's configs without what it takes of other packages.

    MMPose has a copy of MMDetection's ``YOLOXHSVRandomAug``. Its ``Albumentation`` is
    left out, with a line in the log, if albumentations is not installed.

    Args:
        pipeline (list[dict]): The transforms' configs, which stay as they are.
    """
    dropped: List[str] = []
    if find_spec('albumentations') is None:
        pipeline, dropped = without(pipeline, ('Albumentation',))
    if dropped:
        message = 'Albumentation is left out: pip install albumentations'
        print_log(message, logger='current', level=logging.WARNING)
    return [{**one, 'type': one['type'].replace('mmdet.', '')} for one in pipeline]


def name_of(transform: Any) -> str:
    """The name of a transform's class, of its config or of the transform itself."""
    kind = transform.get('type') if isinstance(transform, dict) else type(transform)
    if isinstance(kind, str):
        return kind.rsplit('.', 1)[-1]  # It may come with a scope.
    return getattr(kind, '__name__', str(kind))
