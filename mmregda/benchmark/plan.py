"""Methods in one frame: the same start, schedule, iterations and images.

A *frame* is any adaptation config: network, pair of domains, schedules. A
*method* is a fragment of config with ``adaptation``, ``optim_wrapper`` and
``param_scheduler``, as those in ``configs/_base_/adaptations``.
"""

from __future__ import annotations

import copy
import platform
from pathlib import Path
from typing import Any, List, Mapping, Optional, Sequence, Union

from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from mmpose.registry import DATASETS, MODELS
from torch import nn

from mmregda.benchmark.jobs import Job
from mmregda.config_files import dicts_in, fingerprint, imported_by, read_config
from mmregda.datasets.checks import domains_of
from mmregda.engine.start import LABELED, load_pretrain_config
from mmregda.errors import InputError, building, during

# What schedulers of MMEngine name the iterations they count.
_COUNTS = ('begin', 'end', 'milestones', 'step_size', 'T_max', 'periods', 'total_steps')


def load_config(path: str, *keys: str) -> Config:
    """A config file that has the keys.

    Raises:
        InputError: If the file or a key is missing, or as of
            :func:`~mmregda.config_files.read_config`.
    """
    cfg = read_config(path)
    for key in keys:
        node = cfg
        for part in key.split('.'):
            node = (node or {}).get(part)
        if node is None:
            raise InputError(f'config "{path}" does not set {key}')
    return cfg


def compose(
    frame: Config,
    method: Config,
    settings: Optional[Mapping[str, Any]] = None,
    oracle: bool = False,
) -> Config:
    """A frame with a method in it.

    Args:
        frame (Config): An adaptation config; the method in it is replaced. Its
            ``optimizers``, if any, change those of the players they name in every
            method: settings of an optimiser, or another one if they have a ``type``.
        method (Config): The fragment of the method. Its ``custom_imports`` and
            ``custom_hooks``, if any, are added to the frame's. A method that takes
            ``labeled_target`` is given the first ``num_labels`` images of the frame's
            ``labeled_target_loader`` (or so many, spread over a list of its
            ``indices``), unless the frame has such a dataloader.
        settings (Mapping[str, Any], optional): Overrides of the adaptation by
            dotted key, such as ``{'warm_start.hi': 0.5}``.
        oracle (bool): Whether the labelled target takes the source's place.

    Returns:
        Config: A new config, with the dataloaders of the method's domains. If it
        takes views, and the frame's target has none, each is a draw of the
        target's augmentation.

    Raises:
        InputError: If frame and method do not fit together.
    """
    cfg = copy.deepcopy(frame)
    cfg.model.adaptation = copy.deepcopy(method.adaptation)
    cfg.merge_from_dict(
        {f'model.adaptation.{k}': v for k, v in (settings or {}).items()}
    )
    cfg.optim_wrapper = copy.deepcopy(method.optim_wrapper)
    for player, own in (frame.get('optimizers') or {}).items():
        entry = cfg.optim_wrapper.get(player) or {}
        if entry.get('optimizer'):
            kept = {} if 'type' in own else entry.optimizer
            entry.optimizer = dict(kept, **own)
    cfg.param_scheduler = copy.deepcopy(method.param_scheduler)
    imports = [*imported_by(frame), *imported_by(method)]
    cfg.custom_imports = dict(
        imports=list(dict.fromkeys(imports)), allow_failed_imports=False
    )
    cfg.custom_hooks = [
        *(frame.get('custom_hooks') or []),
        *copy.deepcopy(method.get('custom_hooks') or []),
    ]

    kind = _require_fitting(cfg).adaptation
    if oracle:
        if frame.get('labeled_target_loader') is None:
            raise InputError(
                f'the oracle needs labeled_target_loader in {frame.filename}'
            )
        cfg.train_dataloader = dict(source=frame.labeled_target_loader)
    else:
        cfg.train_dataloader = {
            d: _dataloader(frame, d, method.get('num_labels')) for d in kind.domains
        }
        if kind.views:
            cfg.train_dataloader['target'] = _in_views(cfg, kind.views)
    return cfg


def _dataloader(frame: Config, domain: str, num_labels: Optional[int] = None) -> dict:
    """The dataloader config of a frame's domain."""
    loader = frame.train_dataloader.get(domain)
    if loader is None and domain == 'labeled_target' and num_labels:
        loader = copy.deepcopy(frame.get('labeled_target_loader'))
        if loader is not None:
            known = loader.dataset.get('indices')
            loader.dataset.indices = _few(known, num_labels)
    if loader is None:
        raise InputError(f'{frame.filename} has no train_dataloader.{domain}')
    return loader


