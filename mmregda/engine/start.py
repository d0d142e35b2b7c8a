"""What a run starts from: found once, from its config, before anything is built.

:func:`find_start` looks, :func:`begin` has a runner start there. ``tools/train.py``
does both in turn; under MMPose's own tool the train loop does. So both start alike, and
what only ``tools/train.py`` can do is refused by name.
"""

from __future__ import annotations

import copy
import os
from dataclasses import dataclass, field, replace
from typing import Any, Dict, List, Optional, Sequence, Tuple

from mmengine.config import Config
from mmengine.dist import get_world_size
from mmengine.logging import print_log
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmpose.registry import MODELS
from torch import Tensor, nn

from mmregda.config_files import fingerprint, name_of, read_config
from mmregda.engine.checkpoints import (
    hand_over,
    named_as_in,
    newest_resumable,
    read_checkpoint,
    require_resumable,
    require_same_weights,
    shapes_of,
    trained_names,
    weights_of,
)
from mmregda.engine.distributed import broadcast_from_main, unwrap
from mmregda.engine.settings import require_settings
from mmregda.errors import InputError, building

# The domains whose labels teach.
LABELED = ('source', 'labeled_target')
# The weights of a pretraining that is done.
KEPT = 'source_only.pth'
_PRETRAIN = ('config', 'checkpoint', 'parts', 'work_dir', 'options')
# What a pretraining depends on.
_RELEVANT = (
    *('model', 'train_dataloader', 'train_cfg'),
    *('optim_wrapper', 'param_scheduler', 'randomness'),
)


@dataclass(frozen=True)
class Start:
    """What a run starts from.

    Attributes:
        kind (str): ``fresh``, as the config initialises the model; ``pretraining``,
            weights that are to be trained first; ``pretrained`` or ``loaded``, those
            of a checkpoint (see :func:`fitting_weights`); or ``resumed``, all that
            the checkpoint holds.
        checkpoint (str, optional): The file; of a pretraining, the one to be.
        stage (Config, optional): The config of the pretraining.
        content (dict): What the checkpoint holds, until the runner takes it.
        parts (tuple[str, ...]): Those that are a checkpoint's as a whole, once the
            run has begun.
        names (tuple[str, ...]): What the checkpoint's channels were trained as, if it
            says so, once the run has begun.
    """

    kind: str
    checkpoint: Optional[str] = None
    stage: Optional[Config] = field(default=None, repr=False)
    content: Dict[str, Any] = field(default_factory=dict, repr=False, compare=False)
    parts: Tuple[str, ...] = ()
    names: Tuple[str, ...] = ()


def find_start(cfg: Config) -> Start:
    """Find what a run starts from. Nothing is built, trained or changed.

    The first of these counts: the checkpoint that it resumes, what ``pretrain`` asks
    for (see :func:`~mmregda.engine.stages.train`), ``load_from``, nothing.

    Args:
        cfg (Config): The config, with ``work_dir`` set. Of several processes, the
            first one's view of the file system counts.

    Raises:
        InputError: If a checkpoint is missing or damaged, or if there are two.
    """
    named, pretrain = cfg.get('load_from'), cfg.get('pretrain')
    if pretrain and not (isinstance(pretrain, dict) and {*pretrain} <= {*_PRETRAIN}):
        raise InputError(
            f'pretrain is {pretrain!r}, but is to be a dict of some of '
            f'{", ".join(_PRETRAIN)}'
        )
    if cfg.get('resume'):
        newest = None if named else newest_resumable(cfg.work_dir)
        path = named or broadcast_from_main(newest and newest.path)
        if path and newest and newest.path == path:
            return Start('resumed', path, content=newest.content)
        if path:
            content = read_checkpoint(path)
            # It may have been saved without its optimiser.
            require_resumable(content, path, optimizer=False)
            return Start('resumed', path, content=content)
    if named and pretrain:
        raise InputError(
            f'load_from = "{named}" and pretrain both say what to start from: leave '
            'one of them out'
        )
    if named:
        return Start('loaded', named, content=read_checkpoint(named))
    if not pretrain:
        return Start('fresh')
    path, stage = pretrain.get('checkpoint'), None
    if not path:
        stage = load_pretrain_config(cfg)
        path = pretrained_path(stage)
        if not broadcast_from_main(os.path.isfile(path)):
            return Start('pretraining', path, stage)
    return Start('pretrained', path, stage, read_checkpoint(path))


