"""Some samples of every dataset, through its pipeline."""

from __future__ import annotations

import copy
from typing import Any, Callable, Iterator, List

from mmpose.structures import PoseDataSample
from torch import Tensor

from mmregda.datasets import UnlabeledDataset
from mmregda.datasets.pipelines import (
    PIPELINES,
    leaves,
    name_of,
    nodes,
)
from mmregda.engine.rehearsal.blame import culprit_of, described, during
from mmregda.engine.rehearsal.parts import Reader, no_samples
from mmregda.errors import InputError

# Of a combined dataset, at most so many parts are looked into.
_MOST_PARTS = 4
# Of a random choice, so many branches are tried.
_MOST_CHOICES = 4
# What is learnt from.
_LABELED = ('train_dataloader.source', 'train_dataloader.labeled_target')
# What only labelled samples have before the pipeline.
_LABELS = ('keypoints', 'keypoints_visible', 'transformed_keypoints', 'keypoints_3d')


def look_at(reader: Reader) -> None:
    """Look at a dataset before its pipeline.

    Raises:
        InputError: If it has no samples, or its transforms need labels that it does
            not have.
    """
    _require_batches(reader)
    dataset = undisturbing(reader.dataset)
    first = info_of(dataset, 0)
    reader.labeled = not isinstance(dataset, UnlabeledDataset) and (
        first is None or 'keypoints' in first
    )
    if not reader.labeled:
        _require_no_labels_needed(reader, dataset)


def read_samples(reader: Reader) -> None:
    """Put a few samples of a dataset into its reader.

    Raises:
        InputError: If the pipeline cannot give them.
    """
    dataset = undisturbing(reader.dataset)
    for index in indices_in(dataset):
        path = (info_of(dataset, index) or {}).get('img_path', '')
        named = f'sample {index}' + (f' ("{path}")' if path else '')
        with during(
            f'{named} of {reader.entry} ({reader.kind}) cannot be read',
            f'Look at the file, its annotation and {reader.entry}.dataset.pipeline.',
        ):
            sample = dataset[index]
        _require_packed(sample, reader, named)
        reader.samples.append(sample)


def transforms_of(reader: Reader) -> List[Callable]:
    """All transforms of a dataset, however deep they are in its pipelines."""
    return list(leaves(list(_pipelines_of(reader.dataset))))


def undisturbing(dataset: Any) -> Any:
    """A dataset that reads the same files, and whose reading changes nothing.

    What it knows of its samples is shared with the dataset, which may be large. Its
    transforms are copies: some count, or keep images or generators.
    """
    return _with_pipelines(dataset, copy.deepcopy)


def _require_batches(reader: Reader) -> None:
    num_samples = len(reader.dataset)
    if not num_samples:
        raise no_samples(reader.entry, reader.kind)
    # Training begins anew where the samples end.
    endless = reader.entry.startswith('train')
    if not endless and reader.loader.drop_last and not len(reader.loader):
        raise InputError(
            f'{reader.entry}: with drop_last, {num_samples} samples are not a batch of '
            f'{reader.batch_size}. Set {reader.entry}.drop_last = False.'
        )


def _require_no_labels_needed(reader: Reader, dataset: Any) -> None:
    """Refuse transforms that need keypoints, where there are none."""
    if reader.entry in _LABELED:
        raise InputError(
            f'{reader.entry}: {reader.kind} has no labels, from which the model is to '
            'learn. Give it a labelled dataset, and the unlabelled one to '
            'train_dataloader.target.'
        )
    found = _failing_without_labels(dataset)
    if found:
        raise InputError(
            f'{found[0]} in {reader.entry}.dataset.pipeline needs keypoints, which '
            f'{reader.kind} does not have. Leave it out.'
        )


def _failing_without_labels(dataset: Any) -> List[str]:
    """What asks for labels when every random transform has its turn."""
    for turn in range(_MOST_CHOICES):
        eager = _with_pipelines(dataset, lambda p, t=turn: _without_chance(p, t))
        try:
            eager[0]
        except Exception as error:
            # Transforms that seldom meet may fail together for other reasons.
            asked_for = isinstance(error, KeyError) and error.args[:1]
            if asked_for and asked_for[0] in _LABELS:
                return [f'{culprit_of(error) or "A transform"} ({described(error)})']
    return []


