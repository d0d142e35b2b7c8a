"""The decay of the learning rate in domain-adversarial training."""

from __future__ import annotations

from typing import List

from mmengine.optim.scheduler.lr_scheduler import LRSchedulerMixin
from mmengine.optim.scheduler.param_scheduler import _ParamScheduler
from mmpose.registry import PARAM_SCHEDULERS


@PARAM_SCHEDULERS.register_module()
class InverseDecayLR(LRSchedulerMixin, _ParamScheduler):
    r"""Decays the learning rate as in DANN (Ganin et al., JMLR 2016).

    .. math::
        lr(i) = lr_0\,(1 + \gamma i)^{-p}

    with i the number of iterations (or epochs, by ``by_epoch``) so far.

    Args:
        optimizer (Optimizer | OptimWrapper): As in MMEngine's schedulers, and
            so are all other arguments.
        gamma (float): Defaults to 1e-4.
        power (float): p. Defaults to 0.75.
    """

    def __init__(
        self, optimizer, *args, gamma: float = 1e-4, power: float = 0.75, **kwargs
    ) -> None:
        self.gamma = gamma
        self.power = power
        super().__init__(optimizer, *args, **kwargs)

    def _get_value(self) -> List[float]:
        factor = (1 + self.gamma * self.last_step) ** -self.power
        return [base * factor for base in self.base_values]