def begin(runner: Runner, start: Optional[Start] = None) -> None:
    """Have a runner start, once, and remember it as ``runner.start``.

    Weights come in when MMEngine initialises the model, and what is resumed when
    MMEngine resumes; neither reads the file a second time.

    Args:
        runner (Runner): With its model built, and not yet its loops.
        start (Start, optional): Defaults to that of :func:`find_start`.

    Raises:
        InputError: If the weights are of another model, if a method without labels
            starts from nothing, or if there is a pretraining to be done first.
    """
    if hasattr(runner, 'start'):
        return
    if start is None:
        cfg = copy.copy(runner.cfg)
        cfg.work_dir, cfg.resume = runner.work_dir, runner._resume
        cfg.load_from = runner._load_from
        start = find_start(cfg)
    if start.kind == 'pretraining':
        raise InputError(
            "pretrain.config asks for weights that are not there yet, and mmregda's "
            'tools/train.py alone trains them. Start with that, or from weights that '
            'are there: pretrain = dict(checkpoint="CHECKPOINT").'
        )
    model = unwrap(runner.model)
    runner._resume = start.kind == 'resumed'
    if start.kind == 'resumed':
        _begin_resumed(runner, model, start)
    elif start.kind == 'pretrained' or (
        start.kind == 'loaded' and hasattr(model, 'adaptation')
    ):
        start = _begin_with_weights(runner, model, start)
    elif start.kind == 'loaded':
        # Of MMPose's own model MMEngine takes what fits.
        hand_over(start.checkpoint, start.content)
    else:
        _require_knowledge(model)
    names = tuple(trained_names(start.content))
    runner.start = replace(start, content={}, names=names)


def _begin_resumed(runner: Runner, model: nn.Module, start: Start) -> None:
    # MMEngine would go on with what fits, and without a word to a log file.
    require_same_weights(model, start.content['state_dict'], start.checkpoint)
    runner._load_from = start.checkpoint
    hand_over(start.checkpoint, start.content)
    _forget_initial_weights(model, [*psi_of(model), 'head'])
    # MMEngine takes up the seed, too, but after the dataloaders are built.
    seed, given = start.content['meta'].get('seed'), runner._randomness_cfg.get('seed')
    if seed is None or seed == given:
        return
    if given is not None:
        runner.logger.warning(
            f'{start.checkpoint} began with seed {seed}, which is kept, not {given}'
        )
    runner._randomness_cfg.update(seed=seed)
    runner.set_randomness(**runner._randomness_cfg)


def _begin_with_weights(runner: Runner, model: nn.Module, start: Start) -> Start:
    """Have MMEngine load what a model takes of a checkpoint.

    After the model is initialised, and into the model itself: what a backbone makes of
    an ``init_cfg`` is its own affair, and may be the conversion of another format.
    """
    path, named = start.checkpoint, None
    if start.kind == 'pretrained':
        named = runner.cfg.pretrain.get('parts')
    try:
        weights = fitting_weights(model, weights_of(start.content, path), path, named)
    except InputError as error:
        if start.kind == 'pretrained':
            raise
        raise InputError(
            f'{error} To start from its backbone alone, set model.backbone.init_cfg = '
            f'dict(type="Pretrained", checkpoint="{path}", prefix="backbone.") and '
            'leave load_from out.'
        ) from error
    anew = {name.partition('.')[0] for name in set(model.state_dict()) - set(weights)}
    parts = tuple(part for part in [*psi_of(model), 'head'] if part not in anew)
    _forget_initial_weights(model, parts)
    runner._load_from = path
    hand_over(path, dict(state_dict=weights))
    return replace(start, parts=parts)


