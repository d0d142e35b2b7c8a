"""Optimisers that go on under other switches."""

from __future__ import annotations

from typing import Iterator

import torch
from mmengine.hooks import Hook
from mmengine.optim import OptimWrapperDict
from mmengine.runner import Runner
from mmpose.registry import HOOKS

# By which kernels an optimiser steps, not to what.
_KERNELS = ('fused', 'foreach')


@HOOKS.register_module()
class OptimizerStateHook(Hook):
    """Fits the state of resumed optimisers to how the config has them step.

    PyTorch takes from a checkpoint whether an optimiser is fused, as if it were
    its learning rate, and moments in the memory layout that weights had when
    they were saved. Fused kernels take for granted that both lie alike.
    """

    # After what lays out the weights.
    priority = 'VERY_LOW'

    def before_run(self, runner: Runner) -> None:
        """Have the optimisers keep their kernels over loading."""
        for optimizer in _optimizers(runner):
            if hasattr(optimizer, 'register_load_state_dict_pre_hook'):
                optimizer.register_load_state_dict_pre_hook(_with_own_kernels)

    def before_train(self, runner: Runner) -> None:
        """Lay out what is kept of each weight as the weight is."""
        for optimizer in _optimizers(runner):
            for parameter, state in optimizer.state.items():
                for name, value in state.items():
                    if _lies_otherwise(value, parameter):
                        state[name] = torch.empty_like(parameter).copy_(value)


def _optimizers(runner: Runner) -> Iterator[torch.optim.Optimizer]:
    wrapper = runner.optim_wrapper
    if isinstance(wrapper, OptimWrapperDict):
        yield from (one.optimizer for one in wrapper.values())
    elif wrapper is not None:  # of a validation, there is none
        yield wrapper.optimizer


def _with_own_kernels(optimizer: torch.optim.Optimizer, state: dict) -> dict:
    groups = [
        {**saved, **{key: own[key] for key in _KERNELS if key in own}}
        for saved, own in zip(state['param_groups'], optimizer.param_groups)
    ]
    # Should there not be as many, PyTorch says so.
    return {**state, 'param_groups': groups + state['param_groups'][len(groups) :]}


def _lies_otherwise(value: object, parameter: torch.nn.Parameter) -> bool:
    return (
        isinstance(value, torch.Tensor)
        and value.shape == parameter.shape
        and value.stride() != parameter.stride()
    )