def _few(indices: Any, number: int) -> Any:
    """The ``indices`` of so many images, among those that a dataset has already."""
    if isinstance(indices, (list, tuple)):  # Neighbours are often alike.
        number = min(number, len(indices))
        return [indices[i * len(indices) // number] for i in range(number)]
    return number if indices is None else min(number, indices)


def _augmented(frame: Config, dataset: dict) -> dict:
    """A copy of the target's dataset config, which augments."""
    dataset = copy.deepcopy(dataset)
    if dataset.get('pipeline') == frame.get('test_pipeline', ()):
        # It is trained on as it is, which gives no two views.
        dataset['pipeline'] = copy.deepcopy(frame.unlabeled_pipeline)
    return dataset


def _in_views(cfg: Config, views: Sequence[str]) -> dict:
    """The target's dataloader config, its augmentation drawn for each view.

    What comes before is shared: images are read once, and boxes are the same.
    """
    loader = copy.copy(cfg.train_dataloader.target)
    loader.dataset = dataset = _augmented(cfg, loader.dataset)
    if not dataset.get('views'):
        types = [transform.type for transform in dataset.pipeline]
        if 'GetBBoxCenterScale' not in types:
            raise InputError(
                f'{cfg.model.adaptation.type} takes the views {", ".join(views)}, but '
                'train_dataloader.target.dataset has neither views nor a '
                'GetBBoxCenterScale in its pipeline, from where on they would differ'
            )
        begin = types.index('GetBBoxCenterScale') + 1
        transforms = dataset.pipeline[begin:]
        dataset.pipeline = dataset.pipeline[:begin]
        dataset.views = {view: copy.deepcopy(transforms) for view in views}
    return loader


def scale_schedule(cfg: Config, max_iters: int) -> None:
    """Compress (or stretch) a config's training to a number of iterations.

    What counts iterations keeps its place in the course of training: the
    schedulers' milestones and ranges are multiplied by new length / old
    length, :class:`~mmregda.engine.InverseDecayLR`'s gamma is divided by it,
    and so are a method's settings whose name ends in ``_iters``, such as a
    warm start's ``num_iters``. The intervals of validation and hooks stay as
    they are (their share of the time does), but for those that are longer
    than the training.

    Args:
        cfg (Config): A config of iteration-based training, changed in place.
        max_iters (int): Its new length.

    Raises:
        InputError: If the config does not train by iterations.
    """
    length = cfg.train_cfg.get('max_iters')
    if not length:
        raise InputError(f'{cfg.filename}: train_cfg.max_iters is not set')
    ratio = length / max_iters
    cfg.train_cfg.max_iters = max_iters
    for scheduler in dicts_in(cfg.get('param_scheduler')):
        if scheduler.get('by_epoch', True):
            continue
        for key in _COUNTS:
            if key in scheduler:
                scheduler[key] = _scaled(scheduler[key], length, max_iters)
        if scheduler.type == 'InverseDecayLR':
            scheduler.gamma = scheduler.get('gamma', 1e-4) * ratio
        elif scheduler.type == 'ExponentialLR':
            scheduler.gamma **= ratio
    for settings in dicts_in([cfg.model.get('adaptation'), cfg.get('custom_hooks')]):
        for key, value in settings.items():
            if key.endswith('_iters') and isinstance(value, (int, float)):
                settings[key] = value / ratio
    for hook in (
        cfg.train_cfg,
        *dicts_in([cfg.get('default_hooks'), cfg.get('custom_hooks')]),
    ):
        for key in ('interval', 'val_interval'):
            if isinstance(hook.get(key), int):
                hook[key] = min(hook[key], max_iters)


def plan(
    frame: Config,
    methods: Mapping[str, Config],
    seed: int,
    work_dir: str,
    pretrain_iters: Union[int, float, None] = None,
    max_iters: Union[int, float, None] = None,
    max_evaluated: Optional[int] = None,
    blind: bool = False,
) -> List[Job]:
    """The trainings of one frame and seed: the start, and each method from it.

    Args:
        frame (Config): The frame.
        methods (Mapping[str, Config]): What :func:`compose` made of it, by
            name. What follows a space in a name sets variants of a method
            apart; they share its folder.
        seed (int): Of all of them.
        work_dir (str): Where their folders are made.
        pretrain_iters (int | float, optional): Length of the source-only
            training in iterations, or as a factor of its config's own.
            Defaults to that.
        max_iters (int | float, optional): The same of each method's training.
        max_evaluated (int, optional): Evaluate on so many images only.
        blind (bool): Whether to leave the target's labels alone altogether:
            no validation on the target.

    Returns:
        list[Job]: The start first.
    """
    evidence = _evidence_dataset(frame)
    start = None
    jobs = []
    parts = (frame.get('pretrain') or {}).get('parts')
    if frame.get('pretrain'):
        # Its file is found from a work_dir and a file name.
        stage_frame = copy.deepcopy(frame)
        stage_frame.work_dir = str(Path(work_dir) / 'frame')
        cfg = load_pretrain_config(stage_frame)
        jobs.append(('start', cfg, pretrain_iters))
    jobs += [(name, copy.deepcopy(cfg), max_iters) for name, cfg in methods.items()]
    planned = []
    for name, cfg, length in jobs:
        if length is not None:
            if isinstance(length, float):
                length = max(1, round(length * cfg.train_cfg.max_iters))
            scale_schedule(cfg, length)
        cfg.randomness = dict(cfg.get('randomness') or {}, seed=seed)
        _require_hook(cfg)
        cfg.default_hooks.checkpoint.update(max_keep_ckpts=1)
        if name != 'start':
            # What is compared is what all have after the same iterations.
            cfg.default_hooks.checkpoint.pop('save_best', None)
            cfg.pop('pretrain', None)
            if parts and set(LABELED) & set(cfg.train_dataloader):
                # A method that no label teaches needs the f of stage 1.
                cfg.pretrain = dict(parts=parts)
        if blind:
            _forget_target(cfg)
        if max_evaluated:
            for dataset in domains_of(cfg.get('val_dataloader')).values():
                dataset.indices = max_evaluated
        cfg.benchmark = dict(evidence=evidence)
        if max_evaluated:
            cfg.benchmark['num_samples'] = max_evaluated
        mark = mark_of(cfg, start and start.folder.name)
        folder = Path(work_dir) / name.partition(' ')[0] / mark
        job = Job(name=name, folder=folder, cfg=cfg, needs=start)
        start = start or (job if name == 'start' else None)
        planned.append(job)
    return planned


def _require_hook(cfg: Config) -> None:
    if not (cfg.get('default_hooks') or {}).get('checkpoint'):
        raise InputError(
            f'"{cfg.filename}" has no default_hooks.checkpoint, whose last checkpoint '
            'is what methods are compared by'
        )


def _forget_target(cfg: Config) -> None:
    """Validate on nothing of the target."""
    for key in ('val_dataloader', 'val_evaluator'):
        (cfg.get(key) or {}).pop('target', None)
    if not domains_of(cfg.get('val_dataloader')):  # There is no other domain.
        cfg.val_dataloader = cfg.val_evaluator = cfg.val_cfg = None
        hooks = cfg.get('custom_hooks') or []
        cfg.custom_hooks = [h for h in hooks if h.type != 'DisparityStatisticsHook']


def require_evidence(frame: Config) -> None:
    """See to it that views of a frame's target can be compared after the runs.

    Raises:
        InputError: If its images cannot be read, or do not say where they lie.
    """
    init_default_scope(frame.get('default_scope', 'mmpose'))
    with during('the target dataset cannot be read'):
        sample = DATASETS.build(_evidence_dataset(frame))[0]
    samples = sample.get('data_samples')
    if samples is None or samples.get('image_to_view') is None:
        raise InputError(
            f'{frame.filename}: the target is no UnlabeledDataset or UnlabeledImages, '
            'whose samples say where in their image they lie. Put it into '
            'dict(type="UnlabeledDataset", dataset=..., pipeline=[...]).'
        )


def mark_of(cfg: Config, *others: Optional[str]) -> str:
    """The fingerprint of all that a job's result depends on.

    What the data files hold and which version trains is not part of it.
    """
    keys = (
        'model',
        'pretrain',
        'train_dataloader',
        'train_cfg',
        'optim_wrapper',
        'param_scheduler',
        'val_dataloader',
        'val_evaluator',
        'custom_hooks',
        'custom_imports',
        'randomness',
        'benchmark',
    )
    return fingerprint([*others, {key: cfg.get(key) for key in keys}])


def _require_fitting(cfg: Config) -> nn.Module:
    """Build model and optimisers, so that an error comes before the runs."""
    init_default_scope(cfg.get('default_scope', 'mmpose'))
    with building(f'adaptation {dict(cfg.model.adaptation)}'):
        built = MODELS.build(copy.deepcopy(cfg.model))
        build_optim_wrapper(built, copy.deepcopy(cfg.optim_wrapper))
    return built


def _scaled(count: Any, length: int, max_iters: int) -> Any:
    """A number of iterations of ``length`` in a training of ``max_iters``."""
    if isinstance(count, (list, tuple)):
        return [_scaled(item, length, max_iters) for item in count]
    # What was not at the start does not get there.
    return max(int(count > 0), int(count) * max_iters // length)


def _evidence_dataset(frame: Config) -> dict:
    """The unlabelled target's training images, in views that know where they lie."""
    dataset = _augmented(frame, dict(_dataloader(frame, 'target'))['dataset'])
    for part in dicts_in(dataset):
        views = part.pop('views', None)
        if views:  # Any of them is a random view.
            part['pipeline'] = [*part['pipeline'], *next(iter(views.values()))]
        if part.get('type') == 'PackPoseInputs':
            part.pop('meta_keys', None)  # Those that are packed by default.
    return dataset


def processor_name() -> str:
    """The processor's name, as exactly as the system tells it."""
    info = Path('/proc/cpuinfo')
    lines = info.read_text().splitlines() if info.is_file() else []
    names = [line.partition(':')[2].strip() for line in lines if 'model name' in line]
    return names[0] if names else platform.processor() or platform.machine()
