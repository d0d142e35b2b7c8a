"""What an iteration minimises, written down for when it goes wrong."""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from typing import Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

from torch import Tensor


class Minimization(NamedTuple):
    """One backward pass.

    Attributes:
        loss (Tensor): A scalar on its device, detached.
        players (tuple[str]): Who steps.
        domains (tuple[str]): Whose batches it was computed of.
    """

    loss: Tensor
    players: Tuple[str, ...]
    domains: Tuple[str, ...]


class Journal:
    """Writes without waiting for the device.

    Args:
        inputs (dict[str, list[Tensor]]): Each domain's, of one view or several,
            by which it is known.
    """

    def __init__(self, inputs: Dict[str, List[Tensor]]) -> None:
        self.minimizations: List[Minimization] = []
        self._inputs = inputs
        self._domains: List[str] = []

    def passed(self, inputs: Tensor) -> None:
        """Inputs have passed the feature extractor."""
        for domain, known in self._inputs.items():
            if any(one is inputs for one in known):
                self._domains.append(domain)

    def minimized(self, loss: Tensor, players: Sequence[str]) -> None:
        """A loss was minimised."""
        domains = tuple(dict.fromkeys(self._domains))
        if not domains and self.minimizations:  # It reuses the features.
            domains = self.minimizations[-1].domains
        self._domains.clear()
        self.minimizations.append(Minimization(loss.detach(), tuple(players), domains))


_journal: ContextVar[Optional[Journal]] = ContextVar('journal', default=None)


@contextmanager
def kept(journal: Journal) -> Iterator[None]:
    """Within, what is minimised is written into the journal."""
    token = _journal.set(journal)
    try:
        yield
    finally:
        _journal.reset(token)
        journal._inputs = {}  # The batch need not stay in memory.


def current() -> Optional[Journal]:
    """The journal that is kept, if one is."""
    return _journal.get()
