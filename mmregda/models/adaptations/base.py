"""What every adaptation method shares."""

from __future__ import annotations

from abc import abstractmethod
from contextlib import contextmanager
from typing import Dict, Iterator, List, Optional, Sequence, Tuple

from mmengine.model import BaseModule
from mmengine.optim import OptimWrapper, OptimWrapperDict
from torch import Tensor, nn

from mmregda.codecs.position_space import PositionSpace
from mmregda.models.batch_norm import counted


class BaseAdaptation(BaseModule):
    """A method that adapts a keypoint model to an unlabelled domain.

    A method owns the networks it adds and writes one iteration as
    :meth:`step`. The networks it shares with the model are reached through the
    model's named parts: ``model.extract_feat`` (psi, whose modules are
    ``model.features``) and ``model.head`` (f).

    To add a method, write one such class in a file of its own, register it in
    ``MODELS`` and name it in the config as the model's ``adaptation``.

    Args:
        head (dict): The config of the model's head f, for a method that draws
            further heads of the same kind. Others do not use it.
    """

    label: str = ''
    """str: What tables and figures call the method; its class's name without one."""

    domains: Tuple[str, ...] = ('source', 'target')
    """tuple[str]: Whose batches :meth:`step` takes: ``source`` (labelled),
    ``target`` (without labels), ``labeled_target`` (a few labelled images of the
    target). A method without ``source`` is source-free: it starts from psi and f of
    a checkpoint."""

    views: Tuple[str, ...] = ()
    """tuple[str]: The views of each target image that :meth:`step` takes, such as
    ``('teacher', 'student')``; with none, a target batch is an ordinary one."""

    adversarial_regressor: Optional[nn.Module] = None
    """nn.Module, optional: The method's second regressor of keypoints, f', if
    it has one. What compares f and f' finds it here."""

    space: PositionSpace
    """PositionSpace: What f predicts, from which the model has it before
    :meth:`attach`. With it a method need not know whether positions are the pixels
    of heatmaps or SimCC's bins."""

    def __init__(self, head: Optional[dict] = None) -> None:
        super().__init__()

    def attach(self, model: nn.Module) -> None:
        """Called once, with the model built, for a method that needs its parts."""

    def players(self) -> Dict[str, List[nn.Module]]:
        """The networks that the method adds, by the optimiser that steps them.

        Returns:
            dict[str, list[nn.Module]]: Every module that holds parameters of
            the method, under the keys that ``optim_wrapper`` in the config
            has beside ``feature_extractor`` and ``head``.
        """
        return {}

    @abstractmethod
    def step(
        self,
        model: nn.Module,
        batches: Dict[str, dict],
        optim_wrapper: OptimWrapperDict,
    ) -> Dict[str, Tensor]:
        """Train for one iteration.

        Args:
            model (DomainAdaptiveTopdown): The model that is adapted.
            batches (dict): A batch on the device for each of ``domains``:
                ``inputs`` (B, 3, H, W) and ``data_samples``, labelled but for
                those of ``target``. With ``views``, the target's is a dict of
                such batches, of the same images in the same order.
            optim_wrapper (OptimWrapperDict): One optimiser for each player.

        Returns:
            dict[str, Tensor]: Scalars to log, detached, in the order in which
            they are minimised.
        """


def minimize(
    loss: Tensor, optim_wrapper: OptimWrapperDict, players: Sequence[str]
) -> None:
    """One backward pass and one step of each of the named players.

    Other players' parameters must not require gradients (see
    :func:`frozen`) or not be part of the graph.
    """
    wrappers: List[OptimWrapper] = [optim_wrapper[player] for player in players]
    wrappers[0].backward(loss)
    for wrapper in wrappers:
        wrapper.step()
        wrapper.zero_grad()


@contextmanager
def frozen(*modules: nn.Module) -> Iterator[None]:
    """Within, the modules pass gradients through and collect none."""
    parameters = [p for m in modules for p in m.parameters() if p.requires_grad]
    for parameter in parameters:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in parameters:
            parameter.requires_grad_(True)


def labeled_loss(model: nn.Module, batch: dict) -> Tensor:
    """The supervised loss of a labelled batch.

    Args:
        model (DomainAdaptiveTopdown): The model.
        batch (dict): ``inputs`` (B, 3, H, W) and ``data_samples``.

    Returns:
        Tensor: A scalar.
    """
    p = model.head(model.extract_feat(batch['inputs']))
    return model.supervised_loss(p, batch['data_samples'])


def uncounted_source_loss(model: nn.Module, source: dict) -> Tensor:
    """The supervised loss of a source batch, in no running statistics.

    The model predicts with those, and a method whose target batches pass the network
    too would otherwise predict the target with a mixture of both domains.

    Returns:
        Tensor: A scalar.
    """
    with counted(0, *model.features, model.head):
        return labeled_loss(model, source)


def pooled(feats: Sequence[Tensor]) -> Tensor:
    """Features as one vector for each image: the last map, averaged.

    Args:
        feats (Sequence[Tensor]): Feature maps, each (B, C, h, w).

    Returns:
        Tensor: (B, C) float32.
    """
    return feats[-1].float().mean(dim=(-2, -1))
