"""The rehearsal, from its beginning to its end."""

from __future__ import annotations

import copy
import logging
import os
import tempfile
import time
from typing import Any, Dict, Iterator, List, Sequence, Tuple

import torch
from mmengine.evaluator import BaseMetric
from mmengine.hooks import CheckpointHook
from mmengine.logging import MessageHub, print_log
from mmengine.runner import Runner
from mmengine.structures import BaseDataElement
from mmpose.evaluation.metrics import CocoMetric
from mmpose.models.pose_estimators import TopdownPoseEstimator
from mmpose.models.pose_estimators.base import BasePoseEstimator
from torch import nn

from mmregda.datasets.views import views_of
from mmregda.engine.distributed import unwrap
from mmregda.engine.finite import first_not_finite, require_finite
from mmregda.engine.player_optim_wrappers import by_player
from mmregda.engine.rehearsal import codecs, keypoints
from mmregda.engine.rehearsal.readers import (
    Reader,
    info_of,
    readers_of,
    undisturbed,
)
from mmregda.engine.start import LABELED
from mmregda.errors import InputError, described, during
from mmregda.evaluation.validators import Validator


def rehearse_run(runner: Runner, phase: str = 'train') -> None:
    """Take a few samples of each dataset through all that a run would do with them.

    A run after a rehearsal is that without, to the bit: what may change is a copy, and
    generators of random numbers are put back.

    Args:
        runner (Runner): Which has built the run's parts and is about to begin.
        phase (str): What it is about to do: ``train``, of which validation is part,
            ``val`` or ``test``.

    Raises:
        InputError: At the first mistake, with the entry of the config or the file,
            and what to do.
    """
    model = unwrap(runner.model)
    if not isinstance(model, BasePoseEstimator):
        return  # Of other tasks nothing is known here.
    began = time.perf_counter()
    train = readers_of(runner, 'train') if phase == 'train' else []
    judged = readers_of(runner, 'test' if phase == 'test' else 'val')
    with undisturbed():
        optimizers = runner.optim_wrapper if train else None
        try:
            # Together, so that the copied optimisers step the copied model.
            model, optimizers = copy.deepcopy((model, optimizers))
        except Exception as error:  # Its author's reasons are not the user's mistake.
            message = f'{type(model).__name__} cannot be copied, so it is not rehearsed'
            print_log(f'{message} ({error})', 'current', logging.WARNING)
            return
        _read(model, train, judged)
        if train:
            keypoints.require_start(train, model, getattr(runner, 'start', None))
            require_something_to_train(model, optimizers)
            _step(model, optimizers, train)
        names = [name for reader in judged for name in _metrics_of(reader, model)]
        if train and judged:
            _require_metrics(runner, names)
    entries = ', '.join(reader.entry for reader in [*train, *judged])
    seconds = time.perf_counter() - began
    print_log(f'Rehearsed {entries} in {seconds:.1f} s', logger='current')


def _read(model: nn.Module, train: List[Reader], judged: List[Reader]) -> None:
    """Read samples, and compare datasets, pipelines and model."""
    readers = [*train, *judged]
    topdown = isinstance(model, TopdownPoseEstimator) and model.with_head
    test_cfg = getattr(model, 'test_cfg', None) or {}
    kept = test_cfg.get('output_keypoint_indices') or ()
    for reader in readers:
        if not len(reader.dataset):
            raise InputError(
                f'{reader.entry}: {reader.kind} has no samples. Look at its annotation '
                'file, and at what its filter_cfg, indices or data_mode leave out.'
            )
        if reader in train and reader.domain in LABELED and not reader.labeled:
            raise InputError(
                f'{reader.entry}: {reader.kind} has no labels, from which the model is '
                'to learn. Give it a labelled dataset, and the unlabelled one to '
                'train_dataloader.target.'
            )
        if reader in train and reader.domain == 'target' and reader.has_keypoints:
            raise InputError(
                f'{reader.entry}: {reader.kind} hands the labels of the target to '
                'training. Wrap it: dict(type="UnlabeledDataset", dataset=..., '
                'pipeline=...).'
            )
        if topdown:  # Transforms fail at other numbers, and do not say why.
            num_kept = len(kept) if reader in judged else 0
            keypoints.require_numbers(reader, model, num_kept)
        reader.read()
    found = first_not_finite(model.state_dict(), dict(model.named_parameters()))
    if found:
        raise InputError(
            f'"{found}" of the model is not finite before any training. Look at the '
            'checkpoint that it starts from (load_from, pretrain.checkpoint, init_cfg '
            'or resume); an earlier one may be whole.'
        )
    if topdown:
        keypoints.require_names(readers, kept)
        keypoints.require_flips(readers, bool(test_cfg.get('flip_test')))
        for reader in readers:
            codecs.require_codec(reader, model)
            codecs.require_input_size(reader, model)
        codecs.report_decoding(model)
        codecs.require_fitting_loss(model)


