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
)
from mmregda.engine.rehearsal.parts import Reader, no_samples
from mmregda.errors import InputError, during

# Of a combined dataset, at most so many parts are looked into.
_MOST_PARTS = 4
# What is learnt from.
_LABELED = ('train_dataloader.source', 'train_dataloader.labeled_target')


def look_at(reader: Reader) -> None:
    """Look at a dataset before its pipeline.

    Raises:
        InputError: If it has no samples, or none of the labels that teach.
    """
    _require_batches(reader)
    dataset = undisturbing(reader.dataset)
    first = info_of(dataset, 0)
    reader.labeled = not isinstance(dataset, UnlabeledDataset) and (
        first is None or 'keypoints' in first
    )
    if not reader.labeled and reader.entry in _LABELED:
        raise InputError(
            f'{reader.entry}: {reader.kind} has no labels, from which the model is to '
            'learn. Give it a labelled dataset, and the unlabelled one to '
            'train_dataloader.target.'
        )


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

    def copied(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: copied(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return type(value)(map(copied, value))
        if isinstance(value, PIPELINES):
            return copy.deepcopy(value)
        return undisturbing(value) if _is_dataset(value) else value

    twin = copy.copy(dataset)
    for name, value in _attributes(dataset).items():
        if any(isinstance(i, PIPELINES) or _is_dataset(i) for i in _items(value)):
            vars(twin)[name] = copied(value)
    return twin


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


def _attributes(dataset: Any) -> dict:
    """What an object holds; a plain list holds nothing by a name."""
    return dict(getattr(dataset, '__dict__', {}))


def _items(value: Any) -> List[Any]:
    if isinstance(value, dict):
        return list(value.values())[:64]
    return list(value[:64]) if isinstance(value, (list, tuple)) else [value]


def _is_dataset(value: Any) -> bool:
    return hasattr(value, 'get_data_info') and hasattr(value, '__getitem__')
