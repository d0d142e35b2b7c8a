"""What a run consists of, taken so that nothing of the run is changed."""

from __future__ import annotations

import copy
import io
import logging
import random
import warnings
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field
from typing import (
    Any,
    Callable,
    Dict,
    Iterator,
    List,
    NamedTuple,
    Optional,
    Sequence,
)

import numpy as np
import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.evaluator import Evaluator
from mmengine.logging import MessageHub, MMLogger, print_log
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmengine.visualization import Visualizer
from mmpose.registry import HOOKS, MODELS, PARAM_SCHEDULERS
from torch import nn
from torch.utils.data import DataLoader

from mmregda.datasets import looked_at
from mmregda.datasets.samplers import SeededDataset, seed_generators
from mmregda.engine.loops import (
    drawn_dataloaders,
    require_scheduled_players,
    unwrap,
)
from mmregda.engine.player_optim_wrappers import by_player
from mmregda.engine.settings import schedules_of
from mmregda.errors import InputError, during


@dataclass
class Reader:
    """A dataset and how it is read.

    Attributes:
        entry (str): Its dataloader's place in the config, such as
            ``val_dataloader.target``.
        loader (DataLoader): The dataloader.
        evaluator (Evaluator, optional): What judges predictions on it.
        labeled (bool): Whether its samples have keypoints.
        samples (list[dict]): Some of them, packed.
    """

    entry: str
    loader: DataLoader
    evaluator: Optional[Evaluator] = None
    labeled: bool = True
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
    def kind(self) -> str:
        """str: The innermost dataset's class."""
        dataset = self.dataset
        while hasattr(dataset, 'dataset') and not hasattr(dataset, 'pipeline'):
            dataset = dataset.dataset
        return type(dataset).__name__

    @property
    def metainfo(self) -> dict:
        """dict: What is known of its keypoints."""
        return getattr(self.dataset, 'metainfo', None) or {}

    @property
    def collate(self) -> Callable:
        """Callable: What makes a batch of samples."""
        # Ours packs it for the way from a worker.
        collate = self.loader.collate_fn
        return getattr(collate, 'collate', collate)

    @property
    def batch_size(self) -> int:
        """int: Of a process."""
        size = self.loader.batch_size
        return size or getattr(self.loader.batch_sampler, 'batch_size', None) or 2


class Choice(NamedTuple):
    """Something that a metric decides, such as which checkpoint is kept.

    Attributes:
        setting (str): Which setting of what names the metric.
        metric (str): Its name, or ``auto`` for the first.
        rule (str, optional): ``greater`` or ``less``, whichever is better.
    """

    setting: str
    metric: str
    rule: Optional[str] = None


@dataclass
class Parts:
    """The parts of a run.

    Attributes:
        model (nn.Module, optional): A copy, which may change; None of a model that
            cannot be copied.
        parameters (dict[int, str]): The names of the run's own parameters.
        optim_wrapper (OptimWrapper | OptimWrapperDict, optional): The run's own.
        train (list[Reader]): By domain.
        val (list[Reader]): By domain.
        choices (list[Choice]): What is decided by metrics.
    """

    model: Optional[nn.Module]
    parameters: Dict[int, str] = field(default_factory=dict)
    optim_wrapper: Any = None
    train: List[Reader] = field(default_factory=list)
    val: List[Reader] = field(default_factory=list)
    choices: List[Choice] = field(default_factory=list)


def parts_of(runner: Runner, phase: str = 'train') -> Parts:
    """The parts of a runner about to ``train`` (and validate), ``val`` or ``test``."""
    model = unwrap(runner.model)
    parts = Parts(_copy_of(model), _names_in(model))
    if phase == 'train':
        parts.optim_wrapper = runner.optim_wrapper
        loader = runner.train_loop.dataloader
        for domain, each in getattr(loader, 'domains', {'': loader}).items():
            parts.train.append(Reader(_entry('train_dataloader', domain), each))
        schedulers = runner.param_schedulers or []
        if isinstance(schedulers, dict):
            schedulers = [s for group in schedulers.values() for s in group]
        for part in (*runner.hooks, *schedulers):
            parts.choices += _choices_of(part)
    judging = 'test' if phase == 'test' else 'val'
    loop = runner.test_loop if phase == 'test' else runner.val_loop
    for domain, each in getattr(loop, 'loops', {'': loop} if loop else {}).items():
        if hasattr(each, 'dataloader') and hasattr(each, 'evaluator'):
            entry = _entry(f'{judging}_dataloader', domain)
            parts.val.append(Reader(entry, each.dataloader, each.evaluator))
    return parts


def built_from(cfg: Config) -> Parts:
    """The parts of a run that has not begun, from its config."""
    init_default_scope(cfg.get('default_scope', 'mmpose'))
    cfg = copy.deepcopy(cfg)
    with during('model', 'Look at model.'):
        model = MODELS.build(cfg.model).to(get_device())
    with during('optim_wrapper', 'Look at optim_wrapper.'):
        optim_wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    parts = Parts(model, _names_in(model), optim_wrapper)
    if hasattr(model, 'adaptation'):
        cfg.train_dataloader = drawn_dataloaders(model, cfg.train_dataloader)
        require_scheduled_players(model, cfg.get('param_scheduler'))
    parts.train = readers_from(cfg, 'train')
    parts.val = readers_from(cfg, 'val')
    domains = getattr(getattr(model, 'adaptation', None), 'domains', ('source',))
    _require_schedules(cfg, optim_wrapper)
    parts.choices += _built_choices(cfg, domains, [r.domain for r in parts.val])
    return parts


