"""Numbers, names and order of keypoints: of labels, datasets and head."""

from __future__ import annotations

import logging
import os
from typing import Any, Iterator, List, Sequence, Tuple

import numpy as np
from mmengine.logging import print_log
from mmpose.datasets.datasets.utils import parse_pose_metainfo
from torch import nn

from mmregda.datasets import UnlabeledDataset
from mmregda.datasets.keypoint_names import (
    keypoint_names,
    mirrored,
    misplaced,
    require_same_keypoints,
    same_name,
    shown,
)
from mmregda.datasets.pipelines import leaves, name_of
from mmregda.datasets.views import views_of
from mmregda.engine.rehearsal.parts import Reader
from mmregda.engine.rehearsal.samples import indices_in, info_of, transforms_of
from mmregda.errors import InputError

_FLIPS = ('RandomFlip', 'HandRandomFlip')


def require_numbers(reader: Reader, model: nn.Module, predicted: int = 0) -> None:
    """Refuse labels of another number than metainfo and head have.

    Once the reader has samples, what its pipeline has made of the labels counts; until
    then, the labels as they are. Of the head's keypoints, ``predicted`` are kept.
    """
    known = len(keypoint_names(reader.metainfo))
    in_head = predicted or num_predicted(model)
    if in_head and known and known != in_head and not _images_alone(reader):
        raise InputError(
            f'the head has out_channels={in_head}, but {reader.kind} of {reader.entry} '
            f'has {known} keypoints in its metainfo. Set model.head.out_channels, or '
            "map the keypoints (MMPose's KeypointConverter) and give the dataset the "
            'metainfo of what they are mapped to.'
        )
    expected = in_head or known
    for _, converter in _converters_in(reader.dataset) if reader.labeled else ():
        # A transform after it may bring samples to the number of the metainfo again.
        if expected and converter.num_keypoints != expected:
            raise InputError(
                f'KeypointConverter in the pipeline of {reader.entry} maps to '
                f'{converter.num_keypoints} keypoints, but the head has '
                f'out_channels={in_head or "(unknown)"} and the metainfo of '
                f'{reader.entry} {known or "no"} keypoints. '
                f'{_remedy_for_number(reader)}'
            )
    for labeled, path in _labels_of(reader):
        if expected and labeled != expected:
            whose = (
                'the head has out_channels'
                if in_head
                else f'the metainfo of {reader.entry} has num_keypoints'
            )
            raise InputError(
                f'{whose}={expected}, but a sample of {reader.entry} '
                f'({_source_of(path, reader)}) has {labeled} keypoints. '
                f'{_remedy_for_number(reader)}'
            )


def _labels_of(reader: Reader) -> Iterator[Tuple[int, str]]:
    """The number of keypoints of some labelled samples, each with its image."""
    if not reader.labeled:
        return
    if reader.samples:
        infos = [
            dict(view['data_samples'].metainfo, **view['data_samples'].gt_instances)
            for sample in reader.samples
            for view in views_of(sample).values()
        ]
    elif any(True for _ in _converters_in(reader.dataset)):
        return  # They are to be mapped.
    else:
        infos = [info_of(reader.dataset, i) or {} for i in indices_in(reader.dataset)]
    for info in infos:
        shape = np.shape(info.get('keypoints'))
        if len(shape) == 3:
            yield shape[1], str(info.get('img_path', ''))


def num_predicted(model: nn.Module) -> int:
    """How many keypoints a model's head predicts; 0 if it does not say."""
    head = getattr(model, 'head', None)
    # UDP's other kind of heatmaps has three channels for each keypoint.
    combined = getattr(getattr(head, 'decoder', None), 'heatmap_type', '') == 'combined'
    number = getattr(head, 'out_channels', None)
    return number if isinstance(number, int) and not combined else 0


