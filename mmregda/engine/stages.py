"""Training from a config: source-only pretraining, then adaptation."""

from __future__ import annotations

import copy
import os
import re
import tempfile
import traceback
from contextlib import contextmanager
from secrets import token_hex
from typing import Dict, Iterator, Optional

import torch
from mmengine.config import Config
from mmengine.dist import barrier, is_main_process
from mmengine.logging import print_log
from mmengine.registry import RUNNERS
from mmengine.runner import Runner, save_checkpoint

from mmregda.config_files import name_of
from mmregda.engine.checkpoints import (
    hand_over,
    named_as_in,
    read_checkpoint,
    require_same_weights,
    trained_names,
    weights_of,
)
from mmregda.engine.distributed import broadcast_from_main, joined_processes, unwrap
from mmregda.engine.lock import only_run_in
from mmregda.engine.loops import build_validation, register_rehearsal
from mmregda.engine.rehearsal import rehearse_run
from mmregda.engine.settings import is_adaptation, require_settings
from mmregda.engine.start import (
    Start,
    begin,
    find_start,
    pretrained_path,
    psi_of,
    require_fitting_stage,
)
from mmregda.errors import InputError, building
from mmregda.files import room_to_write


def train(cfg: Config) -> Dict[str, float]:
    """Train as a config says, its pretraining first.

    A config with ``pretrain = dict(config='source_only_rhd2h3d.py')`` starts
    from the feature extractor that this other config trains on the source (see
    :func:`pretrain`). psi and f go on from them; what a method adds, such as f', is
    drawn anew.

    ``pretrain`` knows the keys

    - ``config``: path of the pretraining's config, relative to this one;
    - ``checkpoint``: weights to start from in place of that, optional;
    - ``parts``: which parts of the model go on, such as ``('backbone', 'neck')``
      for a head that starts anew, as in RegDA's paper; by default psi, and the
      layers of f that fit;
    - ``work_dir``: where to pretrain and look for finished weights; by
      default a sibling of ``cfg.work_dir`` with the pretraining's name;
    - ``options``: a dict of overrides for the pretraining's config, optional.

    With ``cfg.resume`` an interrupted pretraining goes on where it was. With
    ``cfg.launcher`` this is one process of several, see
    :func:`~mmregda.engine.distributed.joined_processes`.

    Args:
        cfg (Config): The config, with ``work_dir`` set.

    Returns:
        dict[str, float]: The metrics of the last validation, such as
        ``source/PCK/Avg``.

    Raises:
        InputError: If what the config asks for is missing or does not fit
            together, or if another process is lost. What can be known of the
            adaptation is said before the pretraining starts.
    """
    several = cfg.get('launcher', 'none') != 'none'
    if several and is_adaptation(cfg) and not cfg.get('model_wrapper_cfg'):
        cfg.model_wrapper_cfg = dict(type='PlayerDistributedDataParallel')
    require_settings(cfg)
    launcher, env_cfg = cfg.get('launcher', 'none'), cfg.get('env_cfg') or {}
    # Alone from before it looks for a checkpoint: the one before it, stopped to be
    # started elsewhere, may still be saving its last.
    with joined_processes(launcher, env_cfg), only_run_in(cfg.work_dir):
        start = find_start(cfg)
        if start.kind == 'pretraining':
            # What is wrong with what comes after it is said before.
            require_fitting_stage(cfg, start.stage)
            rehearse(cfg)
            pretrain(start.stage)
            start = find_start(cfg)
        return metrics_of(run(cfg, start))


def pretrain(cfg: Config) -> str:
    """Train source-only weights, unless they are there already.

    They are trained and kept as ``source_only.pth`` in a folder of
    ``cfg.work_dir`` that is named by a fingerprint of the config's model,
    source data, schedule and seed. So every method finds the same weights, and
    after a change of the config none finds those of before. (What the data
    files hold is not part of it.) Of batches it is the size of all processes'
    together, so that other processes can go on where these were.

    Args:
        cfg (Config): The config of the pretraining, with ``work_dir`` set.
    """
    path = pretrained_path(cfg)
    cfg.work_dir = os.path.dirname(path)
    if not broadcast_from_main(os.path.isfile(path)):
        with only_run_in(cfg.work_dir):
            # Another training may have made them while this one waited.
            if not broadcast_from_main(os.path.isfile(path)):
                _pretrain(cfg, path)
    return path


def _pretrain(cfg: Config, path: str) -> None:
    print_log(f'Pretraining on the source; keeping {path}', logger='current')
    runner = run(cfg)
    if is_main_process():
        hub = runner.message_hub
        names = [hub.get_info(name) for name in ('best_ckpt', 'last_ckpt')]
        # The folder may have been moved since, and what was best be gone with a
        # checkpoint that could not be read.
        kept = [os.path.join(cfg.work_dir, os.path.basename(n)) for n in names if n]
        _keep_weights(next(filter(os.path.isfile, kept), kept[0]), path)
    barrier()


