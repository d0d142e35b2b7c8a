"""MMPose's datasets, built from files that have been looked at.

:func:`build_dataset` takes the place of ``DATASETS.build``, and :func:`looked_at`
changes the config of whatever builds its dataset itself, such as a dataloader. Each
COCO-style dataset, within whatever wrappers, is then built without its annotations,
its files are looked at (:mod:`~mmregda.datasets.coco_files`), and what it reads of them
is looked at as well (:mod:`~mmregda.datasets.coco_labels`).
Labels of any dataset weigh 0 outside of the crop
(:class:`~mmregda.datasets.transforms.GenerateTarget`), and images are read upright
(:class:`~mmregda.datasets.transforms.LoadWholeImage`).
"""

from __future__ import annotations

import inspect
import logging
import os
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

from mmengine.logging import MessageHub, print_log
from mmpose.datasets.datasets import BaseCocoStyleDataset
from mmpose.datasets.transforms import LoadImage
from mmpose.registry import DATASETS, TRANSFORMS

from mmregda.config_files import class_of
from mmregda.datasets.coco_files import (
    REMEDIES,
    CocoFile,
    Faults,
    look_at_detections,
    look_at_entries,
    other_size,
    shown,
    stated_size,
)
from mmregda.datasets.coco_labels import LabelCheck
from mmregda.datasets.image_folder import name_on_disk
from mmregda.datasets.image_loading import IMAGE_EXTENSIONS, image_sizes
from mmregda.datasets.pipelines import leaves, name_of
from mmregda.datasets.published import PublishedDataset
from mmregda.datasets.transforms import GenerateTarget, LoadWholeImage
from mmregda.errors import InputError

