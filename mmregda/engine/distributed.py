"""Training of several players in many processes."""

from __future__ import annotations

from typing import Any, Callable, Dict, List

import torch
import torch.distributed as dist
from mmengine.optim import OptimWrapper, OptimWrapperDict
from mmengine.registry import MODEL_WRAPPERS
from torch import Tensor, nn
from torch._utils import _flatten_dense_tensors, _unflatten_dense_tensors


@MODEL_WRAPPERS.register_module()
class PlayerDistributedDataParallel(nn.Module):
    """Data parallelism for a model whose players step in turn.

    An iteration goes backward several times, each time for some players only,
    and reuses features between them. ``DistributedDataParallel`` expects one
    forward and one backward pass of everything. Here the gradients of a player
    are averaged over the processes just before its optimiser clips and steps,
    in one message, and the buffers are those of the first process after every
    iteration. So all processes hold the same parameters and buffers then.

    Args:
        module (nn.Module): The model, on its device.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module
        self._averaging = False
        _broadcast([*module.parameters(), *module.buffers()])

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Call the model."""
        return self.module(*args, **kwargs)

    def train_step(
        self, data: Dict[str, dict], optim_wrapper: OptimWrapperDict
    ) -> Dict[str, Tensor]:
        """One iteration, with gradients averaged over the processes."""
        if not self._averaging:
            for wrapper in optim_wrapper.values():
                # Before clipping, and before a gradient scaler looks for
                # overflow, so that all processes see the same.
                wrapper.step = _averaging_first(wrapper)
            self._averaging = True
        log_vars = self.module.train_step(data, optim_wrapper)
        _broadcast(list(self.module.buffers()))
        return log_vars

    def val_step(self, data: dict) -> list:
        """Predict a validation batch."""
        return self.module.val_step(data)

    def test_step(self, data: dict) -> list:
        """Predict a test batch."""
        return self.module.test_step(data)


def init_processes_without_gpu() -> None:
    """Join the processes of ``torchrun`` over gloo.

    MMEngine's launcher gives each process a GPU; on a machine without one it
    must find the processes joined already.
    """
    if not torch.cuda.is_available() and not dist.is_initialized():
        dist.init_process_group('gloo')


def _averaging_first(wrapper: OptimWrapper) -> Callable:
    step = wrapper.step

    def averaged_step(**kwargs: Any) -> None:
        groups = wrapper.optimizer.param_groups
        average_gradients([p for group in groups for p in group['params']])
        step(**kwargs)

    return averaged_step


def average_gradients(parameters: List[nn.Parameter]) -> None:
    """Replace gradients by their mean over the processes."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    for tensors in _by_type(gradients):
        flat = _flatten_dense_tensors(tensors)
        dist.all_reduce(flat)
        flat /= dist.get_world_size()
        for tensor, mean in zip(tensors, _unflatten_dense_tensors(flat, tensors)):
            tensor.copy_(mean)


def _broadcast(tensors: List[Tensor]) -> None:
    for group in _by_type([tensor.detach() for tensor in tensors]):
        flat = _flatten_dense_tensors(group)
        dist.broadcast(flat, src=0)
        for tensor, first in zip(group, _unflatten_dense_tensors(flat, group)):
            tensor.copy_(first)


def _by_type(tensors: List[Tensor]) -> List[List[Tensor]]:
    groups: Dict[str, List[Tensor]] = {}
    for tensor in tensors:
        groups.setdefault(tensor.type(), []).append(tensor)
    return list(groups.values())
