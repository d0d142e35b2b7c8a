"""Training from a config: source-only pretraining, then adaptation."""

from __future__ import annotations

import hashlib
import os
import pickle
from typing import Any, Dict, List, Sequence

import torch
from mmengine.config import Config
from mmengine.dist import barrier, is_main_process
from mmengine.logging import print_log
from mmengine.optim import build_optim_wrapper
from mmengine.registry import RUNNERS, init_default_scope
from mmengine.runner import Runner, find_latest_checkpoint
from mmengine.runner.checkpoint import CheckpointLoader
from mmpose.registry import DATASETS, MODELS
from torch import nn

from mmregda.engine.loops import require_domains, require_fitting_head, unwrap
from mmregda.errors import InputError, reading
from mmregda.files import whole_file


def train(cfg: Config) -> Dict[str, float]:
    """Train as a config says, its pretraining first.

    A config with ``pretrain = dict(config='source_only_rhd2h3d.py')`` starts
    from the feature extractor that this other config trains on the source (see
    :func:`pretrain`). The heads start anew.

    ``pretrain`` knows the keys

    - ``config``: path of the pretraining's config, relative to this one;
    - ``checkpoint``: weights to start from in place of that, optional;
    - ``work_dir``: where to pretrain and look for finished weights; by
      default a sibling of ``cfg.work_dir`` with the pretraining's name;
    - ``options``: a dict of overrides for the pretraining's config, optional.

    With ``cfg.resume`` an interrupted pretraining goes on where it was.

    Args:
        cfg (Config): The config, with ``work_dir`` set.

    Returns:
        dict[str, float]: The metrics of the last validation, such as
        ``source/PCK/Avg``.

    Raises:
        InputError: If what the config asks for is missing or does not fit
            together. What can be known of the adaptation is said before the
            pretraining starts.
    """
    if cfg.get('resume') and find_latest_checkpoint(cfg.work_dir):
        # It goes on from its own checkpoint and needs no other.
        for part in _psi(cfg):
            cfg.model[part].init_cfg = None
    elif cfg.get('pretrain'):
        model = rehearse(cfg)
        checkpoint = cfg.pretrain.get('checkpoint')
        if not checkpoint:
            stage = load_pretrain_config(cfg)
            weights = MODELS.build(stage.model).state_dict()
            require_same_weights(model, weights, _psi(cfg), stage.filename)
            checkpoint = pretrain(stage)
        require_same_weights(model, load_weights(checkpoint), _psi(cfg), checkpoint)
        for part in _psi(cfg):
            cfg.model[part].init_cfg = dict(
                type='Pretrained', checkpoint=checkpoint, prefix=f'{part}.'
            )
    return metrics_of(run(cfg))


def pretrain(cfg: Config) -> str:
    """Train source-only weights, unless they are there already.

    They are trained and kept as ``source_only.pth`` in a folder of
    ``cfg.work_dir`` that is named by a fingerprint of the config's model,
    source data, schedule and seed. So every method finds the same weights, and
    after a change of the config none finds those of before. (What the data
    files hold is not part of it.)

    Args:
        cfg (Config): The config of the pretraining, with ``work_dir`` set.

    Returns:
        str: The file.
    """
    cfg.work_dir = os.path.join(cfg.work_dir, _fingerprint(cfg))
    path = os.path.join(cfg.work_dir, 'source_only.pth')
    if not os.path.isfile(path):
        print_log(f'Pretraining on the source; keeping {path}', logger='current')
        runner = run(cfg)
        if is_main_process():
            hub = runner.message_hub
            name = 'best_ckpt' if 'best_ckpt' in hub.runtime_info else 'last_ckpt'
            _keep_weights(hub.get_info(name), path)
        barrier()
    return path


