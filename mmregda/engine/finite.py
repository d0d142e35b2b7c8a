"""Losses that are numbers."""

from __future__ import annotations

from typing import Any, Dict, List, Sequence

import torch
from mmengine.dist import all_reduce
from torch import Tensor, nn

from mmregda.datasets.views import views_of
from mmregda.errors import InputError


def require_finite(
    iteration: int, model: nn.Module, log_vars: Dict[str, Tensor], data_batch: Any
) -> None:
    """Stop a training at the first loss that is no number.

    What was minimised is checked, and what is logged with ``loss`` in its
    name: an accuracy may be undefined, and an infinite *gradient* of mixed
    precision is for the gradient scaler to handle. It is one wait for the
    device in an iteration, when its work is done; MMEngine waits there in any
    case, to take the scalars down. All processes stop together.

    Args:
        iteration (int): Counted from 1, for the message.
        model (nn.Module): The model. Of a
            :class:`~mmregda.models.DomainAdaptiveTopdown` players and domain
            are known.
        log_vars (dict[str, Tensor]): What the model has returned.
        data_batch (dict): An MMPose batch, or one for each domain.

    Raises:
        InputError: With the loss, the players and the images.
    """
    journal = getattr(model, 'journal', None)
    minimizations = journal.minimizations if journal else []
    losses = [loss for name, loss in log_vars.items() if 'loss' in name]
    losses += [entry.loss for entry in minimizations]
    if not losses:
        return
    device = next(model.parameters()).device
    losses = [torch.as_tensor(x, device=device).detach().float() for x in losses]
    finite = torch.stack(losses).isfinite().all()
    everywhere = finite.int()
    all_reduce(everywhere, 'min')
    if everywhere:
        return
    where = f'iteration {iteration}: '
    if not finite:
        raise InputError(where + _diagnosis(minimizations, log_vars, data_batch))
    raise InputError(where + 'a loss of another process is not finite; it says which')


def _diagnosis(
    minimizations: Sequence, log_vars: Dict[str, Tensor], data_batch: Any
) -> str:
    values = {n: float(torch.as_tensor(v).detach()) for n, v in log_vars.items()}
    # The sum of all, as MMPose's models log it, comes first and says least.
    names = sorted(values, key='loss'.__eq__)
    spoiled = [f'{n} is {values[n]}' for n in names if not _is_finite(values[n])]
    players, domains = '', None
    for entry in minimizations:
        if not _is_finite(float(entry.loss)):
            players = f', minimised by {" and ".join(entry.players)}'
            domains = entry.domains
            spoiled = spoiled or [f'what is minimised is {float(entry.loss)}']
            break
    # What comes after the first is its consequence.
    return (
        f'{spoiled[0]}{players}. The images are\n'
        + '\n'.join(f'  {path}' for path in images_of(data_batch, domains))
        + '\nNothing of this iteration is saved; the last checkpoint is as it was. '
        'Look at these images and their labels, or lower the learning rate.'
    )


def _is_finite(value: float) -> bool:
    return abs(value) < float('inf')  # False for nan, too


def images_of(data_batch: Any, domains: Any = None) -> List[str]:
    """The paths of a batch's images, with the domain if there are several."""
    if 'data_samples' in data_batch:
        data_batch = {'': data_batch}
    # All views of a domain are of the same images.
    first_views = {d: next(iter(views_of(b).values())) for d, b in data_batch.items()}
    return [
        f'{domain} {sample.get("img_path", "(no path)")}'.strip()
        for domain, batch in first_views.items()
        if not domains or domain in domains
        for sample in batch['data_samples']
    ]
