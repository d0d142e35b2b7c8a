"""Optimisers of players that step in turn, also in mixed precision."""

from __future__ import annotations

from collections import deque
from contextlib import contextmanager
from functools import cached_property
from typing import Any, Deque, Dict, Iterator, List, Optional, Union

import torch
from mmengine.dist import all_reduce_params
from mmengine.optim import AmpOptimWrapper, OptimWrapper, OptimWrapperDict
from mmpose.registry import OPTIM_WRAPPERS
from torch import Tensor, nn

from mmregda.errors import InputError

# Before PyTorch 2.3 gradients were scaled on GPUs alone.
SCALES_ON_CPU = hasattr(torch.amp, 'GradScaler')
_GradScaler = torch.amp.GradScaler if SCALES_ON_CPU else torch.cuda.amp.GradScaler


class SharedGradScaler(_GradScaler):
    """A gradient scaler for optimisers that share backward passes.

    After a backward pass each optimiser looks for overflow in its own
    gradients and steps or does not; the scale must stay what it is until the
    last of them has. Nobody here knows which is the last, but the next
    backward pass comes after it: the scale is updated then, by what all of
    them found, or when it is saved.

    Args:
        fixed (bool): Whether the scale stays ``init_scale``. Defaults to
            False.
        **kwargs: As in :class:`torch.amp.GradScaler`.
    """

    def __init__(self, fixed: bool = False, **kwargs) -> None:
        super().__init__(**kwargs)
        self._fixed_scale = kwargs['init_scale'] if fixed else None
        self._stepped = False

    def scale(self, outputs: Tensor) -> Tensor:
        """Multiply a loss by the scale."""
        self._settle()
        return super().scale(outputs)

    def step(self, optimizer: torch.optim.Optimizer, **kwargs) -> Optional[float]:
        """Step, unless a gradient of this optimiser is not finite."""
        self._stepped = True
        return super().step(optimizer, **kwargs)

    def state_dict(self) -> Dict[str, Any]:
        """The scale and its growth, as the next backward pass has them."""
        self._settle()
        return super().state_dict()

    def _settle(self) -> None:
        if self._stepped:
            self.update(self._fixed_scale)
            self._stepped = False


@OPTIM_WRAPPERS.register_module()
class PlayerOptimWrapper(OptimWrapper):
    """MMEngine's wrapper, for one of several players that step in turn.

    Of several processes, each player's gradients are averaged before they are clipped
    and it steps. Arguments are those of :class:`mmengine.optim.OptimWrapper`.

    Attributes:
        averages (bool): Whether to average. A model that is wrapped in PyTorch's
            ``DistributedDataParallel`` does so itself. Defaults to False.
    """

    averages = False

    @cached_property
    def minimized(self) -> Deque[Tensor]:
        """Deque[Tensor]: The last losses that went backward from here."""
        return deque(maxlen=100)

    @property
    def parameters(self) -> List[nn.Parameter]:
        """list[nn.Parameter]: What is stepped."""
        return [p for group in self.optimizer.param_groups for p in group['params']]

    def backward(self, loss: Tensor, **kwargs: Any) -> None:
        """Compute gradients of a loss."""
        self.minimized.append(loss.detach())
        super().backward(loss, **kwargs)

    def average(self) -> None:
        """Average the gradients over the processes.

        Before they are clipped, and before a gradient scaler looks for overflow, so
        that all processes see the same. Parameters without a gradient have to be the
        same ones in every process.
        """
        if self.averages:
            gradients = [p.grad for p in self.parameters if p.grad is not None]
            all_reduce_params(gradients, op='mean')

    def step(self, **kwargs: Any) -> None:
        """Average, clip and step."""
        self.average()
        super().step(**kwargs)


