"""A feature extractor that is compiled for training."""

from __future__ import annotations

from types import MethodType
from typing import Any, Optional

import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmpose.registry import HOOKS
from torch import Tensor, nn

from mmregda.engine.loops import unwrap


@HOOKS.register_module()
class CompileHook(Hook):
    """Trains with backbone and neck compiled by PyTorch.

    They are most of the work, and each method calls them as they are. Names,
    shapes and values of the weights stay, and so do checkpoints. Validation is
    not compiled: its batches have other sizes, and metrics are to be those of
    the model as it is loaded elsewhere.

    Args:
        **options: As in :func:`torch.compile`, such as ``backend`` and
            ``mode``. ``dynamic`` defaults to False here.
    """

    def __init__(self, **options: Any) -> None:
        self.options = options

    def before_train(self, runner: Runner) -> None:
        """Compile; it happens in the first iterations."""
        model = unwrap(runner.model)
        for name in ('backbone', 'neck'):
            if getattr(model, name, None) is not None:
                compile_for_training(getattr(model, name), **self.options)

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Optional[dict] = None
    ) -> None:
        """Say that nothing is needed any more of what was computed before."""
        begin_iteration()


def begin_iteration() -> None:
    """Before each iteration of what :func:`compile_for_training` has compiled.

    In modes with CUDA graphs, results lie where the next ones will. Left to itself
    PyTorch takes each pass without a gradient for an iteration, and a method that
    needs it beside another pass would find it overwritten.
    """
    # PyTorch 2.0 knows no such mark.
    mark = getattr(getattr(torch, 'compiler', None), 'cudagraph_mark_step_begin', None)
    if mark is not None:
        mark()


def compile_for_training(module: nn.Module, **options: Any) -> None:
    """Compile a module's forward pass in training mode, in place."""
    plain = type(module).forward
    # A training's batches are of one size, and momenta of two or three (`counted`);
    # unless told so, PyTorch tries at the second to compile for all others as well.
    compiled = torch.compile(plain, **{'dynamic': False, **options})

    def forward(self: nn.Module, *args: Any) -> Tensor:
        return (compiled if self.training else plain)(self, *args)

    # A method and not a closure: copies of the module get their own.
    module.forward = MethodType(forward, module)