def require_something_to_train(model: nn.Module, optimizers: Any) -> None:
    """Refuse a player of whose parameters none would change.

    Raises:
        InputError: If all are frozen, or have a learning rate of 0.
    """
    names = {id(p): name for name, p in model.named_parameters()}
    for player, wrapper in by_player(optimizers).items():
        groups = wrapper.optimizer.param_groups
        own = [p for group in groups for p in group['params'] if id(p) in names]
        rates = {
            float(group.get('initial_lr', group['lr']))
            for group in groups
            if any(p.requires_grad for p in group['params'])
        }
        if not own or any(rates):
            continue
        entry = f'optim_wrapper.{player}' if player else 'optim_wrapper'
        whole = dict.fromkeys(f'model.{names[id(p)].split(".")[0]}' for p in own)
        parts = ' and '.join(whole)
        if not rates:
            raise InputError(
                f'{entry} has nothing to train: all of {parts} is frozen. Look at '
                'frozen_stages and at what else sets requires_grad to False.'
            )
        raise InputError(
            f'{entry} has nothing to train: the learning rate of all of {parts} is 0. '
            f'Look at {entry}.optimizer.lr and paramwise_cfg (lr_mult).'
        )


def _step(model: nn.Module, optimizers: Any, train: List[Reader]) -> None:
    """Train the copy for one iteration."""
    batches = {reader.domain: reader.batch() for reader in train}
    batch = batches.get('', batches)
    for wrapper in by_player(optimizers).values():
        wrapper.averages = False  # Each process rehearses for itself.
    model.train()
    for module in model.modules():
        if isinstance(module, nn.SyncBatchNorm):
            module.eval()
    method = getattr(model, 'adaptation', None)
    what = f' with {type(method).__name__}' if method is not None else ''
    with during(
        f'a training step of {type(model).__name__}{what} fails on a batch of '
        f'{" and ".join(reader.entry for reader in train)}',
        "Look at the channels of model's backbone, neck and head, at sizes "
        '(heatmap_size or simcc_split_ratio of head, decoder and GenerateTarget), at '
        'model.head.loss and model.adaptation, and whether labels are made '
        '(GenerateTarget).',
    ):
        # Of the class: what a compiler puts in its place may be the run's own.
        log_vars = type(model).train_step(model, batch, optim_wrapper=optimizers)
    require_finite('before any training', optimizers, log_vars, batch)


@torch.no_grad()
def _metrics_of(reader: Reader, model: nn.Module) -> Iterator[str]:
    """Predict on a few samples of a validation set; the names of its metrics."""
    model.eval()
    batch = reader.batch(of_each_part=True)
    flips = (getattr(model, 'test_cfg', None) or {}).get('flip_test')
    if flips and not getattr(model, 'metainfo', None):
        for view in views_of(reader.samples[0]).values():
            if view['data_samples'].get('flip_indices') is None:
                raise InputError(
                    'model.test_cfg.flip_test needs to know which keypoints are mirror '
                    f'images of each other, and {reader.kind} of {reader.entry} does '
                    f'not say. Give {reader.entry}.dataset a metainfo (and keep '
                    'flip_indices among the meta_keys of PackPoseInputs), or set '
                    'model.test_cfg.flip_test = False.'
                )
    with during(
        f'{type(model).__name__} cannot predict on a batch of {reader.entry}',
        'Look at model.test_cfg, model.head and its decoder.',
    ):
        predicted = type(model).val_step(model, batch)
    samples = [
        sample.to_dict() if isinstance(sample, BaseDataElement) else sample
        for sample in predicted
    ]
    for metric in reader.evaluator.metrics if reader.evaluator else ():
        for name in _computed(metric, model, batch, samples, reader):
            name = f'{metric.prefix}/{name}' if metric.prefix else name
            yield f'{reader.domain}/{name}' if reader.domain else name


