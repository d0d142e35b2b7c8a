"""MMPose's datasets, built from files that have been looked at.

:func:`build_dataset` takes the place of ``DATASETS.build``, and :func:`looked_at`
changes the config of whatever builds its dataset itself, such as a dataloader. Each
COCO-style dataset, within whatever wrappers, is then built without its annotations,
its files are looked at (:mod:`~mmregda.datasets.coco_files`), and it reads them.
What was put right it reads from a temporary copy, which is gone when it has read.
Labels of any dataset weigh 0 outside of the crop
(:class:`~mmregda.datasets.transforms.GenerateTarget`).
"""

from __future__ import annotations

import inspect
import json
import logging
import os
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Sequence

from mmengine.logging import MessageHub, print_log
from mmpose.datasets.datasets import BaseCocoStyleDataset, CocoWholeBodyDataset
from mmpose.evaluation.metrics import CocoMetric, CocoWholeBodyMetric
from mmpose.registry import DATASETS, METRICS, TRANSFORMS

from mmregda.datasets.annotation_files import load_json
from mmregda.datasets.coco_files import (
    NUM_IMAGES,
    REMEDIES,
    CocoFile,
    Faults,
    evenly,
    look_at_detections,
    look_at_entries,
    other_size,
    shown,
    stated_size,
)
from mmregda.datasets.coco_labels import Reader, look_at_labels
from mmregda.datasets.image_folder import FolderListings
from mmregda.datasets.image_loading import (
    IMAGE_EXTENSIONS,
    check_image,
    image_size,
)
from mmregda.datasets.pipelines import name_of
from mmregda.datasets.published import PublishedDataset
from mmregda.datasets.transforms import GenerateTarget
from mmregda.errors import InputError
from mmregda.files import room_to_write

_NUM_READERS = 8
# Under which a transform holds others.
_HOLDING = ('transforms', 'transform')
_WHOLE_BODY = dict(
    keypoints=17, foot_kpts=6, face_kpts=68, lefthand_kpts=21, righthand_kpts=21
)


class Look(NamedTuple):
    """What is known of a dataset's files after a look at all of its images.

    Attributes:
        files (list[CocoFile]): The annotation file and, if there is one, that of
            the boxes.
        other_sizes (dict[str, str]): By image, how its size differs from the one
            in the file.
    """

    files: List[CocoFile]
    other_sizes: Dict[str, str]


def build_dataset(cfg: dict, looks: Optional[List[Look]] = None) -> Any:
    """Build a dataset, its COCO-style files looked at before MMPose reads them.

    Args:
        cfg (dict): The config of any dataset.
        looks (list, optional): If given, all images are looked at, and what is
            found is added here in place of the log; an image that is missing or
            of another size is no error then.

    Returns:
        Any: The dataset.

    Raises:
        InputError: If something is wrong with a file that would stop the reader
            or give wrong labels, naming file, entry and remedy.
    """
    return DATASETS.build(looked_at(cfg, looks))


def looked_at(cfg: dict, looks: Optional[List[Look]] = None) -> dict:
    """A config whose COCO-style files are looked at when it is built.

    ``GenerateTarget`` in pipelines is ours.

    Args:
        cfg (dict): The config of a dataset, or anything that has one under
            ``dataset`` or several under ``datasets``, such as a wrapper or a
            dataloader.
        looks (list, optional): As in :func:`build_dataset`.

    Returns:
        dict: A changed copy.
    """
    if cfg.get('type') is _read:
        return cfg
    if cfg.get('pipeline'):
        cfg = {**cfg, 'pipeline': _within_crop(cfg['pipeline'])}
    if _reads_coco(cfg.get('type')):
        return dict(type=_read, dataset=cfg, looks=looks)
    changed = dict(cfg)
    for key, inner in cfg.items():
        if key == 'dataset' and isinstance(inner, dict):
            changed[key] = looked_at(inner, looks)
        elif key == 'datasets':
            changed[key] = [
                looked_at(part, looks) if isinstance(part, dict) else part
                for part in inner
            ]
    return changed


def _within_crop(part: Any) -> Any:
    """A part of a pipeline's config with our ``GenerateTarget`` for MMPose's."""
    if isinstance(part, (list, tuple)):
        return [_within_crop(item) for item in part]
    if not isinstance(part, dict):
        return part
    if name_of(part) == 'GenerateTarget':
        kind = part['type']
        kind = TRANSFORMS.get(kind) if isinstance(kind, str) else kind
        if kind is GenerateTarget.__base__:
            return {**part, 'type': GenerateTarget}
    return {**part, **{k: _within_crop(part[k]) for k in _HOLDING if k in part}}


