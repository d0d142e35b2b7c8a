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

# CUDA graphs on a GPU, which waits less for its host than in any mode without them;
# on a CPU it is the default mode.
MODE = 'reduce-overhead'


@HOOKS.register_module()
class CompileHook(Hook):
    """Trains with backbone and neck compiled by PyTorch.

    They are most of the work, and each method calls them as they are. Names,
    shapes and values of the weights stay, and so do checkpoints. Validation is
    not compiled: its batches have other sizes, and metrics are to be those of
    the model as it is loaded elsewhere.

    Args:
        **options: As in :func:`torch.compile`. ``mode`` defaults to
            'reduce-overhead', unless there is a ``backend`` or there are
            ``options``, and ``dynamic`` to False.
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
        """Tell CUDA graphs that results of the last iteration may be overwritten."""
        begin_iteration(unwrap(runner.model))


def compile_for_training(module: nn.Module, **options: Any) -> None:
    """Compile a module's forward pass in training mode, in place.

    Before each iteration :func:`begin_iteration` is to be called.

    Args:
        module (nn.Module): Changed in place.
        **options: As of :class:`CompileHook`.
    """
    if not options.keys() & {'mode', 'backend', 'options'}:
        options['mode'] = MODE
    # A training's batches are of one size, and momenta of two or three (`counted`);
    # unless told so, PyTorch tries at the second to compile for all others as well.
    options.setdefault('dynamic', False)
    plain = type(module).forward
    compiled = torch.compile(plain, **options)

    def forward(self: nn.Module, *args: Any) -> Tensor:
        return (compiled if self.training else plain)(self, *args)

    # A method and not a closure: copies of the module get their own.
    module.forward = MethodType(forward, module)


def begin_iteration(model: nn.Module) -> None:
    """Tell CUDA graphs that what they have computed is not needed any more.

    They write what one pass gives where the next one writes. Left to itself PyTorch
    takes each pass without a gradient for an iteration of its own, and a method that
    needs it beside another pass would find it overwritten. Gradients that more are
    to be added to are needed: with some, nothing is told.

    Args:
        model (nn.Module): The model that is trained.
    """
    if any(parameter.grad is not None for parameter in model.parameters()):
        return
    # PyTorch 2.0 knows no such mark.
    mark = getattr(getattr(torch, 'compiler', None), 'cudagraph_mark_step_begin', None)
    if mark is not None:
        mark()
