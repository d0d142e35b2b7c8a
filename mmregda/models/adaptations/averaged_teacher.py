"""A teacher that is the average of its student."""

from __future__ import annotations

import copy

import torch
from mmengine.optim import OptimWrapperDict
from torch import Tensor, nn

from mmregda.codecs.position_space import Output


class AveragedTeacher(nn.Module):
    """The exponential moving average of psi and f, as they are in training.

    With the first update it is the student. The averaged teacher is that of
    `Tarvainen & Valpola`_ (NeurIPS 2017). (MMEngine's averages wait for the device,
    once for each parameter.)

    Args:
        network (nn.Sequential): What is averaged; see :func:`student`.
        momentum (float): The part of an update that is new. In the n-th it is
            max(momentum, 9 / (8 + n)), so that in a run of less than 9 / momentum
            iterations the average is over a ninth of them.

    .. _Tarvainen & Valpola: https://arxiv.org/abs/1703.01780
    """

    def __init__(self, network: nn.Sequential, momentum: float) -> None:
        super().__init__()
        self.network = copy.deepcopy(network).requires_grad_(False)
        self.momentum = momentum
        self.register_buffer('num_updates', torch.zeros(()))

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Take in the network as it is now."""
        new = (9 / (9 + self.num_updates)).clamp(min=self.momentum)
        for average, parameter in zip(self.network.parameters(), network.parameters()):
            average.lerp_(parameter, new)
        # Frozen batch normalisation predicts with them.
        for average, buffer in zip(self.network.buffers(), network.buffers()):
            average.copy_(buffer)
        self.num_updates += 1

    @torch.no_grad()
    def forward(self, inputs: Tensor, micro_batches: int = 1) -> Output:
        """What f predicts of images (B, 3, H, W), which pass psi in parts."""
        *psi, f = self.network
        parts = [nn.Sequential(*psi)(part) for part in inputs.chunk(micro_batches)]
        return f(tuple(torch.cat(maps) for maps in zip(*parts)))

    def say(
        self, model: nn.Module, inputs: Tensor, optim_wrapper: OptimWrapperDict
    ) -> Output:
        """Take in the model as it is now, then predict images (B, 3, H, W) of it."""
        self.update(student(model))
        with model.autocast(optim_wrapper):
            return self(inputs, model.micro_batches)


def student(model: nn.Module) -> nn.Sequential:
    """psi and f as one module, which maps images to f's predictions."""
    return nn.Sequential(*model.features, model.head)
