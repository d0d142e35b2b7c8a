"""Draws of samples that depend on their number alone.

The n-th sample that training draws from a domain, and how it is augmented, is
a function of the seed and n: not of the number of workers, nor of what was
drawn before by which of them, nor of whether the training was interrupted.
"""

from __future__ import annotations

import copy
import os
import random
from contextlib import contextmanager
from functools import partial
from itertools import count, islice
from typing import Any, Callable, Iterator, Optional, Sized, Tuple, Union

import numpy as np
import torch
from mmengine.dist import get_dist_info
from mmengine.runner import Runner
from mmpose.registry import DATA_SAMPLERS, DATASETS
from torch.utils.data import DataLoader, Dataset, Sampler

from mmregda.datasets.coco_datasets import build_dataset
from mmregda.datasets.collate import PackingCollate
from mmregda.datasets.unlabeled import UnlabeledDataset
from mmregda.errors import InputError


class Draw(int):
    """The index of a sample that knows which draw it is.

    Attributes:
        number (int): Counted from 0 over all processes.
    """

    number: int

    def __new__(cls, index: int, number: int) -> Draw:
        draw = super().__new__(cls, index)
        draw.number = number
        return draw

    def __reduce__(self) -> Tuple:
        # It travels to the workers.
        return Draw, (int(self), self.number)


@DATA_SAMPLERS.register_module()
class NumberedSampler(Sampler):
    """Another sampler without an end, whose draws are numbered.

    Where the other sampler ends it starts over, reshuffled.

    Args:
        dataset (Sized): The dataset.
        sampler (dict): The config of the other sampler.
        seed (int): Its seed.
    """

    def __init__(self, dataset: Sized, sampler: dict, seed: int) -> None:
        if not len(dataset):
            raise InputError(f'{type(dataset).__name__} has no samples')
        try:
            self.sampler = DATA_SAMPLERS.build(
                sampler, default_args=dict(dataset=_own_dataset(dataset), seed=seed)
            )
        except (AssertionError, AttributeError, TypeError, ValueError) as error:
            raise InputError(f'sampler = {dict(sampler)}: {error}') from error
        # MMPose's MultiSourceSampler would look for the end of no samples for ever.
        if min(getattr(self.sampler, 'num_per_source', [1])) < 1:
            raise InputError(
                f'sampler = {dict(sampler)} gives {self.sampler.num_per_source} '
                'samples of each dataset, where each is to give at least one. Raise '
                'its batch_size, which is that of its dataloader, or change '
                'source_ratio.'
            )
        self._skipped = 0

    def __len__(self) -> int:
        return len(self.sampler)

    def __iter__(self) -> Iterator[Draw]:
        rank, world_size = get_dist_info()
        for position, index in islice(enumerate(self._indices()), self._skipped, None):
            yield Draw(index, position * world_size + rank)

    def _indices(self) -> Iterator[int]:
        for epoch in count():
            if hasattr(self.sampler, 'set_epoch'):
                self.sampler.set_epoch(epoch)
            drawn = False
            for index in self.sampler:
                drawn = True
                yield index
            if not drawn:
                raise InputError(
                    f'{type(self.sampler).__name__} gives this process no sample of '
                    'its dataset. If there are fewer samples than processes, use '
                    'sampler=dict(type="InfiniteSampler"), or round_up=True.'
                )

    def skip(self, num_samples: int) -> None:
        """Begin after so many samples of this process."""
        self._skipped = num_samples


def _own_dataset(dataset: Sized) -> Sized:
    """The dataset as the config has it, which a sampler may look into.

    Of an unlabelled one a sampler sees no labels either: which images are drawn
    must not depend on them.
    """
    if isinstance(dataset, SeededDataset):
        dataset = dataset.dataset
    if isinstance(dataset, UnlabeledDataset) and hasattr(dataset.dataset, 'datasets'):
        combined = copy.copy(dataset.dataset)
        combined.datasets = [UnlabeledDataset(part, []) for part in combined.datasets]
        return combined
    return dataset


@DATASETS.register_module()
class SeededDataset(Dataset):
    """Another dataset, whose augmentation is seeded for each draw.

    The generators of ``random``, NumPy and PyTorch are seeded for the sample.
    Without workers these are the training's own, which
    :class:`~mmregda.engine.SeededTrainLoop` seeds for each iteration.

    Args:
        dataset (dict | Dataset): The other dataset.
        seed (int): Of all draws.
    """

    def __init__(self, dataset: Union[dict, Dataset], seed: int) -> None:
        self.dataset = build_dataset(dataset) if isinstance(dataset, dict) else dataset
        self.seed = seed

    def __len__(self) -> int:
        return len(self.dataset)

    def __getattr__(self, name: str) -> Any:
        if name == 'dataset':  # not there yet: it is being unpickled
            raise AttributeError(name)
        return getattr(self.dataset, name)

    def __getitem__(self, draw: Draw) -> Any:
        seed_generators(self.seed, draw.number)
        return self.dataset[int(draw)]


def build_numbered_dataloader(runner: Runner, cfg: dict, seed: int) -> DataLoader:
    """Build a dataloader whose draws depend on their number alone.

    Args:
        runner (Runner): The runner.
        cfg (dict): An ordinary dataloader config.
        seed (int): Of the order and of the augmentation.
    """
    if torch.cuda.is_available():
        # One copy of a whole batch's images, from where the GPU fetches it by itself.
        collate = dict(type='default_collate')
        cfg = {'pin_memory': True, 'collate_fn': collate, **cfg}
    loader = runner.build_dataloader(
        dict(
            cfg,
            dataset=dict(type='SeededDataset', dataset=cfg['dataset'], seed=seed),
            sampler=dict(type='NumberedSampler', sampler=cfg['sampler'], seed=seed),
        ),
        seed=seed,
    )
    inner = getattr(loader.sampler, 'sampler', None)
    own = getattr(inner, 'batch_size', loader.batch_size)
    if own != loader.batch_size:
        raise InputError(
            f'sampler = {dict(cfg["sampler"])} composes batches of {own}, but '
            f'batch_size of its dataloader is {loader.batch_size}. Set both to the '
            'same.'
        )
    if loader.num_workers:
        pin = loader.pin_memory and torch.cuda.is_available()
        loader.collate_fn = PackingCollate(loader.collate_fn, pin)
    if not torch.cuda.is_available():
        loader.worker_init_fn = partial(_yield_cores, loader.worker_init_fn)
    # Its workers' own seeds must not take a number from the training's stream.
    loader.generator = torch.Generator().manual_seed(seed)
    return loader


def _yield_cores(init: Optional[Callable], worker: int) -> None:
    """Start a worker at a lower priority than the training on the same cores.

    If a worker takes the core of one training thread, all the others wait for it.
    """
    if hasattr(os, 'nice'):
        os.nice(10)
    if init is not None:
        init(worker)


@contextmanager
def kept_generators() -> Iterator[None]:
    """Within, ``random`` and NumPy draw as they may; after it, as if nothing was."""
    states = random.getstate(), np.random.get_state()
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])


def seed_generators(*seeds: int) -> None:
    """Seed ``random``, NumPy and PyTorch with a mixture of numbers."""
    python, numpy, pytorch = np.random.SeedSequence(seeds).generate_state(3)
    random.seed(int(python))
    np.random.seed(numpy)
    torch.manual_seed(int(pytorch))