def readers_from(cfg: Config, stage: str) -> List[Reader]:
    """Build the dataloaders and metrics of a stage: ``train``, ``val`` or ``test``."""
    loaders = cfg.get(f'{stage}_dataloader') or {}
    evaluators = cfg.get(f'{stage}_evaluator') or {}
    if 'dataset' in loaders:
        loaders, evaluators = {'': loaders}, {'': evaluators}
    elif not isinstance(evaluators, dict):
        evaluators = {domain: evaluators for domain in loaders}
    readers = []
    for domain, loader in loaders.items():
        if loader is not None:
            reader = _reader_from(_entry(f'{stage}_dataloader', domain), loader)
            if stage != 'train':
                reader.evaluator = _evaluator(reader, evaluators.get(domain))
            readers.append(reader)
    return readers


def _reader_from(entry: str, cfg: dict) -> Reader:
    with during(f'{entry} cannot be built', f'Look at {entry} and its files.'):
        try:
            loader = Runner.build_dataloader(looked_at(cfg), seed=0)
        except ValueError as error:
            if 'need at least one array to concatenate' not in str(error):
                raise
            raise no_samples(entry, cfg['dataset'].get('type')) from error
    return Reader(entry, loader)


def no_samples(entry: str, kind: str) -> InputError:
    """The error of a dataset of which nothing is left."""
    return InputError(
        f'{entry}: {kind} has no samples. Look at its annotation file, and at what '
        'its filter_cfg, indices or data_mode leave out.'
    )


def _evaluator(reader: Reader, cfg: Any) -> Evaluator:
    entry = reader.metrics
    with during(f'{entry} cannot be built', f'Look at {entry} and its files.'):
        evaluator = Evaluator(cfg or [])
    evaluator.dataset_meta = reader.metainfo
    return evaluator


def _built_choices(
    cfg: Config, drawn: Sequence[str], validated: Sequence[str]
) -> Iterator[Choice]:
    """Build all hooks of a run that has not begun; what metrics decide in them."""
    Visualizer.get_instance('rehearsal')  # MMPose's own hook asks for the newest one.
    default, custom = cfg.get('default_hooks') or {}, cfg.get('custom_hooks') or []
    entries = {f'default_hooks.{name}': hook for name, hook in default.items()}
    entries.update({f'custom_hooks[{i}]': hook for i, hook in enumerate(custom)})
    for entry, hook in entries.items():
        if isinstance(hook, dict):
            with during(
                f'{entry} cannot be built',
                f'Look at {entry}: a metric that MMEngine does not know takes '
                'rule="greater" or rule="less".',
            ):
                hook = HOOKS.build({k: v for k, v in hook.items() if k != 'priority'})
            if hasattr(hook, 'choose_without_source'):
                hook.choose_without_source(drawn, validated)
            yield from _choices_of(hook)


def _require_schedules(cfg: Config, optim_wrapper: Any) -> None:
    """Build the schedules of a run that has not begun."""
    optimizer = next(iter(by_player(optim_wrapper).values()))
    for where, schedule in schedules_of(cfg.get('param_scheduler')):
        with during(f'{where} cannot be built', f'Look at {where}.'):
            PARAM_SCHEDULERS.build(schedule, default_args=dict(optimizer=optimizer))


def _choices_of(part: Any) -> Iterator[Choice]:
    kind = type(part).__name__
    if getattr(part, 'save_best', None):
        for metric, rule in zip(part.key_indicators, part.rules):
            yield Choice(f'save_best of {kind}', metric, rule)
    if isinstance(getattr(part, 'monitor', None), str):
        yield Choice(f'monitor of {kind}', part.monitor)


def _entry(name: str, domain: str) -> str:
    return f'{name}.{domain}' if domain else name


def _names_in(model: nn.Module) -> Dict[int, str]:
    return {id(parameter): name for name, parameter in model.named_parameters()}


def _copy_of(model: nn.Module) -> Optional[nn.Module]:
    try:
        return copy.deepcopy(model)
    except Exception as error:  # Its author's reasons are not the user's mistake.
        print_log(
            f'{type(model).__name__} cannot be copied ({error}): it is not rehearsed',
            logger='current',
            level=logging.WARNING,
        )
        return None


@contextmanager
def undisturbed() -> Iterator[None]:
    """Within, whatever is drawn, printed or logged is no part of the run."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    on_gpu = torch.cuda.is_available() and torch.cuda.is_initialized()
    cuda_states = torch.cuda.get_rng_state_all() if on_gpu else []
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
            seed_generators(0)  # What is found does not depend on luck.
            yield
    finally:
        logger.setLevel(level)
        told.clear()
        told.update(told_before)
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])
        if on_gpu:
            torch.cuda.set_rng_state_all(cuda_states)