def require_names(readers: Sequence[Reader], kept: Sequence[int] = ()) -> None:
    """Refuse datasets that would call a channel by another keypoint's name.

    The names of the first reader count. Channels ``kept`` are predicted in validation,
    or all.
    """
    for reader in readers:
        if reader.labeled:
            _require_converted_names(reader)
    named = [reader for reader in readers if keypoint_names(reader.metainfo)]
    for reader in named[1:]:
        trained, names = (keypoint_names(r.metainfo) for r in (named[0], reader))
        if kept and not reader.entry.startswith('train') and max(kept) < len(trained):
            trained = [trained[k] for k in kept]
        if len(trained) != len(names) and _images_alone(reader):
            continue  # Of which only the images are used.
        require_same_keypoints(
            trained,
            names,
            named[0].entry,
            reader.entry,
            'Bring them into one order with KeypointConverter (as '
            'configs/examples/regda_res50_rhd2freihand.py does), or give '
            f'{reader.entry}.dataset the metainfo of {named[0].entry}.dataset.',
        )


def require_flips(readers: Sequence[Reader], flip_test: bool) -> None:
    """Refuse mirrored keypoints that contradict each other, if any are mirrored.

    With ``flip_test`` the model predicts on mirrored images, too.
    """
    mirroring = [
        reader
        for reader in readers
        if (flip_test and not reader.entry.startswith('train'))
        or (reader.labeled and _flips(reader))
    ]
    for reader in mirroring:
        _require_sound_pairs(reader)
    known = [r for r in mirroring if r.metainfo.get('flip_indices') is not None]
    for reader in known[1:]:
        first, other = (list(r.metainfo['flip_indices']) for r in (known[0], reader))
        if len(first) == len(other) and first != other:
            k = next(
                k for k, pair in enumerate(zip(first, other)) if len(set(pair)) > 1
            )
            name = keypoint_names(reader.metainfo)[k]
            raise InputError(
                f'mirrored, "{name}" (keypoint {k}) becomes keypoint {first[k]} in '
                f'{known[0].entry} and {other[k]} in {reader.entry}. Give both the '
                "same swap in their metainfo's keypoint_info."
            )


def _flips(reader: Reader) -> bool:
    return any(name_of(t) in _FLIPS for t in transforms_of(reader))


def _require_sound_pairs(reader: Reader) -> None:
    names = keypoint_names(reader.metainfo)
    pairs = reader.metainfo.get('flip_indices')
    if pairs is None or len(pairs) != len(names):
        return
    where = f'metainfo of {reader.entry}: keypoint_info'
    for k, name in enumerate(names):
        other = pairs[k]
        if pairs[other] == other != k:  # So in MMPose's own deepfashion2.
            print_log(
                f'{where} says that "{name}" is swapped with "{names[other]}" in a '
                f'mirrored image, and of "{names[other]}" nothing, which keeps its '
                f'place and is wrong there. Set its swap="{name}".',
                logger='current',
                level=logging.WARNING,
            )
        elif pairs[other] != k:
            raise InputError(
                f'{where} says that "{name}" is swapped with "{names[other]}" in a '
                f'mirrored image, but "{names[other]}" with "{names[pairs[other]]}". '
                'Set swap of each of the two to the other.'
            )
        opposite = mirrored(name)
        partner = [n for n in names if opposite and same_name(n, opposite)]
        if partner and not same_name(names[other], opposite):
            raise InputError(
                f'{where} says that "{name}" becomes "{names[other]}" in a mirrored '
                f'image, though there is "{partner[0]}". Set swap="{partner[0]}".'
            )


def _require_converted_names(reader: Reader) -> None:
    for dataset, converter in _converters_in(reader.dataset):
        _require_mapped(reader, dataset, converter)
    dataset = reader.dataset
    names = keypoint_names(reader.metainfo)
    in_file = _names_in_file(dataset)
    if any(True for _ in _converters_in(dataset)) or len(in_file) != len(names):
        return
    k = misplaced(in_file, names)
    if k is not None:
        print_log(
            f'{reader.entry}: the annotation file calls its keypoints '
            f'{shown(in_file)}, the metainfo {shown(names)}. Keypoint {k} is taken for '
            f'"{names[k]}", as the metainfo says. If the file is right, give the '
            'dataset its order in metainfo.',
            logger='current',
            level=logging.WARNING,
        )