def evaluate(cfg: Config, checkpoint: str, progress: str = '') -> Dict[str, float]:
    """The metrics of a checkpoint on a config's validation sets.

    No training data is read and no optimiser is built. With ``cfg.launcher``
    this is one process of several, which share the samples.

    Args:
        cfg (Config): The config of the model, changed in place.
        checkpoint (str): Its weights.
        progress (str): What to show beside a progress bar, in place of the log;
            without it there is none.

    Returns:
        dict[str, float]: Metrics such as ``target/PCK/Avg``.

    Raises:
        InputError: If the file is missing, or of another model.
    """
    content = read_checkpoint(checkpoint)
    weights = weights_of(content, checkpoint)
    for key in ('train_dataloader', 'train_cfg', 'optim_wrapper', 'param_scheduler'):
        cfg[key] = None
    cfg.custom_hooks = []
    if progress:
        cfg.runner_type = 'QuietRunner'
        cfg.custom_hooks = [dict(type='ProgressBarHook', title=progress)]
    cfg.default_hooks = {**(cfg.get('default_hooks') or {}), 'checkpoint': None}
    cfg.load_from = checkpoint
    cfg.resume = False
    launcher, env_cfg = cfg.get('launcher', 'none'), cfg.get('env_cfg') or {}
    with joined_processes(launcher, env_cfg), building(name_of(cfg)):
        runner = build_runner(cfg)
        build_validation(runner)
        model = unwrap(runner.model)
        weights = named_as_in(model, weights)
        require_same_weights(model, weights, checkpoint, [*psi_of(model), 'head'])
        hand_over(checkpoint, dict(content, state_dict=weights))
        with workers_alive():
            metrics = runner.val()
        stop_workers(runner)
    return metrics


def rehearse(cfg: Config, log_level: str = 'WARNING') -> None:
    """Build a run and rehearse it, for what comes after a pretraining.

    Args:
        cfg (Config): The config.
        log_level (str): What is said on the way. Defaults to ``'WARNING'``.

    Raises:
        InputError: See :func:`~mmregda.engine.rehearsal.rehearse_run`.
    """
    cfg = copy.deepcopy(cfg)
    with tempfile.TemporaryDirectory() as folder, building(name_of(cfg)):
        # Loggers and the like are found by this name.
        cfg.update(work_dir=folder, experiment_name=f'rehearsal_{token_hex(4)}')
        cfg.update(load_from=None, resume=False, log_level=log_level)
        runner = build_runner(cfg)
        runner.start = Start('fresh')
        _ = runner.train_loop, runner.val_loop  # Built when they are asked for.
        runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
        if runner.param_schedulers is not None:
            schedulers = runner.build_param_scheduler(runner.param_schedulers)
            runner.param_schedulers = schedulers
        runner.call_hook('before_run')
        rehearse_run(runner)


def run(cfg: Config, start: Optional[Start] = None) -> Runner:
    """Build the runner of a config and train.

    Args:
        cfg (Config): The config.
        start (Start, optional): Defaults to that of
            :func:`~mmregda.engine.start.find_start`.
    """
    with room_to_write(cfg.work_dir), workers_alive(), building(name_of(cfg)):
        runner = build_runner(cfg)
        begin(runner, start)
        runner.train()
    stop_workers(runner)
    return runner


@contextmanager
def workers_alive() -> Iterator[None]:
    """Turn the loss of a data worker into an :class:`InputError`."""
    try:
        yield
    except (EOFError, OSError, RuntimeError) as error:
        # PyTorch says so, unless it was asking the worker for a batch's memory.
        said = re.match(r'DataLoader worker \(pid.*', str(error))
        modules = {
            frame.f_globals.get('__name__')
            for frame, _ in traceback.walk_tb(error.__traceback__)
        }
        if not said and 'multiprocessing.resource_sharer' not in modules:
            raise
        raise InputError(
            f'{said[0] if said else "A DataLoader worker is lost."} Most often memory '
            'was short. Give the dataloaders fewer workers (num_workers) or free '
            'memory, and go on from the last checkpoint with --resume.'
        ) from error


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
    if cfg.get('launcher', 'none') != 'none' and not torch.cuda.is_available():
        # By default MMEngine's wrapper asks for a GPU for each process.
        cpu = dict(type='MMDistributedDataParallel', device_ids=None)
        cfg.setdefault('model_wrapper_cfg', cpu)
    # The visualizer is a singleton by its name; each stage has its own.
    if cfg.get('visualizer'):
        cfg.visualizer.pop('name', None)
    runner = RUNNERS.build(cfg) if 'runner_type' in cfg else Runner.from_cfg(cfg)
    register_rehearsal(runner)
    return runner


def metrics_of(runner: Runner) -> Dict[str, float]:
    """The metrics of a runner's last validation, by domain."""
    return {
        name[len('val/') :]: float(buffer.current())
        for name, buffer in runner.message_hub.log_scalars.items()
        if name.startswith(('val/source/', 'val/target/'))
    }


def _keep_weights(checkpoint: str, path: str) -> None:
    """Write a checkpoint's weights as a file that is whole or not there.

    What the channels were trained as stays with them.
    """
    content = read_checkpoint(checkpoint)
    # Names alone: metainfo has arrays, which PyTorch refuses in a file of weights.
    meta = dict(keypoint_names=trained_names(content))
    weights = dict(state_dict=weights_of(content, checkpoint), meta=meta)
    save_checkpoint(weights, path, backend_args=dict(backend='atomic'))
