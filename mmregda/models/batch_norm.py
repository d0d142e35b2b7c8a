"""What batch normalisation counts into its running statistics.

They decide how the model predicts. PyTorch updates them once for each forward
pass in training mode, and a forward pass is not always a batch: one pass may
stand for two of the algorithm, several parts may be one batch, and what is
computed again for a gradient has been counted before.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import Callable, Iterator, List, NamedTuple, Sequence, Tuple

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmregda.errors import InputError


@contextmanager
def counted(times: int, *modules: nn.Module) -> Iterator[None]:
    """Within, batch normalisation counts each batch so many times.

    A method that is written with two forward passes of an unchanged network
    over one batch can do with one: outputs and gradients are the same. The
    running statistics saw the batch twice, though, and they decide how the
    model predicts. n updates with momentum m are one with 1 - (1 - m)^n; without a
    momentum, where they are the mean of all batches, the batch is n of them.
    Not counted at all, it leaves them alone, as what is computed a second time for its
    gradient.

    Args:
        times (int): How often.
        *modules: What passes a batch within, once if ``times`` is more than 1.
    """
    norms = _norms(modules)
    if times == 0:
        with _momentum(0.0, norms):
            yield
        return
    norms = [norm for norm in norms if norm.training and times > 1]
    momenta = [norm.momentum for norm in norms]
    tracked = [norm.num_batches_tracked for norm in norms]
    tracked = [number for number in tracked if number is not None]
    for norm in norms:
        if norm.momentum is None:
            norm.momentum = times / (float(norm.num_batches_tracked) + times)
        else:
            norm.momentum = 1 - (1 - norm.momentum) ** times
    if tracked:  # Once is counted by the pass itself.
        torch._foreach_add_(tracked, times - 1)
    try:
        yield
    finally:
        for norm, momentum in zip(norms, momenta):
            norm.momentum = momentum


@contextmanager
def frozen_statistics(*modules: nn.Module) -> Iterator[None]:
    """Within, batch normalisation normalises by its running statistics alone."""
    norms = [norm for norm in _norms(modules) if norm.training]
    for norm in norms:
        norm.training = False
    try:
        yield
    finally:
        for norm in norms:
            norm.training = True


def pass_in_parts(
    network: Callable[[Tensor], Tuple[Tensor, ...]],
    parts: Sequence[Tensor],
    *modules: nn.Module,
) -> List[Tuple[Tensor, ...]]:
    """Pass the parts of a batch; running statistics are updated once.

    Each part is normalised by its own statistics, since no part knows of the
    next. What is counted is the mean and the variance of all parts together,
    as each layer has seen them.

    The modules must have been given to :func:`keep_num_values`.

    Args:
        network (Callable): What the parts pass.
        parts (Sequence[Tensor]): Each (b, 3, H, W).
        *modules: Those that the network consists of.
    """
    norms = [norm for norm in _norms(modules) if norm.training]
    before = [(norm.running_mean.clone(), norm.running_var.clone()) for norm in norms]
    seen: List[List[_Statistics]] = [[] for _ in norms]
    outputs = []
    # With momentum 1 the running statistics are those of the part.
    with _momentum(1.0, norms):
        for part in parts:
            outputs.append(network(part))
            for norm, statistics in zip(norms, seen):
                mean, var = norm.running_mean.clone(), norm.running_var.clone()
                statistics.append(_Statistics(norm.num_values, mean, var))
    for norm, (mean, var), statistics in zip(norms, before, seen):
        _update(norm, mean, var, statistics)
    return outputs


def keep_num_values(*modules: nn.Module) -> None:
    """Let batch normalisation note of how many values its statistics are."""
    for norm in _norms(modules):
        # A hook for good, so that a compiler finds it there.
        norm.register_forward_pre_hook(_note_num_values)


def _note_num_values(norm: nn.Module, args: Tuple[Tensor, ...]) -> None:
    norm.num_values = args[0].numel() // args[0].shape[1]


class _Statistics(NamedTuple):
    """Of one part: n values a channel, their mean and unbiased variance (C,)."""

    n: int
    mean: Tensor
    var: Tensor


@torch.no_grad()
def _update(
    norm: _BatchNorm, mean: Tensor, var: Tensor, parts: List[_Statistics]
) -> None:
    """One update from (mean, var), with the statistics of all parts together."""
    n = sum(part.n for part in parts)
    batch_mean = sum(part.mean * (part.n / n) for part in parts)
    squares = sum(
        part.var * (part.n - 1) + (part.mean - batch_mean).square() * part.n
        for part in parts
    )
    weight = norm.momentum
    if norm.num_batches_tracked is not None:
        norm.num_batches_tracked.add_(1)
        if weight is None:  # The mean of all batches.
            weight = 1 / norm.num_batches_tracked.float()
    norm.running_mean.copy_(mean.lerp(batch_mean, weight))
    norm.running_var.copy_(var.lerp(squares / (n - 1), weight))


def require_counting_once(network: nn.Module, entry: str) -> None:
    """Refuse gradient checkpointing of layers with batch normalisation.

    Raises:
        InputError: If the backward pass would count batches a second time.
    """
    network.train()  # What is to be frozen is frozen by this.
    for name, module in network.named_modules():
        switch = next((s for s in _CHECKPOINTING if getattr(module, s, False)), '')
        # A network passes its switch on to the blocks whose layers it is about.
        passed_on = switch and any(
            hasattr(part, switch) for part in module.modules() if part is not module
        )
        if switch and not passed_on and any(n.training for n in _norms([module])):
            raise InputError(
                f'{entry}: with {switch}, {type(module).__name__} {name} computes '
                'layers a second time in the backward pass, and batch normalisation '
                f'would count each batch twice. Set {entry}.{switch} = False and '
                'model.micro_batches = 2 (or more), which saves memory and counts '
                'each batch once.'
            )


def recomputes(network: nn.Module) -> bool:
    """Whether a network has layers that are computed again for the gradient."""
    return any(
        getattr(module, switch, False)
        for module in network.modules()
        for switch in _CHECKPOINTING
    )


# Under which MMPose, MMPretrain, timm and Transformers keep it.
_CHECKPOINTING = (
    'with_cp',
    'use_checkpoint',
    'grad_checkpointing',
    'gradient_checkpointing',
)


def _norms(modules: Sequence[nn.Module]) -> List[_BatchNorm]:
    """Batch normalisation that keeps running statistics, each layer once."""
    norms = [norm for m in modules for norm in m.modules()]
    return [
        norm
        for norm in dict.fromkeys(norms)
        if isinstance(norm, _BatchNorm) and norm.running_mean is not None
    ]


@contextmanager
def _momentum(momentum: float, norms: Sequence[_BatchNorm]) -> Iterator[None]:
    """Within, this is the momentum, and batches are not counted."""
    kept = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm, (_, tracked) in zip(norms, kept):
        # PyTorch's SyncBatchNorm insists on a count, which is another one here.
        counts = isinstance(norm, nn.SyncBatchNorm) and tracked is not None
        norm.momentum = momentum
        norm.num_batches_tracked = tracked.clone() if counts else None
    try:
        yield
    finally:
        for norm, (momentum, tracked) in zip(norms, kept):
            norm.momentum, norm.num_batches_tracked = momentum, tracked