def _require_mapped(reader: Reader, dataset: Any, converter: Any) -> None:
    """Refuse the names of before for keypoints that were moved."""
    names = keypoint_names(reader.metainfo)
    own = keypoint_names(getattr(dataset, 'metainfo', None))
    verdicts = []
    for before in (_names_in_file(dataset), _names_of_class(dataset), own):
        if before == names and before is own:
            continue  # They are what is to be judged.
        moved = list(_moved(before, names, converter.mapping))
        wrong = [m for m in moved if m[1] != m[2]]
        if moved:
            verdicts.append(wrong)
    # Names in published files are now and then wrong themselves.
    if verdicts and all(verdicts):
        name, place, called = verdicts[0][0]
        raise InputError(
            f'{reader.entry}: KeypointConverter puts "{name}" at keypoint {place}, '
            f'which the metainfo calls "{names[place]}" ("{name}" is at {called} '
            f'there). Give {reader.entry}.dataset the metainfo of what the keypoints '
            'are mapped to.'
        )


def _moved(
    before: Sequence[str], names: Sequence[str], mapping: Sequence[Tuple]
) -> Iterator[Tuple[str, int, int]]:
    """Names that both know: each with where it is put, and where it is said to be."""
    for source, place in mapping:
        if isinstance(source, int) and source < len(before):
            for called, name in enumerate(names):
                if same_name(name, before[source]):
                    yield before[source], place, called


def _converters_in(dataset: Any) -> Iterator[Tuple[Any, Any]]:
    """Each KeypointConverter with the dataset in whose pipeline it is."""
    inner = [getattr(dataset, 'dataset', None), *getattr(dataset, 'datasets', ())]
    for part in inner:
        if part is not None and not isinstance(dataset, UnlabeledDataset):
            yield from _converters_in(part)
    for transform in leaves(getattr(dataset, 'pipeline', ())):
        if name_of(transform) == 'KeypointConverter':
            yield dataset, transform


def _names_in_file(dataset: Any) -> List[str]:
    """The names in a COCO file, which MMPose keeps."""
    categories = (getattr(dataset, 'metainfo', None) or {}).get('CLASSES') or [{}]
    first = categories[0] if isinstance(categories, (list, tuple)) else {}
    names = first.get('keypoints') if isinstance(first, dict) else None
    return [str(name) for name in names] if isinstance(names, (list, tuple)) else []


def _names_of_class(dataset: Any) -> List[str]:
    """The names that a published dataset comes with."""
    metainfo = getattr(type(dataset), 'METAINFO', None)
    try:
        return keypoint_names(parse_pose_metainfo(dict(metainfo))) if metainfo else []
    except Exception:  # A class may parse its own.
        return []


def _images_alone(reader: Reader) -> bool:
    return isinstance(reader.dataset, UnlabeledDataset)


def _source_of(path: str, reader: Reader) -> str:
    path = os.path.basename(path)
    file = os.path.basename(str(getattr(reader.dataset, 'ann_file', '') or ''))
    return ' of '.join(filter(None, (path, file))) or reader.kind


def _remedy_for_number(reader: Reader) -> str:
    for _, converter in _converters_in(reader.dataset):
        return (
            f'Its KeypointConverter maps to {converter.num_keypoints}: give '
            f'{reader.entry}.dataset the metainfo of what they are mapped to, and set '
            'model.head.out_channels to their number.'
        )
    return (
        f'Give {reader.entry}.dataset the metainfo of these keypoints and set '
        'model.head.out_channels to their number, or map them (KeypointConverter).'
    )