def evaluate(cfg: Config, checkpoint: str) -> Dict[str, float]:
    """The metrics of a checkpoint on a config's validation sets.

    No training data is read and no optimiser is built.

    Args:
        cfg (Config): The config of the model, changed in place.
        checkpoint (str): Its weights.

    Returns:
        dict[str, float]: Metrics such as ``target/PCK/Avg``.

    Raises:
        InputError: If the file is missing, or of another model.
    """
    weights = load_weights(checkpoint)
    for key in ('train_dataloader', 'train_cfg', 'optim_wrapper', 'param_scheduler'):
        cfg[key] = None
    cfg.custom_hooks = []
    cfg.default_hooks = {**(cfg.get('default_hooks') or {}), 'checkpoint': None}
    for part in _psi(cfg):
        cfg.model[part].init_cfg = None
    cfg.load_from = checkpoint
    cfg.resume = False
    runner = build_runner(cfg)
    parts = [*_psi(cfg), 'head']
    require_same_weights(unwrap(runner.model), weights, parts, checkpoint)
    metrics = runner.val()
    stop_workers(runner)
    return metrics


def run(cfg: Config) -> Runner:
    """Build the runner of a config and train."""
    if cfg.get('launcher', 'none') != 'none' and not torch.cuda.is_available():
        # By default MMEngine's wrapper asks for a GPU for each process.
        cpu = dict(type='MMDistributedDataParallel', device_ids=None)
        cfg.setdefault('model_wrapper_cfg', cpu)
    runner = build_runner(cfg)
    runner.train()
    stop_workers(runner)
    return runner


def stop_workers(runner: Runner) -> None:
    """Drop the dataloaders of a runner that is done, and with them their workers.

    Left to the garbage collector, the queues through which workers are told to
    stop may go first, and PyTorch then waits five seconds for each.
    """
    for loop in (runner._train_loop, runner._val_loop):
        for part in getattr(loop, 'loops', dict(all=loop)).values():
            for name in ('dataloader', 'dataloader_iterator'):
                if hasattr(part, name):
                    setattr(part, name, None)


def build_runner(cfg: Config) -> Runner:
    """Build the runner that a config asks for."""
    # MMEngine would lay the config out anew, at a second or two each, for the log,
    # for each copy that it writes and for every checkpoint.
    object.__setattr__(cfg, '_format_python_code', False)
    # The visualizer is a singleton by its name; each stage has its own.
    if cfg.get('visualizer'):
        cfg.visualizer.pop('name', None)
    return RUNNERS.build(cfg) if 'runner_type' in cfg else Runner.from_cfg(cfg)


def metrics_of(runner: Runner) -> Dict[str, float]:
    """The metrics of a runner's last validation, by domain."""
    return {
        name[len('val/') :]: float(buffer.current())
        for name, buffer in runner.message_hub.log_scalars.items()
        if name.startswith(('val/source/', 'val/target/'))
    }


def rehearse(cfg: Config) -> nn.Module:
    """Build what a config asks for and drop it again, but for the model.

    An hour of pretraining is a long way to a typing error.

    Raises:
        InputError: If a dataset is missing, or the parts do not fit together.
    """
    init_default_scope(cfg.get('default_scope', 'mmpose'))
    model = MODELS.build(cfg.model)
    build_optim_wrapper(model, cfg.optim_wrapper)
    loaders = cfg.train_dataloader
    if 'dataset' in loaders:  # an ordinary model, of one domain
        loaders = dict(source=loaders)
    loaders = {domain: cfg for domain, cfg in loaders.items() if cfg is not None}
    if 'adaptation' in cfg.model:
        require_domains(model, loaders)
    for domain, loader in loaders.items():
        with reading(f'the {domain} dataset'):
            dataset = DATASETS.build(loader.dataset)
        require_fitting_head(model, dataset, domain)
    return model


