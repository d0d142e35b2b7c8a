"""Numbers, names and order of keypoints: of labels, datasets and head."""

from __future__ import annotations

import logging
import os
from typing import Any, Iterator, Sequence, Tuple

import numpy as np
from mmengine.logging import print_log
from torch import nn

from mmregda.datasets.keypoint_names import (
    keypoint_names,
    mirrored,
    require_same_keypoints,
    same_name,
)
from mmregda.datasets.pipelines import name_of
from mmregda.engine.rehearsal.readers import Reader, info_of
from mmregda.errors import InputError

_FLIPS = ('RandomFlip', 'HandRandomFlip')


def require_numbers(reader: Reader, model: nn.Module, kept: int = 0) -> None:
    """Refuse labels or metainfo of another number than the head predicts.

    Of the head's keypoints, ``kept`` are left in validation; 0 for all.
    """
    known = len(keypoint_names(reader.metainfo))
    head = kept or num_predicted(model)
    predicts = (
        f'model.test_cfg.output_keypoint_indices keeps {kept} keypoints'
        if kept
        else f'the head has out_channels={head or "(unknown)"}'
    )
    remedy = (
        f'Give {reader.entry}.dataset the metainfo of these keypoints and set '
        'model.head.out_channels to their number, or map them (KeypointConverter).'
    )
    if head and known and known != head and not reader.images_alone:
        raise InputError(
            f'{predicts}, but {reader.kind} of {reader.entry} has {known} keypoints in '
            f'its metainfo. {remedy}'
        )
    expected = head or known
    for number, what in _numbers_of(reader) if expected else ():
        if number != expected:
            raise InputError(
                f'{what} {number} keypoints, but {predicts} and the metainfo of '
                f'{reader.entry} {known or "no"} keypoints. {remedy}'
            )


def _numbers_of(reader: Reader) -> Iterator[Tuple[int, str]]:
    """The number of keypoints that labels have after conversion, and which they are."""
    if not reader.labeled:
        return
    converted = False
    for transform in reader.transforms:
        if name_of(transform) == 'KeypointConverter':
            converted = True
            what = f'KeypointConverter in the pipeline of {reader.entry} maps to'
            yield transform.num_keypoints, what
    info = info_of(reader.dataset, 0) or {}
    shape = np.shape(info.get('keypoints'))
    if not converted and len(shape) == 3:
        file = os.path.basename(str(getattr(reader.dataset, 'ann_file', '') or ''))
        names = os.path.basename(str(info.get('img_path', ''))), file or reader.kind
        yield shape[1], f'a sample of {reader.entry} ({" of ".join(names)}) has'


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
    named = [reader for reader in readers if keypoint_names(reader.metainfo)]
    for reader in named[1:]:
        trained, names = (keypoint_names(r.metainfo) for r in (named[0], reader))
        if kept and not reader.entry.startswith('train') and max(kept) < len(trained):
            trained = [trained[k] for k in kept]
        if len(trained) != len(names) and reader.images_alone:
            continue
        require_same_keypoints(
            trained,
            names,
            *(_called(each) for each in (named[0], reader)),
            'Bring them into one order with KeypointConverter (as '
            'configs/examples/regda_res50_rhd2freihand.py does), or give '
            f'{reader.entry}.dataset the metainfo of {named[0].entry}.dataset.',
        )


def require_start(readers: Sequence[Reader], model: nn.Module, start: Any) -> None:
    """Refuse to go on from a head whose channels are other keypoints."""
    first = next((r for r in readers if keypoint_names(r.metainfo)), None)
    if first is None or start is None:
        return
    anew = hasattr(model, 'adaptation') and 'head' not in start.parts
    names = keypoint_names(first.metainfo)
    if len(names) == len(start.names) and (start.kind == 'resumed' or not anew):
        require_same_keypoints(
            start.names,
            names,
            f'checkpoint "{start.checkpoint}"',
            _called(first),
            "Bring the dataset's keypoints into the checkpoint's order "
            '(KeypointConverter), or start from its backbone alone '
            '(model.backbone.init_cfg, with prefix="backbone.").',
        )


def require_flips(readers: Sequence[Reader], flip_test: bool) -> None:
    """Refuse mirrored keypoints that contradict each other, if any are mirrored.

    With ``flip_test`` the model predicts on mirrored images, too.
    """
    first = None
    for reader in readers:
        flips = any(name_of(t) in _FLIPS for t in reader.transforms)
        judged = not reader.entry.startswith('train')
        pairs = reader.metainfo.get('flip_indices')
        names = keypoint_names(reader.metainfo)
        mirrors = (flip_test and judged) or (flips and reader.labeled)
        if not mirrors or pairs is None or len(pairs) != len(names):
            continue
        _require_sound_pairs(reader, names, list(pairs))
        first = first or (reader.entry, list(pairs))
        if len(pairs) == len(first[1]) and list(pairs) != first[1]:
            k = next(k for k, other in enumerate(first[1]) if other != pairs[k])
            raise InputError(
                f'mirrored, "{names[k]}" (keypoint {k}) becomes keypoint '
                f'{first[1][k]} in {first[0]} and {pairs[k]} in {reader.entry}. Give '
                "both the same swap in their metainfo's keypoint_info."
            )


def _require_sound_pairs(
    reader: Reader, names: Sequence[str], pairs: Sequence[int]
) -> None:
    where = f'metainfo of {reader.entry}: keypoint_info'
    for k, name in enumerate(names):
        other = pairs[k]
        swapped = f'"{name}" is swapped with "{names[other]}" in a mirrored image'
        if pairs[other] == other != k:  # So in MMPose's own deepfashion2.
            print_log(
                f'{where} says that {swapped}, and of "{names[other]}" nothing, which '
                f'keeps its place and is wrong there. Set its swap="{name}".',
                logger='current',
                level=logging.WARNING,
            )
        elif pairs[other] != k:
            raise InputError(
                f'{where} says that {swapped}, but "{names[other]}" with '
                f'"{names[pairs[other]]}". Set swap of each of the two to the other.'
            )
        opposite = mirrored(name)
        partner = [n for n in names if opposite and same_name(n, opposite)]
        if partner and not same_name(names[other], opposite):
            raise InputError(
                f'{where} says that {swapped}, though there is "{partner[0]}". Set '
                f'swap="{partner[0]}".'
            )


def _called(reader: Reader) -> str:
    """What a message calls a dataset."""
    return f'the {reader.domain} ({reader.entry})' if reader.domain else reader.entry
