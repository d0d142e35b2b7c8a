"""Settings that would do something else here than they say, or nothing."""

from __future__ import annotations

import inspect
import logging
from typing import Any, Dict, Iterator, List, Mapping, Tuple

import torch
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.optim import AmpOptimWrapper
from mmengine.registry import Registry, init_default_scope
from mmpose.registry import (
    HOOKS,
    LOOPS,
    MODEL_WRAPPERS,
    MODELS,
    OPTIM_WRAPPERS,
    PARAM_SCHEDULERS,
)

from mmregda.engine.distributed import SYNCHRONIZED_ON_CPU
from mmregda.errors import InputError, close_matches

# MMEngine adds these hooks where a config does not replace them.
_DEFAULT_HOOKS = dict(
    logger=dict(type='LoggerHook'), checkpoint=dict(type='CheckpointHook')
)
# What a setting of epochs is to be written as instead.
_IN_ITERATIONS = dict(
    by_epoch='set by_epoch=False and count iterations',
    begin_epoch='set begin_iter, in iterations',
)
# What the loops of this package take from a config.
_ARGUMENTS = dict(
    train_cfg={'max_iters', 'val_begin', 'val_interval', 'dynamic_intervals'},
    val_cfg={'fp16'},
)
# More validations or checkpoints than this in one run look like intervals that were
# meant as epochs.
_MANY = 200


def require_settings(cfg: Mapping) -> None:
    """Refuse what a config asks for and would not get.

    It is about configs that train with one of this package's loops, or a
    :class:`~mmregda.models.DomainAdaptiveTopdown`; others mean what they mean in
    MMPose. Nothing is built or read.

    Args:
        cfg (Mapping): A config.

    Raises:
        InputError: With all such settings, by name, and what to write instead.
    """
    init_default_scope(cfg.get('default_scope', 'mmpose'))
    problems = list(_problems(cfg))
    if len(problems) == 1:
        raise InputError(problems[0])
    if problems:
        listed = ''.join(f'\n- {problem}' for problem in problems)
        raise InputError(f'{len(problems)} settings are to be changed:{listed}')


def is_adaptation(cfg: Mapping) -> bool:
    """Whether a config's model is a :class:`DomainAdaptiveTopdown`."""
    return _is(MODELS, cfg.get('model'), 'DomainAdaptiveTopdown')


def warn_of_short_intervals(cfg: Mapping) -> None:
    """Warn where an interval may have been meant as epochs."""
    train_cfg = cfg.get('train_cfg') or {}
    intervals = {'train_cfg.val_interval': train_cfg.get('val_interval', 1000)}
    checkpoint = _hooks(cfg).get('default_hooks.checkpoint') or {}
    if isinstance(checkpoint, Mapping):
        intervals['default_hooks.checkpoint.interval'] = checkpoint.get('interval')
    for name, interval in intervals.items():
        if not isinstance(interval, int) or interval < 1:
            continue
        times = train_cfg.get('max_iters', 0) // interval
        if times > _MANY:
            message = (
                f'{name}={interval} counts iterations, which makes {times} in this run'
            )
            print_log(message, logger='current', level=logging.WARNING)


def _problems(cfg: Mapping) -> Iterator[str]:
    adaptation = is_adaptation(cfg)
    train_cfg = cfg.get('train_cfg')
    if train_cfg is None or not cfg.get('model'):  # of a validation
        return
    yield from _about_compile(cfg)
    distributed = cfg.get('launcher', 'none') != 'none'
    if cfg.get('sync_bn') and distributed and not torch.cuda.is_available():
        yield SYNCHRONIZED_ON_CPU
    adapting = _is(LOOPS, train_cfg, 'DomainAdaptTrainLoop')
    if adapting and not adaptation:
        yield (
            f'train_cfg.type is "{train_cfg["type"]}", which trains a '
            f'"DomainAdaptiveTopdown", but model.type is "{cfg["model"].get("type")}"'
        )
        return
    if adaptation and not adapting:
        yield (
            f'train_cfg is {dict(train_cfg)}, but an adaptation is trained by '
            'iterations: write train_cfg = dict(_delete_=True, '
            'type="DomainAdaptTrainLoop", max_iters=15000, val_interval=500)'
        )
        return
    if not _is(LOOPS, train_cfg, 'SeededTrainLoop'):
        if cfg.get('channels_last'):
            yield (
                "channels_last=True is known to this package's loops alone: set "
                'train_cfg.type to "SeededTrainLoop", or leave it out'
            )
        return
    yield from _about_loop(train_cfg)
    for key, known in _ARGUMENTS.items():
        loop = cfg.get(key) or {}
        if getattr(_class(LOOPS, loop), '__module__', '').startswith('mmregda.'):
            for name in sorted(set(loop) - {'type', 'by_epoch', 'max_epochs'} - known):
                near = close_matches(name, known)
                yield f'{key}: {loop["type"]} takes no "{name}".{near}'
    yield from _about_loaders(cfg.get('train_dataloader') or {}, adaptation)
    yield from _about_hooks(cfg)
    yield from _about_schedules(cfg.get('param_scheduler'), train_cfg.get('max_iters'))
    yield from _about_scaling(cfg, adaptation)
    yield from _about_validation(cfg, 'val')
    kind = _class(OPTIM_WRAPPERS, cfg.get('optim_wrapper'))
    if kind is AmpOptimWrapper and not adaptation and not torch.cuda.is_available():
        yield (
            "optim_wrapper.type is MMEngine's AmpOptimWrapper, which needs a GPU: "
            'write "PlayerAmpOptimWrapper"'
        )
    if adaptation:
        yield from _about_optimizers(cfg.get('optim_wrapper') or {})
        yield from _about_wrapper(cfg)


