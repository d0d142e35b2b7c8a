"""Fine-tuning on a few labelled images of the target."""

from __future__ import annotations

from mmpose.registry import MODELS

from mmregda.models.adaptations.source_only import SourceOnly


@MODELS.register_module()
class FineTuning(SourceOnly):
    """Further training on the target's few labelled images alone.

    What they are worth without any unlabelled image: the baseline of
    :class:`~mmregda.models.adaptations.FewLabels`.
    """

    label = 'fine-tuning on a few target labels'

    domains = ('labeled_target',)
