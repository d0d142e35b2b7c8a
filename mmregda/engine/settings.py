"""Settings that would do something else here than they say, or nothing."""

from __future__ import annotations

import inspect
from typing import Any, Iterator, Mapping, Sequence, Tuple

import torch
from mmengine.hooks import CheckpointHook, Hook
from mmengine.registry import Registry, init_default_scope
from mmpose.registry import LOOPS, MODEL_WRAPPERS, MODELS, PARAM_SCHEDULERS

from mmregda.config_files import class_of
from mmregda.engine.distributed import SYNCHRONIZED_ON_CPU
from mmregda.errors import InputError, close_matches

# What the loops of this package take, beside what every config of a loop has.
_ARGUMENTS = dict(
    train_cfg={'max_iters', 'val_begin', 'val_interval', 'dynamic_intervals'},
    val_cfg={'fp16'},
)


def require_settings(cfg: Mapping) -> None:
    """Refuse what a config asks for and would not get.

    It is about configs that train with one of this package's loops, or a
    :class:`~mmregda.models.DomainAdaptiveTopdown`; others mean what they mean in
    MMPose. Nothing is built or read.

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


def _problems(cfg: Mapping) -> Iterator[str]:
    yield from _about_arguments(cfg)
    adaptation, train_cfg = is_adaptation(cfg), cfg.get('train_cfg')
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
    yield from _about_loaders(cfg.get('train_dataloader') or {}, adaptation)
    yield from _about_schedules(cfg.get('param_scheduler'), train_cfg.get('max_iters'))
    yield from _about_scaling(cfg, adaptation)
    yield from _about_validation(cfg)
    if adaptation and distributed:
        yield from _about_wrapper(cfg.get('model_wrapper_cfg'))


def _about_arguments(cfg: Mapping) -> Iterator[str]:
    for key, known in _ARGUMENTS.items():
        loop = cfg.get(key) or {}
        if getattr(class_of(loop, LOOPS), '__module__', '').startswith('mmregda.'):
            for name in sorted(set(loop) - {'type', 'by_epoch', 'max_epochs'} - known):
                near = close_matches(name, known)
                yield f'{key}: {loop["type"]} takes no "{name}".{near}'


def _about_compile(cfg: Mapping) -> Iterator[str]:
    hooks = [h for h in cfg.get('custom_hooks') or () if isinstance(h, Mapping)]
    kinds = [getattr(h.get('type'), '__name__', str(h.get('type'))) for h in hooks]
    if any(kind.rpartition('.')[2] == 'CompileHook' for kind in kinds):
        yield (
            'custom_hooks has a CompileHook. Instead, write compile = True, or its '
            'options as compile = dict(mode="default")'
        )
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


def _about_wrapper(wrapper: Any) -> Iterator[str]:
    if not _is(MODEL_WRAPPERS, wrapper, 'PlayerDistributedDataParallel'):
        yield (
            f'model_wrapper_cfg is {wrapper}, but players step in turn: write '
            'model_wrapper_cfg = dict(type="PlayerDistributedDataParallel")'
        )


def _about_loop(train_cfg: Mapping) -> Iterator[str]:
    epochs = [name for name in ('by_epoch', 'max_epochs') if name in train_cfg]
    if epochs:
        yield (
            f'train_cfg has {" and ".join(epochs)}, but "{train_cfg["type"]}" counts '
            'iterations: set max_iters and val_interval, with _delete_=True if the '
            'config inherits others'
        )
    for name in ('max_iters', 'val_interval'):
        given = train_cfg.get(name, 1)
        if not isinstance(given, int) or given < 1:
            yield f'train_cfg.{name} is {given!r}: set it to an integer from 1'


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
    elif 'dataset' in loaders:  # Of one domain, which the loop refuses.
        return
    for domain, loader in loaders.items():
        where = f'train_dataloader.{domain}'.rstrip('.')
        if not isinstance(loader, Mapping):
            continue
        for name in ('dataset', 'sampler'):
            if loader.get(name) is None:
                yield f'{where}.{name} is missing'
        size = loader.get('batch_size', 1)
        if not isinstance(size, int) or size < 1:
            yield f'{where}.batch_size is {size!r}: set it to an integer from 1'
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


def require_iterations(hooks: Sequence[Hook]) -> None:
    """Refuse hooks that count epochs, in a run that counts iterations.

    Raises:
        InputError: At the first.
    """
    for hook in hooks:
        for name, value in vars(hook).items():
            # How metrics are shown is set right by the loop.
            if 'epoch' not in name or name.startswith('log_') or not value:
                continue
            if isinstance(hook, CheckpointHook):
                remedy = (
                    'iterations and would save nothing before its end: write '
                    'default_hooks = dict(checkpoint=dict(type="AtomicCheckpointHook", '
                    'by_epoch=False, interval=500))'
                )
            else:
                remedy = (
                    'iterations: set by_epoch=False or begin_iter, in iterations, or '
                    'leave this hook out'
                )
            raise InputError(
                f'{type(hook).__name__}.{name}={value!r} counts epochs, but this run '
                f'counts {remedy}'
            )


def _about_schedules(schedules: Any, max_iters: Any) -> Iterator[str]:
    for where, schedule in schedules_of(schedules):
        if not isinstance(schedule, Mapping):
            continue
        kind = class_of(schedule, PARAM_SCHEDULERS)
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
    scaling, loaders = cfg.get('auto_scale_lr') or {}, cfg.get('train_dataloader') or {}
    if not isinstance(scaling, Mapping):
        yield (
            f'auto_scale_lr is {scaling!r}: write auto_scale_lr = dict(enable=True, '
            'base_batch_size=...)'
        )
        return
    if not scaling.get('enable'):
        return
    base = scaling.get('base_batch_size')
    if not isinstance(base, int) or base < 1:
        yield (
            'auto_scale_lr.base_batch_size is the whole batch that the learning rates '
            f'of this config are for, an integer from 1, but is {base!r}'
        )
    method = class_of(cfg['model'].get('adaptation'), MODELS) if adaptation else None
    sizes = {
        domain: loaders[domain].get('batch_size')
        for domain in getattr(method, 'domains', ())
        if isinstance(loaders.get(domain), Mapping)
    }
    if len(set(sizes.values())) > 1:
        yield (
            f'auto_scale_lr: the batch sizes {sizes} are not the same, so there is no '
            'one factor. Set lr of each player in optim_wrapper'
        )


def _about_validation(cfg: Mapping) -> Iterator[str]:
    loaders, loop = cfg.get('val_dataloader'), cfg.get('val_cfg')
    if not loaders or loop is None:
        return
    by_domain = _is(LOOPS, loop, 'DomainValLoop')
    if by_domain and 'dataset' in loaders:
        yield (
            f'val_dataloader is one dataloader, but val_cfg.type is "{loop["type"]}": '
            'write val_dataloader = dict(_delete_=True, source=...), and '
            'val_evaluator likewise'
        )
    elif not by_domain and 'dataset' not in loaders:
        yield (
            f'val_dataloader has the keys {sorted(loaders)}: to validate on each '
            'domain write val_cfg = dict(type="DomainValLoop")'
        )


def _is(registry: Registry, given: Any, name: str) -> bool:
    kind = class_of(given, registry)
    return inspect.isclass(kind) and issubclass(kind, registry.get(name))