def _forget_initial_weights(model: nn.Module, parts: Sequence[str]) -> None:
    """Parts that are to be loaded need no other checkpoint before."""
    for part in parts:
        if hasattr(model, part):
            getattr(model, part).init_cfg = None


def _require_knowledge(model: nn.Module) -> None:
    """Refuse that a method without labels starts from nothing."""
    if learns_from_labels(model):
        return
    whole, *parts = (
        isinstance(module.init_cfg, dict) and module.init_cfg['type'] == 'Pretrained'
        for module in (model, model.backbone, model.head)
    )
    if not (whole or all(parts)):
        raise InputError(
            f'{type(model.adaptation).__name__} learns without labels, so that it can '
            'only improve a model that knows the keypoints. Start it from a checkpoint '
            'of the whole model (backbone, neck and head): load_from = "CHECKPOINT", '
            'or pretrain = dict(checkpoint="CHECKPOINT").'
        )


def domains_of(model: nn.Module) -> Sequence[str]:
    """Those that the method draws from; a model without a method has a source."""
    return getattr(getattr(model, 'adaptation', None), 'domains', ('source',))


def learns_from_labels(model: nn.Module) -> bool:
    """Whether labels teach f: a method without any needs an f that knows."""
    return bool(set(LABELED) & set(domains_of(model)))


def psi_of(model: nn.Module) -> List[str]:
    """The names of the parts that are a model's feature extractor."""
    parts = ('backbone', 'neck')
    return [part for part in parts if getattr(model, part, None) is not None]


def fitting_weights(
    model: nn.Module,
    weights: Dict[str, Tensor],
    where: str,
    named: Optional[Sequence[str]] = None,
) -> Dict[str, Tensor]:
    """The weights of a checkpoint that a model starts from, and a line in the log.

    All of psi, and each layer of f that fits as a whole. What a method adds, such as
    f' or a teacher, starts anew with its counters.

    Args:
        model (nn.Module): The model.
        weights (dict[str, Tensor]): A state dict of it or of MMPose's.
        where (str): Where they are from, for messages.
        named (Sequence[str], optional): What ``pretrain.parts`` says: these parts
            alone, each as a whole.

    Raises:
        InputError: If a part that is named, psi, or an f that no label teaches does
            not fit or is left out.
    """
    known = [*psi_of(model), 'head']
    needed = known if not learns_from_labels(model) else known[:-1]
    if named is not None:
        if isinstance(named, str) or not named or not set(named) <= set(known):
            raise InputError(
                f'pretrain.parts = {named!r}: name some of {tuple(known)}, as '
                f"parts=('backbone', 'neck') for a head that starts anew"
            )
        if needed == known and set(named) != set(known):
            raise InputError(
                f'pretrain.parts = {tuple(named)}: {type(model.adaptation).__name__} '
                'learns without labels and cannot teach the others. Leave parts out.'
            )
        known = needed = list(named)
    weights = named_as_in(model, weights)
    require_same_weights(model, weights, where, needed)
    ours, theirs = _by_layer(model.state_dict()), _by_layer(weights)
    kept = [
        layer
        for layer in ours
        if layer.partition('.')[0] in known
        and shapes_of(ours[layer]) == shapes_of(theirs.get(layer, {}))
    ]
    trained = _by_layer(dict(model.named_parameters()))  # Others are counters.
    anew = [layer for layer in trained if layer not in kept]
    taken = [layer for layer in trained if layer in kept]
    unused = [layer for layer in theirs if layer not in ours]
    print_log(
        f'From "{where}": {_listed(taken, anew)}. Anew: {_listed(anew, taken)}.'
        + (f' Not taken: {", ".join(unused)}.' if unused else ''),
        logger='current',
    )
    return {name: value for layer in kept for name, value in theirs[layer].items()}


