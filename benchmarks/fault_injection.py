"""What kills a training from within, at the moment that a variable names.

``custom_imports`` of the benchmarks' configs name this module. ``FAULT`` is one
of :data:`FAULTS` and ``FAULT_AT`` the iteration of ``FAULT_STAGE`` (``pretrain`` or
``adapt``) from which on it strikes at the next occasion. ``FAULT_LOG`` is a file
that is told every iteration.
"""

from __future__ import annotations

import os
import signal
from typing import Any, Callable

from mmengine.fileio import LocalBackend
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmpose.registry import HOOKS
from torch.optim import SGD
from yapf.yapflib import yapf_api

from mmregda.engine import stages

# MMEngine lays its config out for every checkpoint, in a second.
yapf_api.FormatCode = lambda text, **_: (text, True)

_armed = False


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def before(owner: Any, name: str, happens: Callable, act: Callable) -> None:
    """Act before calls of a function, once armed, if its arguments are such."""
    function = getattr(owner, name)

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        if _armed and happens(*args):
            act(*args)
        return function(*args, **kwargs)

    setattr(owner, name, wrapped)


def in_a_step() -> None:
    """Before the second step: of a method, when one player has made its own."""
    seen = []

    def is_second(optimizer: SGD, *_: Any) -> bool:
        seen.append(optimizer)
        return len(seen) > 1

    before(SGD, 'step', is_second, lambda *_: die())


def at_half_a_checkpoint() -> None:
    def write_half(backend: LocalBackend, content: bytes, path: str) -> None:
        with open(path, 'wb') as file:
            file.write(content[: len(content) // 2])
        die()

    before(LocalBackend, 'put', lambda *_: True, write_half)


def before_renaming(end: str) -> Callable[[], None]:
    def install() -> None:
        before(os, 'replace', lambda _, to: str(to).endswith(end), lambda *_: die())

    return install


def before_removing() -> None:
    before(os, 'remove', lambda path: str(path).endswith('.pth'), lambda *_: die())


def before_keeping_weights() -> None:
    before(stages, '_keep_weights', lambda *_: True, lambda *_: die())


FAULTS = {
    'in a step': in_a_step,
    'in a validation': lambda: None,
    'half a checkpoint written': at_half_a_checkpoint,
    'checkpoint not yet renamed': before_renaming('.pth'),
    'checkpoint not yet named': before_renaming('last_checkpoint'),
    'outdated not yet removed': before_removing,
    'pretrained, weights not kept': before_keeping_weights,
    'pretrained, weights not yet renamed': before_renaming('source_only.pth'),
    'pretrained, not yet adapting': lambda: None,
}
"""dict: How to prepare each fault, by its name."""

AT_CHANGE_OF_STAGE = [name for name in FAULTS if name.startswith('pretrained')]


@HOOKS.register_module()
class FaultHook(Hook):
    """Tells of every iteration, and arms the fault when its time has come."""

    priority = 'VERY_HIGH'

    def before_train(self, runner: Runner) -> None:
        global _armed
        adapts = 'adaptation' in runner.cfg.model
        self._stage = 'adapt' if adapts else 'pretrain'
        self._fault = os.environ.get('FAULT', '')
        self._log('begin', runner.iter)
        if self._fault == 'pretrained, not yet adapting' and adapts:
            die()
        _armed = self._fault in AT_CHANGE_OF_STAGE
        if self._fault and self._stage == os.environ['FAULT_STAGE']:
            FAULTS[self._fault]()
        else:
            self._fault = ''

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None
    ) -> None:
        global _armed
        if self._fault and runner.iter + 1 >= int(os.environ['FAULT_AT']):
            _armed = True

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs=None
    ) -> None:
        self._log('done', runner.iter + 1)

    def after_val_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs=None
    ) -> None:
        if _armed and self._fault == 'in a validation':
            die()

    def _log(self, event: str, iteration: int) -> None:
        with open(os.environ['FAULT_LOG'], 'a') as file:
            file.write(f'{event} {self._stage} {iteration}\n')
