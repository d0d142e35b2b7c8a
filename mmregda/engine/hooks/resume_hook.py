"""A resumed run under the config that it has now."""

from __future__ import annotations

import warnings
from typing import Any, Dict, List, Optional

import torch
from mmengine.hooks import Hook
from mmengine.optim import OptimWrapper, _ParamScheduler
from mmengine.runner import Runner
from mmpose.registry import HOOKS

from mmregda.engine.player_optim_wrappers import by_player
from mmregda.errors import InputError

# By which kernels an optimiser steps, not to what.
_KERNELS = ('fused', 'foreach')


@HOOKS.register_module()
class ResumeHook(Hook):
    """Fits what a checkpoint says of optimisers and schedules to the config.

    - **Schedules.** MMEngine goes on with the schedules that were saved, of which
      some end where the first run was to end, whatever ``max_iters`` and
      ``param_scheduler`` are now. Here the rates go on as those of a run that
      has had this config from its first iteration, and the log says where they
      differ. A schedule by metrics has no such rates and goes on as it was saved.
    - **Kernels and layout.** PyTorch takes from a checkpoint whether an optimiser
      is fused, as if it were its learning rate, and moments in the memory layout
      that weights had when they were saved. Fused kernels take for granted that
      both lie alike.

    Raises:
        InputError: If the optimisers that were saved are for other parameters.
    """

    # After what lays out the weights.
    priority = 'VERY_LOW'

    def after_load_checkpoint(self, runner: Runner, checkpoint: Dict[str, Any]) -> None:
        """Change what MMEngine is about to resume from."""
        if not runner._resume:
            return
        done = checkpoint['meta']['iter']
        if done > runner.max_iters:
            runner.logger.warning(
                f'{runner._load_from} is of iteration {done}, and max_iters is '
                f'{runner.max_iters}: there is nothing left to train'
            )
        saved = by_player(checkpoint.get('optimizer') or {})
        if saved:
            _require_same_parameters(runner, saved)
        schedules = by_player(checkpoint.get('param_schedulers') or [])
        own_schedules = by_player(runner.param_schedulers or [])
        for player, optimizer in by_player(runner.optim_wrapper).items():
            state = saved.get(player)
            if state is not None:
                _keep_kernels(optimizer, state)
            own, old = own_schedules.get(player, []), schedules.get(player, [])
            if any(scheduler.by_epoch for scheduler in own):
                runner.logger.info(f'{_name_of(player)} goes on as it was saved')
                continue
            _replay(own, done)
            _log_rates(runner, player, state, optimizer)
            if state is not None:
                _write_rates(optimizer, state, own, old)
            schedules[player] = [scheduler.state_dict() for scheduler in own]
        if runner.param_schedulers is not None:
            checkpoint['param_schedulers'] = schedules.get('', schedules)

    def before_train(self, runner: Runner) -> None:
        """Lay out what is kept of each weight as the weight is."""
        for wrapper in by_player(runner.optim_wrapper).values():
            for parameter, state in wrapper.optimizer.state.items():
                for name, value in state.items():
                    if _lies_otherwise(value, parameter):
                        state[name] = torch.empty_like(parameter).copy_(value)


def _require_same_parameters(runner: Runner, saved: Dict[str, Any]) -> None:
    """Refuse optimisers of other players, or of other groups of parameters."""
    theirs, ours = (
        {
            player: [len(group['params']) for group in groups]
            for player, groups in sizes.items()
        }
        for sizes in (
            {player: state['param_groups'] for player, state in saved.items()},
            {
                p: w.optimizer.param_groups
                for p, w in by_player(runner.optim_wrapper).items()
            },
        )
    )
    if theirs != ours:
        raise InputError(
            f'"{runner._load_from}" cannot be resumed from with this optim_wrapper: '
            f'its optimisers step groups of {theirs} parameters, those of the config '
            f'{ours}. Leave --resume out to start anew.'
        )


def _keep_kernels(optimizer: OptimWrapper, state: Dict[str, Any]) -> None:
    for saved, own in zip(state['param_groups'], optimizer.param_groups):
        saved.update({key: own[key] for key in _KERNELS if key in own})


def _replay(schedulers: List[_ParamScheduler], num_iters: int) -> None:
    """Step as :class:`mmengine.hooks.ParamSchedulerHook` has in so many iterations."""
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # The optimisers have not stepped meanwhile.
        for _ in range(num_iters):
            for scheduler in schedulers:
                scheduler.step()


def _write_rates(
    optimizer: OptimWrapper,
    state: Dict[str, Any],
    own: List[_ParamScheduler],
    old: List[Dict[str, Any]],
) -> None:
    """Write what is scheduled, or was, into an optimiser's saved state."""
    names = {scheduler.param_name for scheduler in own}
    names |= {scheduler['param_name'] for scheduler in old}
    names |= {f'initial_{name}' for name in names}
    if 'momentum' in names:
        names.add('betas')  # what Adam has for it
    groups = [*state['param_groups'], state.get('base_param_settings') or {}]
    for saved, group in zip(groups, optimizer.param_groups):
        for name in names:
            saved.pop(name, None)
            if name in group:
                saved[name] = group[name]


def _log_rates(
    runner: Runner,
    player: str,
    state: Optional[Dict[str, Any]],
    optimizer: OptimWrapper,
) -> None:
    """Say where a rate is not the one that was saved."""
    now = optimizer.param_groups[0]['lr']
    before = now if state is None else state['param_groups'][0]['lr']
    if before != now:
        runner.logger.info(
            f'{_name_of(player)} is that of a run of {runner.max_iters} iterations '
            f'with this config: the rate was {before:.4g} when it was saved and is '
            f'{now:.4g}'
        )


def _name_of(player: str) -> str:
    return f'The schedule of {player or "the optimiser"}'


def _lies_otherwise(value: object, parameter: torch.nn.Parameter) -> bool:
    return (
        isinstance(value, torch.Tensor)
        and value.shape == parameter.shape
        and value.stride() != parameter.stride()
    )