def _without_chance(pipeline: Callable, turn: int) -> Callable:
    """A pipeline whose random transforms are all applied.

    Args:
        pipeline (Callable): Which stays as it is.
        turn (int): Which of its branches a choice takes.
    """
    pipeline = copy.deepcopy(pipeline)
    for node in nodes(pipeline):
        settings = getattr(node, '__dict__', {})
        if name_of(node) == 'RandomChoice':
            branches = len(node.transforms)
            node.prob = [float(i == turn % branches) for i in range(branches)]
            continue
        for name, value in settings.items():
            chance = name in ('p', 'prob') or name.endswith('_prob')
            if chance and isinstance(value, float) and 0 < value < 1:
                settings[name] = 1.0
    return pipeline


def _require_packed(sample: Any, reader: Reader, named: str) -> None:
    views = [sample]
    if isinstance(sample, dict) and 'inputs' not in sample:
        views = list(sample.values()) or views
    for view in views:
        packed = isinstance(view, dict) and isinstance(
            view.get('data_samples'), PoseDataSample
        )
        if not packed or 'inputs' not in view:
            raise InputError(
                f'{reader.entry}.dataset.pipeline does not give inputs and '
                'data_samples. End it with dict(type="PackPoseInputs").'
            )
        inputs = view['inputs']
        if isinstance(inputs, Tensor) and not inputs.isfinite().all():
            raise InputError(
                f'{named} of {reader.entry} has values that are not finite after its '
                f'pipeline. Look at the image and at {reader.entry}.dataset.pipeline.'
            )


def indices_in(dataset: Any) -> List[int]:
    """First and last, two between, and the first of each part."""
    size = len(dataset)
    chosen = {0, min(1, size - 1), size // 2, size - 1}
    inner = dataset
    while hasattr(inner, 'dataset') and len(inner.dataset) == size:
        inner = inner.dataset
    parts = [len(part) for part in getattr(inner, 'datasets', ())]
    if sum(parts) == size:
        chosen |= {sum(parts[:i]) for i in range(min(len(parts), _MOST_PARTS))} - {size}
    return sorted(chosen)


def info_of(dataset: Any, index: int) -> Any:
    """A sample before the pipeline, if the dataset has such a thing."""
    try:
        return dataset.get_data_info(index)
    except Exception:  # Reading the sample says what is wrong.
        return None


def _pipelines_of(dataset: Any) -> Iterator[Callable]:
    for value in _attributes(dataset).values():
        for item in _items(value):
            if isinstance(item, PIPELINES):
                yield item
            # The inner pipeline of an unlabelled dataset is not used.
            elif _is_dataset(item) and not isinstance(dataset, UnlabeledDataset):
                yield from _pipelines_of(item)


def _with_pipelines(dataset: Any, change: Callable[[Any], Any]) -> Any:
    """A dataset with other pipelines, which shares all else."""

    def changed(value: Any) -> Any:
        if isinstance(value, PIPELINES):
            return change(value)
        return _with_pipelines(value, change) if _is_dataset(value) else value

    twin = copy.copy(dataset)
    for name, value in _attributes(dataset).items():
        if not any(isinstance(i, PIPELINES) or _is_dataset(i) for i in _items(value)):
            continue
        if isinstance(value, dict):
            value = {key: changed(item) for key, item in value.items()}
        elif isinstance(value, (list, tuple)):
            value = type(value)(map(changed, value))
        else:
            value = changed(value)
        vars(twin)[name] = value
    return twin


def _attributes(dataset: Any) -> dict:
    """What an object holds; a plain list holds nothing by a name."""
    return dict(getattr(dataset, '__dict__', {}))


def _items(value: Any) -> List[Any]:
    if isinstance(value, dict):
        return list(value.values())[:64]
    return list(value[:64]) if isinstance(value, (list, tuple)) else [value]


def _is_dataset(value: Any) -> bool:
    return hasattr(value, 'get_data_info') and hasattr(value, '__getitem__')
