"""What scores of a model without labels share."""

from __future__ import annotations

import weakref
from abc import abstractmethod
from typing import Any, Callable, Dict, Optional, Sequence

import torch
from mmengine.dist import all_gather_object
from mmengine.evaluator import BaseMetric
from torch import Tensor, nn
from torch.utils.data import DataLoader

from mmregda.codecs.position_space import PositionSpace, position_space_of
from mmregda.errors import InputError


class Validator(BaseMetric):
    """A score of a model on images without labels; more is better.

    A metric sees predictions. This one sees the network too, which
    :class:`~mmregda.engine.loops.DomainValLoop` shows it, and computes what it needs of
    the images. It reads no label. Metrics are named ``validator/...``, so that one can
    choose the checkpoint: ``save_best='target/validator/snd'``.

    Args:
        collect_device (str): As in MMEngine's metrics.
        prefix (str, optional): As in MMEngine's metrics.

    Attributes:
        space (PositionSpace): Of the model's predictions.
    """

    default_prefix = 'validator'
    space: PositionSpace
    _model: Callable[[], Optional[nn.Module]] = staticmethod(lambda: None)
    _source: Callable[[], Optional[DataLoader]] = staticmethod(lambda: None)

    def see(self, model: nn.Module, source: Optional[DataLoader] = None) -> None:
        """Set what is scored; only weak references are kept.

        Args:
            model (nn.Module): A top-down model.
            source (DataLoader, optional): Of the source's validation images. None
                keeps what is set.
        """
        self._model = weakref.ref(model)
        if source is not None:
            self._source = weakref.ref(source)

    @torch.no_grad()
    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Look at a batch.

        Args:
            data_batch (dict): ``inputs`` and ``data_samples``, as a dataloader gives
                them.
            data_samples (Sequence[dict]): Predictions, which are not read.

        Raises:
            InputError: If nobody has shown it the model.
        """
        model = self._model()
        if model is None:
            raise InputError(
                f'{type(self).__name__} looks at the network, which a validation by '
                'domains shows it. Set val_cfg = dict(type="DomainValLoop") and write '
                'it into val_evaluator.target.'
            )
        self.space = getattr(model, 'space', None) or position_space_of(model.head)
        inputs = model.data_preprocessor(data_batch, False)['inputs']
        self.results.append(self.look(model, inputs))

    @abstractmethod
    def look(self, model: nn.Module, inputs: Tensor) -> Any:
        """What is kept of a batch, on the host.

        Args:
            model (nn.Module): In evaluation mode.
            inputs (Tensor): (B, 3, H, W), normalised.
        """

    def evaluate(self, size: int) -> Dict[str, float]:
        """Compute the scores over the batches of all processes.

        MMEngine would gather results by sample, and each result here is a batch.
        """
        seen = [part for parts in all_gather_object(self.results) for part in parts]
        self.results.clear()
        return {f'{self.prefix}/{k}': v for k, v in self.compute_metrics(seen).items()}


def predict(model: nn.Module, inputs: Tensor) -> Any:
    """What the head gives for images (B, 3, H, W)."""
    return model.head(model.extract_feat(inputs))


class Agreement(Validator):
    """The part of the keypoints that two looks at an image place alike.

    Args:
        thr (float): How far apart they may be, in units of the input's longer side.
            Defaults to 0.05.
        **kwargs: As in :class:`Validator`.
    """

    def __init__(self, thr: float = 0.05, **kwargs) -> None:
        super().__init__(**kwargs)
        self.thr = thr

    def counted(self, found: Tensor, expected: Tensor, inputs: Tensor) -> tuple:
        """How many keypoints (B, K, 2) in pixels agree, and how many there are.

        Where one of them is no number there is none.
        """
        distance = (found.float() - expected.float()).norm(dim=-1)
        alike = distance <= self.thr * max(inputs.shape[-2:])
        return int(alike.sum()), int((~distance.isnan()).sum())

    def compute_metrics(self, results: list) -> Dict[str, float]:
        alike, number = map(sum, zip(*results))
        name = type(self).__name__.lower()
        return {name: alike / number if number else float('nan')}