def _about_compile(cfg: Mapping) -> Iterator[str]:
    options = cfg.get('compile') or {}
    if options is True:
        return
    try:
        inspect.signature(torch.compile).bind_partial(**options)
        if options.get('mode') and options.get('options'):
            raise TypeError('mode is a set of options, so it takes no other ones')
    except TypeError as error:
        yield (
            f'compile = {cfg["compile"]!r}: use True, or a dict of options of '
            f'torch.compile such as dict(mode="default") ({error})'
        )


def _about_loop(train_cfg: Mapping) -> Iterator[str]:
    epochs = [name for name in ('by_epoch', 'max_epochs') if name in train_cfg]
    if epochs:
        yield (
            f'train_cfg has {" and ".join(epochs)}, but "{train_cfg["type"]}" counts '
            'iterations: set max_iters and val_interval, with _delete_=True if the '
            'config inherits others'
        )
    elif 'max_iters' not in train_cfg:
        yield 'train_cfg has no max_iters'
    for name, given in _intervals(train_cfg).items():
        if not isinstance(given, int) or given < 1:
            yield f'train_cfg.{name} is {given!r}: set it to an integer from 1'


def _intervals(train_cfg: Mapping) -> Dict[str, Any]:
    return {k: train_cfg[k] for k in ('max_iters', 'val_interval') if k in train_cfg}


def _about_loaders(loaders: Mapping, adaptation: bool) -> Iterator[str]:
    if not adaptation:
        if 'dataset' not in loaders:
            yield (
                f'train_dataloader has the keys {sorted(loaders)}, but a model without '
                'an adaptation takes one dataloader config, with a dataset. Replace '
                'an inherited one with _delete_=True'
            )
            return
        loaders = {'': loaders}
    elif 'dataset' in loaders:
        return  # The loop says which domains the method needs.
    for domain, loader in loaders.items():
        if loader is None:
            continue
        where = f'train_dataloader.{domain}'.rstrip('.')
        if not isinstance(loader, Mapping):
            yield f'{where} is {loader!r}, not the config of a dataloader'
            continue
        for key in ('dataset', 'sampler', 'batch_size'):
            if loader.get(key) is None:
                yield f'{where} has no {key}'
        if loader.get('batch_sampler') is not None:
            yield (
                f'{where}.batch_sampler: images are drawn one by one, so that a '
                'resumed run draws the same. Use sampler and batch_size'
            )
        if loader.get('num_batch_per_epoch') is not None:
            yield (
                f'{where}.num_batch_per_epoch: there are no epochs. To train on the '
                f'first N samples set {where}.dataset.indices=N'
            )


def _about_hooks(cfg: Mapping) -> Iterator[str]:
    for where, hook in _hooks(cfg).items():
        for name, value in _settings_of(hook).items():
            # How metrics are shown is set right by the loop.
            if 'epoch' not in name or name == 'log_metric_by_epoch' or not value:
                continue
            remedy = _IN_ITERATIONS.get(name, 'leave this hook out')
            line = f'{where}.{name}={value!r} counts epochs, but this run counts '
            if name == 'by_epoch' and where.endswith('.checkpoint'):
                line += 'iterations and would save nothing before its end: write '
                yield line + (
                    'default_hooks = dict(checkpoint=dict(type="AtomicCheckpointHook", '
                    'by_epoch=False, interval=500))'
                )
            else:
                yield f'{line}iterations: {remedy}'


def _hooks(cfg: Mapping) -> Dict[str, Any]:
    """All hooks that a config asks for, by where it does so."""
    default = {**_DEFAULT_HOOKS, **(cfg.get('default_hooks') or {})}
    found = {f'default_hooks.{name}': hook for name, hook in default.items()}
    for index, hook in enumerate(cfg.get('custom_hooks') or []):
        found[f'custom_hooks[{index}]'] = hook
    return {where: hook for where, hook in found.items() if hook is not None}


def _settings_of(hook: Any) -> Dict[str, Any]:
    """The arguments of a hook's config, with those that it leaves out."""
    if isinstance(hook, Hook):
        return getattr(hook, '__dict__', {})
    kind = _class(HOOKS, hook)
    settings: Dict[str, Any] = {}
    for owner in reversed(getattr(kind, '__mro__', ())):
        for parameter in _parameters(owner):
            settings[parameter.name] = parameter.default
    return {**settings, **hook}