# Under which a transform holds others.
_HOLDING = ('transforms', 'transform')
# By MMPose's transform: ours, and with which arguments it does the same.
_OURS = {
    GenerateTarget.__base__: (GenerateTarget, None),
    LoadImage: (
        LoadWholeImage,
        {'type', 'to_float32', 'color_type', 'imdecode_backend', 'backend_args'},
    ),
}


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

    Raises:
        InputError: If something is wrong with a file that would stop the reader
            or give wrong labels, naming file, entry and remedy.
    """
    return DATASETS.build(looked_at(cfg, looks))


def looked_at(cfg: dict, looks: Optional[List[Look]] = None) -> dict:
    """A copy of a config whose COCO-style files are looked at when it is built.

    ``GenerateTarget`` and ``LoadImage`` in pipelines are ours.

    Args:
        cfg (dict): The config of a dataset, or anything that has one under
            ``dataset`` or several under ``datasets``, such as a wrapper or a
            dataloader.
        looks (list, optional): As in :func:`build_dataset`.
    """
    if cfg.get('type') is _read:
        return cfg
    if cfg.get('pipeline'):
        cfg = {**cfg, 'pipeline': _with_ours(cfg['pipeline'])}
    if _reads_coco(class_of(cfg, DATASETS)):
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


def _with_ours(part: Any) -> Any:
    """A part of a pipeline's config with our transforms for MMPose's."""
    if isinstance(part, (list, tuple)):
        return [_with_ours(item) for item in part]
    if not isinstance(part, dict):
        return part
    if name_of(part) in [kind.__name__ for kind in _OURS]:
        kind = class_of(part, TRANSFORMS)
        ours, known = _OURS.get(kind, (kind, None))
        if known is None or set(part) <= known:
            return {**part, 'type': ours}
    return {**part, **{k: _with_ours(part[k]) for k in _HOLDING if k in part}}


def _reads_coco(kind: Any) -> bool:
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
    usual = BaseCocoStyleDataset._load_annotations
    reads_as_usual = type(built)._load_annotations is usual
    no_images = reads_as_usual and 'img' not in built.data_prefix
    if no_images or not built.ann_file:
        missing = 'data_prefix=dict(img="FOLDER/")' if no_images else 'ann_file'
        raise InputError(
            f'{type(built).__name__} with data_root="{built.data_root}" needs {missing}'
        )
    if '://' in built.ann_file:  # MMEngine fetches it from elsewhere.
        built.full_init()
        return built
    file = CocoFile(built.ann_file)
    content = file.load()
    if not reads_as_usual and not (isinstance(content, dict) and 'images' in content):
        built.full_init()  # A layout of its own, such as MPII's.
        return built
    look_at_entries(
        file, content, ['images'] if built.bbox_file else ['images', 'annotations']
    )
    used, files = content.get('annotations', []), [file]
    if built.bbox_file:
        boxes = CocoFile(built.bbox_file, 'boxes file', 'detections')
        used = boxes.load()
        look_at_detections(boxes, used, {image['id'] for image in content['images']})
        built.bbox_file = boxes.written(used)
        files.append(boxes)
    else:
        known = {image['id'] for image in content['images']}
        file.num_entries = len(used)
        for label in used:
            if label['image_id'] not in known:
                file.leave_out('of an image_id that no image has', f'id {label["id"]}')
    used = {entry['image_id'] for entry in used}
    images = [(i, e) for i, e in enumerate(content['images']) if e['id'] in used]
    prefix = built.data_prefix.get('img', '')
    for _, image in images:
        name = name_on_disk(prefix, image['file_name'])
        file.mended |= name != image['file_name']
        image['file_name'] = name
    other_sizes = _look_at_images(built, file, images, looks is not None)
    built.ann_file = file.written(content)
    if file.mended:  # MMPose has told its metrics of the file already.
        told = MessageHub.get_current_instance().runtime_info
        told.update({k: built.ann_file for k, v in told.items() if v == file.path})
    check = LabelCheck(built, file, content.get('categories', []))
    del content, images  # The memory is for the reader.
    with check.looking():
        _read_all(built, files[-1])
    if looks is not None:
        looks.append(Look(files, other_sizes))
        return built
    for line in (line for f in files for line in (f.summary_of_left_out(), *f.notes)):
        if line:
            message = f'{type(built).__name__}, {file}: {line}'
            print_log(message, logger='current', level=logging.WARNING)
    return built


def _look_at_images(
    dataset: BaseCocoStyleDataset,
    file: CocoFile,
    images: Sequence[Tuple[int, dict]],
    every: bool,
) -> Dict[str, str]:
    """Look for the annotated images (place and entry), and at their sizes.

    With ``every`` it returns by path how sizes differ, and what is missing or damaged
    is no error.
    """
    prefix = dataset.data_prefix.get('img', '')
    if not any(isinstance(t, LoadImage) for t in leaves(dataset.pipeline)):
        # What else there is, a transform of the user's reads.
        images = [
            e for e in images if e[1]['file_name'].lower().endswith(IMAGE_EXTENSIONS)
        ]

    paths = [os.path.join(prefix, image['file_name']) for _, image in images]
    sizes = {
        path: size
        for path, size in zip(paths, image_sizes(paths))
        if isinstance(size, tuple) or os.path.exists(path)
    }
    # If there is none they may be somewhere else, as in an archive that a
    # transform opens; with indices, others may be the ones that are used.
    missing = f'is annotated, and there is no such file in "{prefix}"'
    missing = missing, 'Check that the images were unpacked completely.'
    if every or not sizes or dataset._indices is not None:
        missing = '', ''
    other_sizes, faults = {}, Faults()
    for path, (index, image) in zip(paths, images):
        (problem, remedy), size = missing, sizes.get(path)
        if isinstance(size, tuple):
            problem, remedy = other_size(stated_size(image), *size[::-1])
        elif size and not every:  # Who looks at every image finds it.
            raise size
        if problem:
            other_sizes[path] = problem
            name = shown(image['file_name'], 200)
            faults.add(f'images[{index}] ({name})', problem, remedy)
    if not every:
        faults.require_none(file)
    return other_sizes


def _read_all(dataset: BaseCocoStyleDataset, file: CocoFile) -> None:
    """Have a dataset read its annotations.

    Raises:
        InputError: If it fails, or if it takes none.
    """
    try:
        dataset.full_init()
        number = len(dataset)
    except InputError:
        raise
    except Exception as error:  # Whatever an unexpected value leads it to.
        number = len(getattr(dataset, 'data_list', ()))
        if number or not file.left_out:  # MMEngine cannot pack a list of none.
            raise InputError(
                f'{file} cannot be read by {type(dataset).__name__} '
                f'({type(error).__name__}: {error}).'
            ) from error
    if not number:
        reason = file.summary_of_left_out() or 'the dataset takes none of it'
        remedies = [text for kind, text in REMEDIES.items() if kind in file.left_out]
        raise InputError(' '.join([f'{file} has no sample: {reason}.', *remedies]))
