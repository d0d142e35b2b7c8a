"""Fine-tuning on a few labelled images of the target."""

from __future__ import annotations

from mmpose.registry import MODELS

from mmregda.models.adaptations.source_only import SourceOnly


@MODELS.register_module()
class FineTuning(SourceOnly):
    """Fine-tuning on the few labelled target images alone.

    It is the baseline of :class:`~mmregda.models.adaptations.FewLabels`: it shows what
    the labels are worth without unlabelled images.
    """

    label = 'fine-tuning on a few target labels'

    domains = ('labeled_target',)
