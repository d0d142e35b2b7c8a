"""The datasets of a run, read so that nothing of the run is changed."""

from __future__ import annotations

import copy
import io
import logging
import warnings
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field
from typing import Any, Callable, Iterator, List, Optional, Sequence

import torch
from mmengine.evaluator import Evaluator
from mmengine.logging import MessageHub, MMLogger
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from mmregda.datasets import UnlabeledDataset
from mmregda.datasets.pipelines import leaves
from mmregda.datasets.samplers import SeededDataset, kept_generators, seed_generators
from mmregda.errors import InputError, during

# A batch of so many is enough to be collated and normalised.
_BATCH = 2
# Of a combined dataset, at most so many parts are looked into.
_MOST_PARTS = 4


@dataclass
class Reader:
    """A dataset and how it is read.

    Attributes:
        entry (str): Its dataloader's place in the config, such as
            ``val_dataloader.target``.
        loader (DataLoader): The dataloader.
        evaluator (Evaluator, optional): What judges predictions on it.
        samples (list[dict]): Some of them, packed.
    """

    entry: str
    loader: DataLoader
    evaluator: Optional[Evaluator] = None
    samples: List[dict] = field(default_factory=list)

    @property
    def domain(self) -> str:
        """str: The key beneath the dataloaders; empty if there is one alone."""
        return self.entry.partition('.')[2]

    @property
    def metrics(self) -> str:
        """str: The place of its evaluator in the config."""
        return self.entry.replace('_dataloader', '_evaluator')

    @property
    def dataset(self) -> Any:
        """Any: The user's dataset, out of ours that seeds it."""
        dataset = self.loader.dataset
        return dataset.dataset if isinstance(dataset, SeededDataset) else dataset

    @property
    def innermost(self) -> Any:
        """Any: The dataset inside of wrappers."""
        dataset = self.dataset
        while hasattr(dataset, 'dataset') and not hasattr(dataset, 'pipeline'):
            dataset = dataset.dataset
        return dataset

    @property
    def kind(self) -> str:
        """str: The innermost dataset's class."""
        return type(self.innermost).__name__

    @property
    def metainfo(self) -> dict:
        """dict: What is known of its keypoints."""
        return getattr(self.dataset, 'metainfo', None) or {}

    @property
    def images_alone(self) -> bool:
        """bool: Whether the labels that there are are taken off."""
        return isinstance(self.dataset, UnlabeledDataset)

    @property
    def labeled(self) -> bool:
        """bool: Whether its samples have keypoints."""
        unknown = info_of(self.dataset, 0) is None
        return self.has_keypoints or (unknown and not self.images_alone)

    @property
    def has_keypoints(self) -> bool:
        """bool: Whether it is seen that its samples have keypoints."""
        first = info_of(self.dataset, 0) or {}
        return not self.images_alone and 'keypoints' in first

    @property
    def num_parts(self) -> int:
        """int: Of how many datasets it is combined; 0 of none."""
        return len(self._parts())

    @property
    def transforms(self) -> List[Callable]:
        """list[Callable]: All transforms, however deep they are in its pipelines."""
        return [
            transform
            for dataset in _datasets_in(self.dataset)
            for transform in leaves(getattr(dataset, 'pipeline', ()))
        ]

    def read(self) -> None:
        """Read some samples: first and last, two between, the first of each part.

        Raises:
            InputError: If the pipeline cannot give them.
        """
        dataset = undisturbing(self.dataset)
        for index in self._indices():
            path = (info_of(dataset, index) or {}).get('img_path', '')
            named = f'sample {index}' + (f' ("{path}")' if path else '')
            what = f'{named} of {self.entry} ({self.kind}) cannot be read'
            remedy = f'Look at its annotation and at {self.entry}.dataset.pipeline.'
            try:
                with during(what, remedy):
                    sample = dataset[index]
            except InputError as error:
                if self.entry in str(error):
                    raise
                text = str(error).rstrip('.')
                raise InputError(f'{self.entry}: {text}. {remedy}') from error
            views = sample if isinstance(sample, dict) else {}
            views = [sample] if 'data_samples' in views else list(views.values())
            if not views or not all(
                isinstance(v, dict) and {'inputs', 'data_samples'} <= set(v)
                for v in views
            ):
                raise InputError(
                    f'{self.entry}.dataset.pipeline does not give inputs and '
                    'data_samples. End it with dict(type="PackPoseInputs").'
                )
            self.samples.append(sample)

    def batch(self, of_each_part: bool = False) -> Any:
        """A batch of the first samples, as the dataloader collates them."""
        # Ours packs it for the way from a worker.
        collate = getattr(self.loader.collate_fn, 'collate', self.loader.collate_fn)
        size = min(_BATCH, self.loader.batch_size or _BATCH)
        if of_each_part and self.num_parts > 1:
            size = len(self.samples)
        with during(
            f'a batch of {self.entry} cannot be collated',
            f'Look at {self.entry}.collate_fn and at the size of its samples.',
        ):
            return collate(copy.deepcopy((2 * self.samples)[:size]))

    def _parts(self) -> Sequence[Any]:
        inner = self.dataset
        while hasattr(inner, 'dataset') and len(inner.dataset) == len(self.dataset):
            inner = inner.dataset
        return getattr(inner, 'datasets', ())

    def _indices(self) -> List[int]:
        size = len(self.dataset)
        chosen = {0, min(1, size - 1), size // 2, size - 1}
        parts = [len(part) for part in self._parts()]
        if sum(parts) == size:
            firsts = {sum(parts[:i]) for i in range(min(len(parts), _MOST_PARTS))}
            chosen |= firsts - {size}
        return sorted(chosen)


def readers_of(runner: Runner, phase: str) -> List[Reader]:
    """What a runner reads to ``train``, ``val`` or ``test``, by domain."""
    loop = getattr(runner, f'{phase}_loop')
    if phase == 'train':
        loader = loop.dataloader
        loaders = getattr(loader, 'domains', {'': loader})
        found = [(domain, each, None) for domain, each in loaders.items()]
    else:
        loops = getattr(loop, 'loops', {'': loop} if loop else {})
        found = [
            (domain, each.dataloader, each.evaluator)
            for domain, each in loops.items()
            if hasattr(each, 'dataloader') and hasattr(each, 'evaluator')
        ]
    return [
        Reader(f'{phase}_dataloader.{domain}'.rstrip('.'), *rest)
        for domain, *rest in found
    ]


def info_of(dataset: Any, index: int) -> Any:
    """A sample before the pipeline, if the dataset has such a thing."""
    try:
        return dataset.get_data_info(index)
    except Exception:  # Reading the sample says what is wrong.
        return None


def undisturbing(dataset: Any) -> Any:
    """A copy of a dataset, since transforms may count, or keep images or generators.

    What it knows of its samples is shared, for it may be large.
    """
    shared = {}
    for part in _datasets_in(dataset, unlabeled=True):
        for name in ('data_list', 'data_bytes', 'data_address', 'coco'):
            value = getattr(part, '__dict__', {}).get(name)
            shared[id(value)] = value
    return copy.deepcopy(dataset, shared)


def _datasets_in(dataset: Any, unlabeled: bool = False) -> Iterator[Any]:
    """A dataset and those in it; without ``unlabeled``, whose pipelines are used."""
    yield dataset
    if isinstance(dataset, UnlabeledDataset) and not unlabeled:
        return
    held = vars(dataset) if hasattr(dataset, '__dict__') else {}
    for part in [held.get('dataset'), *(held.get('datasets') or ())]:
        if part is not None:
            yield from _datasets_in(part, unlabeled)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Within, whatever is drawn, printed or logged is no part of the run."""
    devices = range(torch.cuda.device_count() if torch.cuda.is_initialized() else 0)
    # Where MMPose's datasets tell its metrics of their annotation files.
    told = MessageHub.get_current_instance().runtime_info
    told_before = dict(told)
    logger = MMLogger.get_current_instance()
    level = logger.level
    # A count of samples, or a table of metrics, would be taken for the run's.
    logger.setLevel(max(level, logging.WARNING))
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
            warnings.simplefilter('ignore')
            with torch.random.fork_rng(devices), kept_generators():
                seed_generators(0)  # What is found does not depend on luck.
                yield
    finally:
        logger.setLevel(level)
        told.clear()
        told.update(told_before)