def load_pretrain_config(cfg: Config) -> Config:
    """The config of a config's pretraining stage, ready to run."""
    path = cfg.pretrain.config
    if not os.path.isabs(path):
        path = os.path.join(os.path.dirname(os.path.abspath(cfg.filename)), path)
    if not os.path.isfile(path):
        raise InputError(f'pretrain.config "{path}" of {cfg.filename} does not exist')
    stage = Config.fromfile(path)
    stage.merge_from_dict(dict(cfg.pretrain.get('options') or {}))
    name = os.path.splitext(os.path.basename(path))[0]
    siblings = os.path.dirname(os.path.normpath(cfg.work_dir))
    stage.work_dir = cfg.pretrain.get('work_dir') or os.path.join(siblings, name)
    for key in ('launcher', 'randomness', 'env_cfg', 'resume'):
        if key in cfg:
            stage[key] = cfg[key]
    return stage


def load_weights(checkpoint: str) -> Dict[str, torch.Tensor]:
    """The state dict in a checkpoint.

    Raises:
        InputError: If the file does not exist, is damaged, or holds what is
            not loaded from a data file.
    """
    if '://' not in checkpoint and not os.path.isfile(checkpoint):
        raise InputError(f'checkpoint "{checkpoint}" does not exist')
    try:
        content = CheckpointLoader.load_checkpoint(checkpoint, 'cpu', logger='silent')
    # What PyTorch raises on a file that is cut short, is none, or has code.
    except (RuntimeError, pickle.UnpicklingError, EOFError, ValueError) as error:
        raise InputError(
            f'checkpoint "{checkpoint}" can not be loaded: {error}'
        ) from error
    weights = content.get('state_dict', content) if isinstance(content, dict) else None
    if not isinstance(weights, dict):
        raise InputError(f'checkpoint "{checkpoint}" holds no state_dict')
    return weights


def require_same_weights(
    model: nn.Module, weights: Dict[str, torch.Tensor], parts: Sequence[str], where: str
) -> None:
    """Refuse weights of another architecture, of which some would be skipped.

    Args:
        model (nn.Module): The model.
        weights (dict[str, Tensor]): A state dict; parts of the model that are
            not named in ``parts`` do not matter.
        parts (Sequence[str]): Names of the model's children.
        where (str): Where the weights are from, for the message.

    Raises:
        InputError: At the first name or shape that differs.
    """
    prefixes = tuple(f'{part}.' for part in parts)
    ours, theirs = (
        {k: tuple(v.shape) for k, v in state.items() if k.startswith(prefixes)}
        for state in (model.state_dict(), weights)
    )
    for name in [*ours, *theirs]:
        if ours.get(name) != theirs.get(name):
            raise InputError(
                f'the weights of "{where}" are not of this model: "{name}" is '
                f'{theirs.get(name, "missing")} there and '
                f'{ours.get(name, "missing")} here. The {" and ".join(parts)} of '
                'both must be configured alike.'
            )


def _fingerprint(cfg: Config) -> str:
    """What the weights depend on, as a short text that can be compared."""
    keys = (
        'model',
        'train_dataloader',
        'train_cfg',
        'optim_wrapper',
        'param_scheduler',
        'randomness',
    )
    relevant = {key: cfg.get(key) for key in keys}
    # What the best checkpoint is chosen by, and what a batch is multiplied by.
    relevant['selection'] = (cfg.get('val_dataloader') or {}).get('source')
    relevant['processes'] = os.environ.get('WORLD_SIZE', '1')
    return hashlib.sha256(repr(_plain(relevant)).encode()).hexdigest()[:8]


def _plain(value: Any) -> Any:
    """A config's value with its keys in one order, and no mere mechanics."""
    if isinstance(value, dict):
        keys = sorted(set(value) - {'num_workers', 'persistent_workers'})
        return {key: _plain(value[key]) for key in keys}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value


def _psi(cfg: Config) -> List[str]:
    """The parts of a config's model that are its feature extractor."""
    return [part for part in ('backbone', 'neck') if cfg.model.get(part)]


def _keep_weights(checkpoint: str, path: str) -> None:
    """Write a checkpoint's weights as a file that is whole or not there."""
    with whole_file(path) as partial:
        torch.save(dict(state_dict=load_weights(checkpoint), meta={}), partial)