def _computed(
    metric: BaseMetric, model: nn.Module, batch: Any, samples: List, reader: Reader
) -> Sequence[str]:
    """The names of what a metric computes, here of two samples."""
    kind = f'{type(metric).__name__} of {reader.metrics}'
    _require_own_annotations(metric, reader, kind)
    metric = copy.deepcopy(metric)
    metric.results = []
    if isinstance(metric, Validator):
        metric.see(model)
    with tempfile.TemporaryDirectory() as folder:
        if getattr(metric, 'outfile_prefix', None):
            metric.outfile_prefix = os.path.join(folder, 'results')
        try:
            metric.process(copy.deepcopy(batch), copy.deepcopy(samples))
            return list(metric.compute_metrics(metric.results))
        except Exception as error:
            reason = str(error) if isinstance(error, InputError) else described(error)
            problem = 'cannot be computed' if reader.labeled else 'needs labels'
            raise InputError(
                f'{kind} {problem} on {reader.kind} of {reader.entry} ({reason}). Set '
                f'{reader.metrics} = [], or take a metric for what this dataset has.'
            ) from error


def _require_own_annotations(metric: BaseMetric, reader: Reader, kind: str) -> None:
    """Refuse labels of other images, found by a dataset's name or by a shared id."""
    if isinstance(metric, CocoMetric) and reader.num_parts > 1:
        paths: Dict[Any, str] = {}
        for index in range(len(reader.dataset)):
            info = info_of(reader.dataset, index) or {}
            path, image_id = info.get('img_path'), info.get('img_id')
            other = paths.setdefault(image_id, path)
            if other != path:
                raise InputError(
                    f'{kind} knows images by their ids, and "{other}" and "{path}" of '
                    f'{reader.entry} have the id {image_id}. Number the images of all '
                    'files, or take a metric that needs no ids.'
                )
    told = MessageHub.get_current_instance().runtime_info
    found = told.get(f'{reader.metainfo.get("dataset_name")}_ann_file')
    read = getattr(getattr(metric, 'coco', None), 'anno_file', None) or []
    own = getattr(reader.innermost, 'ann_file', None)
    if found and found in read and found != own:
        raise InputError(
            f'{kind} would judge {reader.kind} of {reader.entry} by "{found}", which '
            'belongs to another dataset of the same dataset_name. Set its ann_file, or '
            f'{reader.metrics} = [] if there are no labels.'
        )


def _require_metrics(runner: Runner, names: Sequence[str]) -> None:
    """Refuse to decide by a metric that validation does not compute."""
    for setting, metric, rule in _choices(runner):
        known = f'There are {", ".join(names)}.' if names else 'There is no metric.'
        if metric == 'auto' and names:
            if rule is None:
                with during(
                    f'{setting} is "auto", which means {names[0]} here',
                    f'Set save_best="{names[0]}" and rule="greater" or rule="less".',
                ):
                    CheckpointHook(save_best=names[0])
        elif metric not in names:
            raise InputError(
                f'{setting} is "{metric}", which is no metric of this validation. '
                f'{known} Leave it out, or give val_evaluator that metric.'
            )


def _choices(runner: Runner) -> Iterator[Tuple[str, str, Any]]:
    """What is decided by metrics: the setting, the metric, and what is better."""
    schedulers = by_player(runner.param_schedulers or []).values()
    for part in (*runner.hooks, *(s for group in schedulers for s in group)):
        kind = type(part).__name__
        if getattr(part, 'save_best', None):
            for metric, rule in zip(part.key_indicators, part.rules):
                yield f'save_best of {kind}', metric, rule
        if isinstance(getattr(part, 'monitor', None), str):
            yield f'monitor of {kind}', part.monitor, None