def _by_layer(weights: Dict[str, Tensor]) -> Dict[str, Dict[str, Tensor]]:
    """Weights by the part of the model, of f and of the method by the layer."""
    layers: Dict[str, Dict[str, Tensor]] = {}
    for name, value in weights.items():
        part, *rest = name.split('.')
        layer = part if part in ('backbone', 'neck') else '.'.join([part, *rest[:1]])
        layers.setdefault(layer, {})[name] = value
    return layers


def _listed(layers: Sequence[str], others: Sequence[str]) -> str:
    """Names of layers; f as one if none of its layers is among the others."""
    if not any(layer.startswith('head.') for layer in others):
        layers = dict.fromkeys(
            'head' if layer.startswith('head.') else layer for layer in layers
        )
    return ', '.join(layers) or 'nothing'


def require_fitting_stage(cfg: Config, stage: Config) -> None:
    """Refuse a pretraining from which a run could not go on."""
    require_settings(stage)
    init_default_scope(cfg.get('default_scope', 'mmpose'))
    with building(name_of(stage)):
        weights = MODELS.build(stage.model).state_dict()
    with building(name_of(cfg)):
        model = MODELS.build(cfg.model)
    named = cfg.pretrain.get('parts')
    fitting_weights(model, weights, stage.filename, named)


def load_pretrain_config(cfg: Config) -> Config:
    """The config of a config's pretraining stage, ready to run."""
    path = cfg.pretrain.config
    if not os.path.isabs(path):
        path = os.path.join(os.path.dirname(os.path.abspath(cfg.filename)), path)
    if not os.path.isfile(path):
        raise InputError(f'pretrain.config "{path}" of {cfg.filename} does not exist')
    options = cfg.pretrain.get('options') or {}
    stage = read_config(path, options, 'pretrain.options')
    name = os.path.splitext(os.path.basename(path))[0]
    siblings = os.path.dirname(os.path.normpath(cfg.work_dir))
    stage.work_dir = cfg.pretrain.get('work_dir') or os.path.join(siblings, name)
    for key in ('launcher', 'randomness', 'env_cfg', 'resume', 'sync_bn'):
        if key in cfg:
            stage[key] = cfg[key]
    for key in ('compile', 'channels_last'):  # or those of its own
        stage[key] = cfg.get(key) or stage.get(key)
    return stage


def pretrained_path(cfg: Config) -> str:
    """Where the weights of a pretraining are kept: by all that they depend on."""
    relevant = {key: cfg.get(key) for key in _RELEVANT}
    relevant['train_dataloader'] = _of_all_processes(relevant['train_dataloader'])
    if cfg.get('sync_bn') and get_world_size() > 1:
        relevant['sync_bn'] = cfg.sync_bn
    # What is there seldom, so that fingerprints stay what they are without it.
    hooks = [hook for hook in cfg.get('custom_hooks') or [] if isinstance(hook, dict)]
    averages = [hook for hook in hooks if hook.get('type') == 'EMAHook']
    scaling = cfg.get('auto_scale_lr') or {}
    seldom = dict(
        load_from=cfg.get('load_from'),
        auto_scale_lr=scaling if scaling.get('enable') else None,
        averages=averages,
    )
    relevant.update({key: value for key, value in seldom.items() if value})
    # What the best checkpoint is chosen by.
    selection = (cfg.get('val_dataloader') or {}).get('source') or {}
    relevant['selection'] = {k: v for k, v in selection.items() if k != 'batch_size'}
    return os.path.join(cfg.work_dir, fingerprint(relevant), KEPT)


def _of_all_processes(loaders: Any) -> Any:
    """The config of one dataloader, or of several, with whole batch sizes."""
    if not isinstance(loaders, dict):
        return loaders
    if 'batch_size' in loaders:
        return {**loaders, 'batch_size': loaders['batch_size'] * get_world_size()}
    return {domain: _of_all_processes(loader) for domain, loader in loaders.items()}