@OPTIM_WRAPPERS.register_module()
class PlayerAmpOptimWrapper(PlayerOptimWrapper, AmpOptimWrapper):
    """Mixed precision for several players, or for one model, on any device.

    What differs from MMEngine's ``AmpOptimWrapper``:

    - Players of one model share the loss scale (see
      :class:`~mmregda.engine.PlayerOptimWrapperConstructor`). An overflow in
      the gradients of one skips its step and no other's.
    - It works without a GPU.
    - bfloat16 has the range of float32, so its loss is not scaled unless
      ``loss_scale`` says so, and nothing waits for the device.

    Args:
        loss_scale (str | float | dict, optional): ``'dynamic'``, a fixed
            scale, or arguments of :class:`torch.amp.GradScaler`. Defaults to
            ``'dynamic'`` for float16 and to none for other types.
        dtype (str | torch.dtype, optional): Of the forward pass. Defaults to
            float16 on GPUs and bfloat16 on the CPU.
        **kwargs: As in :class:`mmengine.optim.OptimWrapper`.

    Raises:
        InputError: If the device cannot do with this type, or an argument is
            none of the above.
    """

    def __init__(
        self,
        loss_scale: Union[str, float, dict, None] = None,
        dtype: Union[str, torch.dtype, None] = None,
        **kwargs,
    ) -> None:
        # Past the constructor of MMEngine's own, which asks for a GPU.
        OptimWrapper.__init__(self, **kwargs)
        self.device_type = self.parameters[0].device.type
        if dtype is None:
            dtype = 'bfloat16' if self.device_type == 'cpu' else 'float16'
        self.cast_dtype = getattr(torch, str(dtype), dtype)
        _require_support(self.cast_dtype, self.device_type)
        if loss_scale is None and self.cast_dtype == torch.float16:
            loss_scale = 'dynamic'
        options = dict(enabled=loss_scale is not None)
        if isinstance(loss_scale, (int, float)):
            options.update(init_scale=float(loss_scale), fixed=True)
        elif isinstance(loss_scale, dict):
            options.update(loss_scale)
        elif loss_scale not in (None, 'dynamic'):
            raise InputError(
                'mixed precision: loss_scale must be "dynamic", a number or a dict, '
                f'not {loss_scale!r}'
            )
        if SCALES_ON_CPU:
            options.update(device=self.device_type)
        self.loss_scaler = SharedGradScaler(**options)

    def step(self, **kwargs) -> None:
        """Average, clip the true gradients and step, unless they overflowed."""
        self.average()
        if all(p.grad is None for p in self.parameters):
            return  # the scaler would miss them
        if self.loss_scaler.is_enabled():
            _begin_momenta(self.optimizer)
        if self.clip_grad_kwargs:
            self.loss_scaler.unscale_(self.optimizer)
            self._clip_grad()
        self.loss_scaler.step(self.optimizer, **kwargs)

    def load_state_dict(self, state_dict: dict) -> None:
        """Load the optimiser's state and the scale.

        Training that was in another precision until now has no scale to go on
        with: it begins anew.
        """
        state_dict = dict(state_dict)
        scale = state_dict.pop('loss_scaler', None)
        if scale and self.loss_scaler.is_enabled():
            self.loss_scaler.load_state_dict(scale)
        super().load_state_dict(state_dict)

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """The precision of a forward pass."""
        with OptimWrapper.optim_context(self, model), torch.autocast(
            self.device_type, dtype=self.cast_dtype
        ):
            yield


def by_player(one_or_more: Any) -> Dict[str, Any]:
    """Optimisers, schedules, or the states of either; one by itself under ''."""
    several = isinstance(one_or_more, (dict, OptimWrapperDict))
    if several and 'param_groups' not in one_or_more:
        return dict(one_or_more.items())
    return {'': one_or_more}


def _begin_momenta(optimizer: torch.optim.Optimizer) -> None:
    """Give a fused SGD the momenta that its first step would begin with.

    PyTorch allocates them without a value and has the kernel fill them in, which
    does nothing if a gradient has overflowed. The next step would take what was in
    that memory for momenta. Zeros are what the first step is the same with (with
    dampening, which it would be spared, it is dampened like all others).
    """
    if not isinstance(optimizer, torch.optim.SGD):
        return
    for group in optimizer.param_groups:
        if group.get('fused') and group['momentum']:
            for parameter in group['params']:
                state = optimizer.state[parameter]
                if parameter.grad is not None and state.get('momentum_buffer') is None:
                    state['momentum_buffer'] = torch.zeros_like(parameter)


def _require_support(dtype: torch.dtype, device_type: str) -> None:
    """Raise :class:`InputError` if a device cannot train in this type."""
    if dtype not in (torch.float16, torch.bfloat16):
        raise InputError(
            f'mixed precision: dtype must be "bfloat16" or "float16", not "{dtype}"'
        )
    if dtype == torch.float16 and device_type == 'cpu' and not SCALES_ON_CPU:
        raise InputError(
            f'mixed precision: PyTorch {torch.__version__} trains in float16 on GPUs '
            'alone. Use bfloat16.'
        )
    if (
        dtype == torch.bfloat16
        and device_type == 'cuda'
        and not torch.cuda.is_bf16_supported()
    ):
        raise InputError(
            f'mixed precision: {torch.cuda.get_device_name()} has no bfloat16. Use '
            'float16.'
        )
