"""Stop the run on a NaN or infinite loss."""

from __future__ import annotations

from typing import Any, Container, Dict, List, Optional

import torch
from mmengine.dist import all_reduce
from torch import Tensor

from mmregda.datasets.views import views_of
from mmregda.engine.player_optim_wrappers import by_player
from mmregda.errors import InputError


def first_not_finite(
    state_dict: Dict[str, Any], parameters: Container[str]
) -> Optional[str]:
    """The first weight or running statistic that is not finite, by its name.

    Of other buffers NaN alone counts: a mask may be minus infinity.
    """
    for name, tensor in state_dict.items():
        if isinstance(tensor, Tensor) and tensor.is_floating_point():
            counted = name in parameters or 'running_' in name
            if not (tensor.isfinite() if counted else ~tensor.isnan()).all():
                return name
    return None


def require_finite(
    when: str, optim_wrapper: Any, log_vars: Dict[str, Tensor], data_batch: Any
) -> None:
    """Stop a run at the first loss that is not finite.

    What was minimised is checked, and what is logged with ``loss`` in its
    name: an accuracy may be undefined, and an infinite *gradient* of mixed
    precision is for the gradient scaler to handle. It is one wait for the
    device in an iteration, when its work is done; MMEngine waits there in any
    case, to take the scalars down. All processes stop together.

    Args:
        when (str): For the message, such as ``iteration 3``.
        optim_wrapper (OptimWrapper | OptimWrapperDict): What has stepped.
        log_vars (dict[str, Tensor]): What the model has returned, in the order in
            which it was minimised.
        data_batch (dict): An MMPose batch, or one for each domain.

    Raises:
        InputError: With the loss and the images.
    """
    values = {name: value for name, value in log_vars.items() if 'loss' in name}
    if 'loss' in values:  # MMPose's sum of all says least.
        values['loss'] = values.pop('loss')
    for player, wrapper in by_player(optim_wrapper).items():
        minimized = getattr(wrapper, 'minimized', [])
        if minimized:
            values[f'what {player} minimises'] = sum(minimized)
            minimized.clear()
    if not values:
        return
    scalars = [torch.as_tensor(value).detach().float() for value in values.values()]
    device = max((s.device for s in scalars), key=lambda device: device.type == 'cuda')
    finite = torch.stack([scalar.to(device) for scalar in scalars]).isfinite()
    everywhere = finite.all().int()
    all_reduce(everywhere, 'min')
    if everywhere:
        return
    if finite.all():
        raise InputError(f'{when}: a loss of another process is not finite')
    # What comes after the first is its consequence.
    first = finite.tolist().index(False)
    listed = '\n'.join(f'  {path}' for path in images_of(data_batch))
    raise InputError(
        f'{when}: {list(values)[first]} is {float(scalars[first])}. The images are\n'
        f'{listed}\nNothing of it is saved. Look at these images and their labels, at '
        'model.data_preprocessor and model.head.loss, or lower the learning rate.'
    )


def images_of(data_batch: Any) -> List[str]:
    """The paths of a batch's images, with the domain if there are several."""
    if 'data_samples' in data_batch:
        data_batch = {'': data_batch}
    # All views of a domain are of the same images.
    first_views = {d: next(iter(views_of(b).values())) for d, b in data_batch.items()}
    return [
        f'{domain} {sample.get("img_path", "(no path)")}'.strip()
        for domain, batch in first_views.items()
        for sample in batch['data_samples']
    ]
