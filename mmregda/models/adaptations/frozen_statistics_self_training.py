"""Self-training with frozen statistics."""

from __future__ import annotations

from typing import Dict, Optional

from mmengine.optim import OptimWrapperDict
from mmpose.registry import MODELS
from torch import Tensor, nn

from mmregda.errors import InputError
from mmregda.models.adaptations.averaged_teacher import AveragedTeacher, student
from mmregda.models.adaptations.base import BaseAdaptation, minimize
from mmregda.models.adaptations.view_teacher import labels_in_view, taught_loss
from mmregda.models.batch_norm import frozen_statistics


@MODELS.register_module()
class FrozenStatisticsSelfTraining(BaseAdaptation):
    r"""DeepLabCut's video adaptation (`Ye et al.`_, Nature Communications 2024).

    The model that it starts from labels the target once and for all, and learns those
    labels that are likelier than a threshold t in other views of the same images:

    .. math::
        \min_{\psi, f} L_T(p, w(\mathcal{J}(p_0)); c_0 \ge t)

    Batch normalisation predicts with the start's running statistics, in training too,
    and updates none: the opposite of :class:`~mmregda.models.adaptations.AdaBN`. It
    needs no source. (The start is kept and labels each image when it is drawn, which
    is the same as to write its labels down.)

    Args:
        head (dict, optional): Not used; no head is added.
        threshold (float): t, of the probability around a prediction. Defaults to 0.1.

    .. _Ye et al.: https://doi.org/10.1038/s41467-024-48792-2
    """

    label = 'self-training with frozen statistics'

    domains = ('target',)
    views = ('teacher', 'student')

    def __init__(self, head: Optional[dict] = None, threshold: float = 0.1) -> None:
        super().__init__()
        if threshold > 1:
            raise InputError(
                f'FrozenStatisticsSelfTraining: threshold is {threshold}, but no '
                'probability exceeds 1, so nothing would be learned. Set '
                'model.adaptation.threshold to a number from 0 to 1 (0.1 by default).'
            )
        self.threshold = threshold
        self._begun = False

    def attach(self, model: nn.Module) -> None:
        self.teacher = AveragedTeacher(student(model), momentum=0.0)

    def step(
        self,
        model: nn.Module,
        batches: Dict[str, dict],
        optim_wrapper: OptimWrapperDict,
    ) -> Dict[str, Tensor]:
        if not self._begun:
            # Weights are loaded by now. Of a resumed run they are not the start's.
            if not self.teacher.num_updates:
                self.teacher.update(student(model))
            self._begun = True
        teacher, other = (batches['target'][view] for view in self.views)
        # The backward pass as well: parts of a batch are computed again in it.
        self.teacher.eval()  # Labels do not depend on a dropout's luck.
        with frozen_statistics(*model.features, model.head):
            with model.autocast(optim_wrapper):
                said = self.teacher(teacher['inputs'], model.micro_batches)
                labels = labels_in_view(self.space, said, teacher, other)
                kept = labels.inside & (labels.confidence >= self.threshold)
                p = model.head(model.extract_feat(other['inputs']))
                loss_self = taught_loss(self.space, labels, kept, p)
            loss = self.space.loss_unit(p) * loss_self
            minimize(loss, optim_wrapper, ('feature_extractor', 'head'))
        return dict(
            loss_self=loss_self.detach(),
            confidence=labels.confidence.mean(),
            kept=kept.float().mean(),
        )