def _parameters(owner: type) -> List[inspect.Parameter]:
    """Arguments of a class's own constructor that have a default."""
    if '__init__' not in vars(owner) or owner is object:
        return []
    parameters = inspect.signature(owner.__init__).parameters.values()
    return [p for p in parameters if p.default is not p.empty]


def _about_schedules(schedules: Any, max_iters: Any) -> Iterator[str]:
    for where, schedule in schedules_of(schedules):
        if not isinstance(schedule, Mapping):
            continue
        kind = _class(PARAM_SCHEDULERS, schedule)
        if getattr(kind, 'need_val_args', False):
            # It counts validations, by the name of epochs, up to the only "epoch".
            if schedule.get('end') is None:
                yield f'{where}.end is to be set, to a number of validations'
        elif schedule.get('by_epoch', True) or schedule.get('convert_to_iter_based'):
            yield (
                f'{where} ({schedule.get("type")}) counts epochs, as all do without '
                'by_epoch=False, and would not change anything: set by_epoch=False, '
                'leave out convert_to_iter_based, and count begin, end, milestones '
                'and the like in iterations'
            )
        elif isinstance(max_iters, int) and 0 < max_iters <= schedule.get('begin', 0):
            yield (
                f'{where} ({schedule.get("type")}) begins at {schedule["begin"]}, but '
                f'this run ends at train_cfg.max_iters={max_iters}: leave it out, or '
                'lower its begin'
            )


def schedules_of(schedules: Any, where: str = 'param_scheduler') -> Iterator[Tuple]:
    """Each single entry of ``param_scheduler``, after where it stands."""
    if isinstance(schedules, Mapping) and 'type' not in schedules:
        for player, entries in schedules.items():
            yield from schedules_of(entries, f'{where}.{player}')
    elif isinstance(schedules, (list, tuple)):
        for index, entry in enumerate(schedules):
            yield f'{where}[{index}]', entry
    elif schedules is not None:
        yield where, schedules


def _about_scaling(cfg: Mapping, adaptation: bool) -> Iterator[str]:
    scaling = cfg.get('auto_scale_lr') or {}
    if not scaling.get('enable'):
        return
    base = scaling.get('base_batch_size')
    if not isinstance(base, int) or base < 1:
        yield (
            'auto_scale_lr.base_batch_size is the whole batch that the learning rates '
            f'of this config are for, an integer from 1, but is {base!r}'
        )
    if adaptation:
        method = _class(MODELS, cfg['model'].get('adaptation'))
        loaders = cfg.get('train_dataloader') or {}
        sizes = {
            domain: loaders[domain].get('batch_size')
            for domain in getattr(method, 'domains', ())
            if isinstance(loaders.get(domain), Mapping)
        }
        if len(set(sizes.values())) > 1:
            yield (
                f'auto_scale_lr: the batch sizes {sizes} are not the same, so there is '
                'no one factor. Set lr of each player in optim_wrapper'
            )


def _about_validation(cfg: Mapping, phase: str) -> Iterator[str]:
    loaders = cfg.get(f'{phase}_dataloader')
    loop = cfg.get(f'{phase}_cfg')
    if not isinstance(loaders, Mapping) or loop is None:
        return
    by_domain = _is(LOOPS, loop, 'DomainValLoop')
    if by_domain and 'dataset' in loaders:
        yield (
            f'{phase}_dataloader is one dataloader, but {phase}_cfg.type is '
            f'"{loop["type"]}": write {phase}_dataloader = dict(_delete_=True, '
            f'source=...), and {phase}_evaluator likewise'
        )
    elif not by_domain and loaders and 'dataset' not in loaders:
        yield (
            f'{phase}_dataloader has the keys {sorted(loaders)}: to validate on each '
            f'domain write {phase}_cfg = dict(type="DomainValLoop")'
        )


def _about_optimizers(optim_wrapper: Mapping) -> Iterator[str]:
    if not optim_wrapper.get('constructor'):
        yield (
            'optim_wrapper has no constructor, so that all players would have one '
            'optimiser: set optim_wrapper.constructor = '
            '"PlayerOptimWrapperConstructor"'
        )


def _about_wrapper(cfg: Mapping) -> Iterator[str]:
    wrapper = cfg.get('model_wrapper_cfg')
    if cfg.get('launcher', 'none') != 'none' and not _is(
        MODEL_WRAPPERS, wrapper, 'PlayerDistributedDataParallel'
    ):
        yield (
            f'model_wrapper_cfg is {wrapper}, but players step in turn: write '
            'model_wrapper_cfg = dict(type="PlayerDistributedDataParallel")'
        )


def _class(registry: Registry, given: Any) -> Any:
    """The class of a config, if it can be known."""
    kind = given.get('type') if isinstance(given, Mapping) else None
    return registry.get(kind) if isinstance(kind, str) else kind


def _is(registry: Registry, given: Any, name: str) -> bool:
    kind = _class(registry, given)
    return inspect.isclass(kind) and issubclass(kind, registry.get(name))