def _reads_coco(kind: Any) -> bool:
    kind = DATASETS.get(kind) if isinstance(kind, str) else kind
    if not inspect.isclass(kind) or not issubclass(kind, BaseCocoStyleDataset):
        return False
    parameters = inspect.signature(kind).parameters.values()
    named = [p.name for p in parameters] + [p.kind for p in parameters]
    # Published datasets have readers of their own, which look themselves.
    return not issubclass(kind, PublishedDataset) and (
        'lazy_init' in named or inspect.Parameter.VAR_KEYWORD in named
    )


def _read(dataset: dict, looks: Optional[List[Look]]) -> BaseCocoStyleDataset:
    """Build a COCO-style dataset, look at its files and have it read them."""
    built = DATASETS.build(dict(dataset, lazy_init=True))
    if '://' in built.ann_file:  # MMEngine fetches it from elsewhere.
        built.full_init()
        return built
    file = _load(built.ann_file, 'annotation file', 'annotations')
    if _has_layout_of_its_own(built, file.content):
        built.full_init()
        return built
    files = [file]
    look_at_entries(file, ['images'] if built.bbox_file else ['images', 'annotations'])
    if built.bbox_file:
        files.append(_detections(built, file))
    other_sizes = _look_at_images(built, files, looks is not None)
    if not built.bbox_file and _reads_as_usual(built) and built.data_mode == 'topdown':
        look_at_labels(file, _reader(built))
    _require_any(files[-1], files[-1].num_entries - files[-1].num_left_out())
    with _in_place(built, files):
        _read_all(built, files)
    _count_what_is_left_out(built, files[-1])
    for file in files:
        mended = ', '.join(f'{n} {kind}' for kind, n in file.mended.items() if n)
        if mended:
            file.asides.append(f'read as meant: {mended}')
    if looks is None:
        _log(built, files)
    else:
        looks.append(Look(files, other_sizes))
    return built


def _load(path: str, what: str, entries: str) -> CocoFile:
    file = CocoFile(path, load_json(path, what), what, entries)
    with open(path, 'rb') as head:
        # Other readers take a byte order mark for a part of the text.
        file.mended['files not in plain UTF-8'] += (
            json.detect_encoding(head.read(4)) != 'utf-8'
        )
    return file


def _reads_as_usual(dataset: BaseCocoStyleDataset) -> bool:
    usual = BaseCocoStyleDataset._load_annotations
    return type(dataset)._load_annotations is usual


def _has_layout_of_its_own(dataset: BaseCocoStyleDataset, content: Any) -> bool:
    """Whether a dataset that reads its file by itself reads another layout (MPII's)."""
    is_cocos = isinstance(content, dict) and 'images' in content
    return not is_cocos and not _reads_as_usual(dataset)


def _detections(dataset: BaseCocoStyleDataset, file: CocoFile) -> CocoFile:
    found = _load(dataset.bbox_file, 'boxes file', 'detections')
    look_at_detections(found, {image['id'] for image in file.images})
    if 'categories' not in file.content:  # MMPose asks for them.
        file.content['categories'] = []
        file.mended['files without categories'] += 1
    return found


def _reader(dataset: BaseCocoStyleDataset) -> Reader:
    kind, name = type(dataset), type(dataset).__name__
    interval = dataset.sample_interval
    if kind.parse_data_info is CocoWholeBodyDataset.parse_data_info:
        needs = ('num_keypoints', 'segmentation')
        return Reader(name, _WHOLE_BODY, [], True, needs, interval)
    if kind.parse_data_info is not BaseCocoStyleDataset.parse_data_info:
        return Reader(name, dict(keypoints=None), [], False, (), interval)
    metainfo = dataset.metainfo
    transforms = [type(t).__name__ for t in dataset.pipeline.transforms]
    if 'KeypointConverter' in transforms:  # Its metainfo may be of the result.
        return Reader(name, dict(keypoints=None), [], True, (), interval)
    number = metainfo.get('num_keypoints')
    names = metainfo.get('keypoint_id2name') or {}
    ordered = [names.get(k, '') for k in range(number or 0)]
    return Reader(name, dict(keypoints=number), ordered, True, (), interval)


def metrics_looked_at(cfg: Any, entry: str) -> Any:
    """An evaluator's config, whose metrics read what a dataset would.

    COCO's metrics with an ``ann_file`` read it as it is. Here it is looked at, and
    what is put right for a dataset is put right for them.

    Args:
        cfg (dict | list): The config of an evaluator, of a metric or of several.
        entry (str): Its name in the config, for messages.

    Returns:
        dict | list: A changed copy.
    """
    if isinstance(cfg, (list, tuple)):
        return [metrics_looked_at(metric, entry) for metric in cfg]
    if not isinstance(cfg, dict):
        return cfg
    if 'metrics' in cfg:
        return {**cfg, 'metrics': metrics_looked_at(cfg['metrics'], entry)}
    kind = cfg.get('type')
    kind = METRICS.get(kind) if isinstance(kind, str) else kind
    reads_coco = inspect.isclass(kind) and issubclass(kind, CocoMetric)
    if not reads_coco or '://' in str(cfg.get('ann_file') or '://'):
        return cfg
    return dict(type=_read_metric, metric=cfg, kind=kind, entry=entry)


