"""A feature extractor that is compiled for training."""

from __future__ import annotations

from types import MethodType
from typing import Any, Optional

import torch
from mmengine.dist import get_world_size
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmengine.utils import digit_version
from torch import Tensor, nn

from mmregda.engine.distributed import unwrap

# Modes with CUDA graphs, which a CPU leaves out, and the same without them.
CUDA_GRAPHS = {
    'reduce-overhead': 'default',
    'max-autotune': 'max-autotune-no-cudagraphs',
}


class CompileHook(Hook):
    """Trains with backbone and neck compiled by PyTorch, as ``compile`` asks for.

    They are most of the work, and each method calls them as they are. Names,
    shapes and values of the weights stay, and so do checkpoints. Validation is
    not compiled: its batches have other sizes, and metrics are to be those of
    the model as it is loaded elsewhere.

    On a GPU they run as CUDA graphs, for which it waits less. Where these do not
    work or have not been tried, the log says so, and they run without.

    Args:
        **options: As in :func:`torch.compile`, but that ``mode`` defaults to
            'reduce-overhead' (for PyTorch's own compiler, without ``options``)
            and ``dynamic`` to False.
    """

    def __init__(self, **options: Any) -> None:
        inductor = options.get('backend', 'inductor') == 'inductor'
        if inductor and 'options' not in options:
            options.setdefault('mode', 'reduce-overhead')
        self.options = options

    def before_train(self, runner: Runner) -> None:
        """Compile; it happens in the first iterations."""
        obstacle = _obstacle_to_cuda_graphs(runner)
        mode = self.options.get('mode')
        if obstacle and mode in CUDA_GRAPHS:
            self.options['mode'] = CUDA_GRAPHS[mode]
            runner.logger.info(f'Compiling without CUDA graphs: {obstacle}.')
        model = unwrap(runner.model)
        for name in ('backbone', 'neck'):
            if getattr(model, name, None) is not None:
                compile_for_training(getattr(model, name), **self.options)

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Optional[dict] = None
    ) -> None:
        """Tell CUDA graphs where an iteration begins."""
        begin_iteration(self.options.get('mode'))


def _obstacle_to_cuda_graphs(runner: Runner) -> str:
    """Why a training is not to run as CUDA graphs, or nothing."""
    if digit_version(torch.__version__) < digit_version('2.11'):
        return 'they have been tried from PyTorch 2.11 on'
    if get_world_size() > 1:
        return 'they have been tried with one process alone'
    if getattr(unwrap(runner.model), 'micro_batches', 1) > 1:
        # https://github.com/pytorch/pytorch/issues/154306
        return 'in them, what micro_batches computes again is not where it was'
    if getattr(runner.optim_wrapper, '_accumulative_counts', 1) > 1:
        return 'they would overwrite what accumulative_counts adds up'
    return ''


def compile_for_training(module: nn.Module, **options: Any) -> None:
    """Compile a module's forward pass in training mode, in place.

    Options are those of :func:`torch.compile`; ``dynamic`` defaults to False. Before
    each iteration :func:`begin_iteration` is to be called.
    """
    # A training's batches are of one size, and momenta of two or three (`counted`);
    # unless told so, PyTorch tries at the second to compile for all others as well.
    options.setdefault('dynamic', False)
    plain = type(module).forward
    compiled = torch.compile(plain, **options)

    def forward(self: nn.Module, *args: Any) -> Tensor:
        return (compiled if self.training else plain)(self, *args)

    # Not module.compile(), which would compile validation and its batch sizes, too.
    # A method and not a closure: copies of the module get their own.
    module.forward = MethodType(forward, module)


def begin_iteration(mode: Optional[str]) -> None:
    """Tell CUDA graphs that what they have computed may be overwritten.

    Their results lie where the next ones will. Left to itself PyTorch takes each pass
    without a gradient for an iteration of its own, and a method that holds it beside
    another pass computes with what has been written over it, without an error.

    Args:
        mode (str, optional): In which the feature extractor was compiled, if in one.
    """
    if mode in CUDA_GRAPHS:
        torch.compiler.cudagraph_mark_step_begin()
