"""One small batch through prediction and metrics."""

from __future__ import annotations

import copy
import os
import tempfile
from typing import Any, Dict, List, Optional, Sequence

import torch
from mmengine.evaluator import BaseMetric
from mmengine.hooks import CheckpointHook
from mmengine.logging import MessageHub
from mmengine.structures import BaseDataElement
from torch import nn

from mmregda.datasets.views import views_of
from mmregda.engine.rehearsal.keypoints import num_predicted
from mmregda.engine.rehearsal.network import batch_of
from mmregda.engine.rehearsal.parts import Choice, Reader
from mmregda.errors import InputError, described, during
from mmregda.evaluation.validators import Validator


@torch.no_grad()
def metrics_of(reader: Reader, model: nn.Module) -> List[str]:
    """Predict on a few samples of a validation set; the names of its metrics."""
    if (getattr(model, 'test_cfg', None) or {}).get('flip_test'):
        _require_flip_indices(reader, model)
    batch = batch_of(reader)
    with during(
        f'{type(model).__name__} cannot predict on a batch of {reader.entry}',
        'Look at model.test_cfg, model.head and its decoder.',
    ):
        predicted = type(model).val_step(model, batch)
    samples = [
        sample.to_dict() if isinstance(sample, BaseDataElement) else sample
        for sample in predicted
    ]
    names = []
    for metric in reader.evaluator.metrics if reader.evaluator else ():
        names += _rehearsed(metric, model, batch, samples, reader)
    return names


def _rehearsed(
    metric: BaseMetric,
    model: nn.Module,
    batch: Any,
    samples: Sequence[dict],
    reader: Reader,
) -> List[str]:
    """The names of what a metric computes, here of two samples."""
    kind = type(metric).__name__
    _require_own_annotations(metric, reader)
    metric = copy.deepcopy(metric)
    metric.results = []
    if isinstance(metric, Validator):
        metric.see(model)
    with tempfile.TemporaryDirectory() as folder:
        if getattr(metric, 'outfile_prefix', None):
            metric.outfile_prefix = os.path.join(folder, 'results')
        try:
            metric.process(copy.deepcopy(batch), copy.deepcopy(list(samples)))
            found: Dict[str, Any] = metric.compute_metrics(metric.results)
        except InputError as error:
            raise InputError(f'{kind} of {reader.metrics}: {error}') from error
        except Exception as error:
            raise InputError(_complaint(kind, reader, error)) from error
    return [f'{metric.prefix}/{name}' if metric.prefix else name for name in found]


def _complaint(kind: str, reader: Reader, error: Exception) -> str:
    if not reader.labeled:
        return (
            f'{kind} of {reader.metrics} needs labels, and {reader.kind} of '
            f'{reader.entry} has none ({described(error)}). Set {reader.metrics} = [] '
            'or to metrics that need no labels.'
        )
    return (
        f'{kind} of {reader.metrics} cannot be computed on {reader.kind} of '
        f'{reader.entry}: {described(error)}. Take a metric for what this dataset has, '
        "or look at the metric's arguments."
    )


def _require_own_annotations(metric: BaseMetric, reader: Reader) -> None:
    """Refuse labels that MMPose found by a dataset's name, and are another one's."""
    told = MessageHub.get_current_instance().runtime_info
    found = told.get(f'{reader.metainfo.get("dataset_name")}_ann_file')
    read = getattr(getattr(metric, 'coco', None), 'anno_file', None) or []
    dataset = reader.dataset
    while not hasattr(dataset, 'ann_file') and hasattr(dataset, 'dataset'):
        dataset = dataset.dataset
    own = getattr(dataset, 'ann_file', None)
    if found and found in read and found != own:
        raise InputError(
            f'{type(metric).__name__} of {reader.metrics} would judge {reader.kind} of '
            f'{reader.entry} by "{found}", which belongs to another dataset of the '
            f'same dataset_name. Set its ann_file, or {reader.metrics} = [] if there '
            'are no labels.'
        )


def _require_flip_indices(reader: Reader, model: nn.Module) -> None:
    if getattr(model, 'metainfo', None):
        return  # The model brings its own.
    for sample in reader.samples[:1]:
        for view in views_of(sample).values():
            indices: Optional[Sequence] = view['data_samples'].get('flip_indices')
            if indices is None:
                raise InputError(
                    f'model.test_cfg.flip_test needs to know which keypoints are '
                    f'mirror images of each other, and {reader.kind} of {reader.entry} '
                    f'does not say. Give {reader.entry}.dataset a metainfo (and keep '
                    'flip_indices among the meta_keys of PackPoseInputs), or set '
                    'model.test_cfg.flip_test = False.'
                )
            if num_predicted(model) and len(indices) != num_predicted(model):
                raise InputError(
                    f'model.test_cfg.flip_test: the metainfo of {reader.entry} has '
                    f'flip_indices of {len(indices)} keypoints, but the head predicts '
                    f'{num_predicted(model)}. Give {reader.entry}.dataset the metainfo '
                    'of the keypoints that are predicted.'
                )


def require_metrics(choices: Sequence[Choice], names: Sequence[str]) -> None:
    """Refuse to decide by a metric that is not among the names of a validation's."""
    for setting, metric, rule in choices:
        if not names:
            raise InputError(
                f'{setting} is "{metric}", but no metric is computed in validation. '
                'Leave it out, or give val_evaluator a metric.'
            )
        if metric == 'auto':
            if rule is None:
                with during(
                    f'{setting} is "auto", which means {names[0]} here',
                    f'Set save_best="{names[0]}" and rule="greater" or rule="less".',
                ):
                    CheckpointHook(save_best=names[0])
        elif metric not in names:
            raise InputError(
                f'{setting} is "{metric}", which is no metric of this validation. '
                f'There are {", ".join(names)}.'
            )