def _read_metric(metric: dict, kind: type, entry: str) -> CocoMetric:
    path, needs = metric['ann_file'], ('num_keypoints',)
    parts = {CocoMetric: dict(keypoints=None), CocoWholeBodyMetric: _WHOLE_BODY}
    try:
        file = _load(path, 'annotation file', 'annotations')
        look_at_entries(file, ['images', 'annotations'])
        if kind in parts:
            look_at_labels(file, Reader(kind.__name__, parts[kind], [], True, needs))
    except InputError as error:
        raise InputError(f'{kind.__name__} of {entry}: {error}') from error
    if not any(file.mended.values()):
        return METRICS.build(metric)
    copy = _written(file)
    try:
        built = METRICS.build({**metric, 'ann_file': copy})
    finally:
        os.remove(copy)
    built.ann_file, built.coco.anno_file = path, [path]
    return built


# --- images -------------------------------------------------------------------


def _look_at_images(
    dataset: BaseCocoStyleDataset, files: Sequence[CocoFile], every: bool
) -> Dict[str, str]:
    """Look for the images that are annotated, and at their sizes.

    Args:
        dataset (BaseCocoStyleDataset): The dataset, which has read nothing.
        files (Sequence[CocoFile]): Its files.
        every (bool): Whether all that is wrong is to be returned, and no error.

    Returns:
        dict[str, str]: By image, how its size differs from that in the file.

    Raises:
        InputError: If an image is missing or of another size, unless ``every``; or
            if the file states no size and the image has none.
    """
    file, entries = files[0], files[-1].content
    if isinstance(entries, dict):
        entries = file.annotations
    used = {entry['image_id'] for entry in entries}
    places = [i for i, image in enumerate(file.images) if image['id'] in used]
    paths = _find(dataset, file, places, strict=not every)
    unsized = [i for i in places if stated_size(file.images[i]) is None]
    _take_sizes(file, unsized, paths, required=_reader(dataset).is_cocos)
    # What else there is, a transform of the user's reads.
    there = [i for i in places if paths[i].lower().endswith(IMAGE_EXTENSIONS)]
    return _compare_sizes(file, there, paths, strict=not every)


def _find(
    dataset: BaseCocoStyleDataset, file: CocoFile, places: List[int], strict: bool
) -> Dict[int, str]:
    """The paths of images by their places in the file; '' if there is none.

    A name that is spelled another way there is put right in the file.
    """
    prefix = dataset.data_prefix.get('img', '')
    listings = FolderListings(prefix)
    missing, paths = [], {}
    for index in places:
        name = file.images[index]['file_name']
        found = listings.find(name)
        if found and found != name:
            file.images[index]['file_name'] = found
            file.mended['names of images in another spelling'] += 1
        elif not found:
            missing.append(index)
        paths[index] = os.path.join(prefix, found) if found else ''
    # If there is none they may be somewhere else, as in an archive that a
    # transform opens; with indices, others may be the ones that are used.
    if strict and 0 < len(missing) < len(places) and dataset._indices is None:
        faults = Faults()
        for index in missing:
            name = shown(file.images[index]['file_name'], 200)
            remedy = 'Check that the images were unpacked completely.'
            problem = f'is annotated, and there is no {name} in "{prefix}"'
            faults.add(f'images[{index}]', problem, remedy)
        faults.require_none(file)
    return paths


def _take_sizes(
    file: CocoFile, places: List[int], paths: Dict[int, str], required: bool
) -> None:
    """Give the entries of images without a size the one of the image."""

    def size(index: int) -> Any:
        try:
            return image_size(paths[index]) if paths[index] else 'it is not there'
        except InputError as error:
            return str(error)

    faults = Faults()
    with ThreadPoolExecutor(_NUM_READERS) as readers:
        sizes = list(readers.map(size, places))
    for index, found in zip(places, sizes):
        if isinstance(found, str):
            name = shown(file.images[index]['file_name'])
            problem = f'has no width and height, and {name} cannot tell: {found}'
            faults.add(f'images[{index}]', problem, 'Give both, in pixels.')
            continue
        file.images[index].update(height=found[0], width=found[1])
        file.mended['images without width and height'] += 1
    if required:
        faults.require_none(file)


def _compare_sizes(
    file: CocoFile, places: List[int], paths: Dict[int, str], strict: bool
) -> Dict[str, str]:
    decoded = set(places if not strict else evenly(places, NUM_IMAGES))

    def look(index: int) -> Any:
        measure = check_image if index in decoded else image_size
        try:
            height, width = measure(paths[index])
        except InputError as error:
            return '', '', error
        return (*other_size(stated_size(file.images[index]), width, height), None)

    with ThreadPoolExecutor(_NUM_READERS) as readers:
        found = list(readers.map(look, places))
    faults, others = Faults(), {}
    for index, (problem, remedy, error) in zip(places, found):
        if strict and error:
            raise InputError(f'{file}: images[{index}]: {error}') from error
        if problem:
            others[paths[index]] = f'{problem} (images[{index}] of "{file.path}")'
            name = shown(file.images[index]['file_name'])
            faults.add(f'images[{index}] ({name})', problem, remedy)
    if strict:
        faults.require_none(file)
    return others


# --- reading ------------------------------------------------------------------


@contextmanager
def _in_place(dataset: BaseCocoStyleDataset, files: Sequence[CocoFile]) -> Iterator:
    """Have a dataset read copies of those files that were put right."""
    given = dict(zip(('ann_file', 'bbox_file'), files))
    mended = {key: file for key, file in given.items() if any(file.mended.values())}
    try:
        for key, file in mended.items():
            setattr(dataset, key, _written(file))
        for file in files:
            file.content = None  # The memory is for the reader.
        yield
    finally:
        for key, file in mended.items():
            copy = getattr(dataset, key)
            setattr(dataset, key, file.path)
            if copy != file.path:
                os.remove(copy)
    # MMPose's metric would read the file as it is; without it, it takes what the
    # samples carry.
    if 'ann_file' in mended and dataset.test_mode:
        name = f'{dataset.metainfo.get("dataset_name")}_ann_file'
        MessageHub.get_current_instance().pop_info(name)


def _written(file: CocoFile) -> str:
    """The path of a temporary copy of a file as it was put right."""
    with room_to_write(tempfile.gettempdir()):
        descriptor, path = tempfile.mkstemp(prefix='mmregda-', suffix='.json')
        os.close(descriptor)
        try:
            with open(path, 'w') as copy:
                copy.write(json.dumps(file.content))  # Faster than json.dump.
        except BaseException:
            os.remove(path)
            raise
    return path


def _read_all(dataset: BaseCocoStyleDataset, files: Sequence[CocoFile]) -> None:
    """Have a dataset read its annotations.

    Raises:
        InputError: If it fails, with the first annotation that it fails on.
    """
    file = files[0]
    try:
        dataset.full_init()
    except InputError:
        raise
    except Exception as error:  # Whatever an unexpected value leads it to.
        place, reason = _first_failure(dataset) or ('', error)
        if not place:  # MMEngine cannot pack a list of none.
            _require_any(files[-1], len(dataset.data_list))
        raise InputError(
            f'{file}: {place or "the file"} cannot be read by '
            f'{type(dataset).__name__} ({type(reason).__name__}: {reason}). Compare it '
            'with an annotation that it reads.'
        ) from error


def _first_failure(dataset: BaseCocoStyleDataset) -> Any:
    file = CocoFile(dataset.ann_file, load_json(dataset.ann_file))
    images = {image['id']: image for image in file.images}
    for index, annotation in enumerate(file.annotations):
        image = images.get(annotation['image_id'])
        if image is None:
            continue
        image = dict(image, img_id=image['id'], img_path=image['file_name'])
        try:
            dataset.parse_data_info(dict(raw_ann_info=annotation, raw_img_info=image))
        except Exception as error:
            return f'annotations[{index}]', error
    return None


def _count_what_is_left_out(dataset: BaseCocoStyleDataset, file: CocoFile) -> None:
    """Add what a dataset left out by rules that are its own."""
    is_whole = dataset._indices is None and dataset.filter_cfg is None
    if is_whole and _reads_as_usual(dataset) and dataset.data_mode == 'topdown':
        missing = file.num_entries - file.num_left_out() - len(dataset)
        if missing > 0 and dataset.sample_interval == 1:
            rule = f'by rules of {type(dataset).__name__}'
            file.left_out[rule] = [''] * missing
    _require_any(file, len(dataset))


def _require_any(file: CocoFile, number: int) -> None:
    """Raise :class:`InputError` if there are no samples."""
    if not number:
        reason = file.summary_of_left_out() or 'the dataset takes none of it'
        remedies = [text for kind, text in REMEDIES.items() if kind in file.left_out]
        raise InputError(' '.join([f'{file} has no sample: {reason}.', *remedies]))


def _log(dataset: BaseCocoStyleDataset, files: Sequence[CocoFile]) -> None:
    for file in files:
        warnings = [file.summary_of_left_out(), *file.notes]
        for lines, level in ((warnings, logging.WARNING), (file.asides, logging.INFO)):
            for line in filter(None, lines):
                message = f'{type(dataset).__name__}, {file}: {line}'
                print_log(message, logger='current', level=level)
