"""The rehearsal, from its beginning to its end."""

from __future__ import annotations

import logging
import time
from typing import List, Optional

import torch
from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.runner import Runner

from mmregda.engine.rehearsal import keypoints, network, samples, validation
from mmregda.engine.rehearsal.parts import (
    Parts,
    Reader,
    built_from,
    parts_of,
    readers_from,
    undisturbed,
)
from mmregda.errors import InputError


def rehearse(
    cfg: Config, runner: Optional[Runner] = None, phase: str = 'train'
) -> None:
    """Take a few samples of each dataset through all that a run would do with them.

    That is pipeline, collation, model, losses (the adaptation's, too), metrics and
    the construction of optimisers; no step is made. A run after a rehearsal is that
    without, to the bit: what may change is a copy, and generators of random numbers
    are put back.

    Args:
        cfg (Config): The config of the run.
        runner (Runner, optional): Which has built the run's parts and is about to
            begin. Without one they are built here and dropped again: before a
            pretraining, say, for what comes after it.
        phase (str): What it is about to do: ``train``, of which validation is part,
            ``val`` or ``test``. Defaults to ``train``.

    Raises:
        InputError: At the first mistake, with the entry of the config or the file,
            and what to do.
    """
    began = time.perf_counter()
    with undisturbed():
        parts = parts_of(runner, phase) if runner else built_from(cfg)
        _rehearse(parts)
        if runner and phase == 'train':
            _rehearse_test_sets(cfg, parts)
    entries = ', '.join(reader.entry for reader in [*parts.train, *parts.val])
    seconds = time.perf_counter() - began
    print_log(f'Rehearsed {entries} in {seconds:.1f} s', logger='current')


def _rehearse(parts: Parts) -> None:
    if not network.is_pose_estimator(parts.model):
        return  # Of other tasks nothing is known here.
    readers = [*parts.train, *parts.val]
    topdown = network.is_topdown(parts.model)
    for reader in readers:
        samples.look_at(reader)
        if topdown:
            # Transforms fail at other numbers, and do not say why.
            keypoints.require_numbers(reader, parts.model, _num_kept(reader, parts))
    for reader in readers:
        samples.read_samples(reader)
    network.require_finite_weights(parts.model)
    if topdown:
        _require_agreement(parts, readers)
    if parts.train:
        network.require_something_to_train(parts)
        network.rehearse_step(parts)
    parts.model.eval()
    names: List[str] = []
    for reader in parts.val:
        found = validation.metrics_of(reader, parts.model)
        names += [f'{reader.domain}/{n}' if reader.domain else n for n in found]
    if parts.val:
        validation.require_metrics(parts.choices, names)


def _require_agreement(parts: Parts, readers: List[Reader]) -> None:
    """Of keypoints and sizes, between datasets, pipelines and model."""
    model = parts.model
    for reader in readers:
        keypoints.require_numbers(reader, model, _num_kept(reader, parts))
    test_cfg = getattr(model, 'test_cfg', None) or {}
    keypoints.require_names(readers, test_cfg.get('output_keypoint_indices') or ())
    keypoints.require_flips(readers, bool(test_cfg.get('flip_test')))
    for reader in readers:
        network.require_codec(reader, model)
    network.report_decoding(model)
    network.require_fitting_loss(model)
    model.eval()
    with torch.no_grad():
        network.require_fitting_inputs(readers, model)


def _num_kept(reader: Reader, parts: Parts) -> int:
    """How many of the predicted keypoints validation keeps; 0 for all."""
    test_cfg = getattr(parts.model, 'test_cfg', None) or {}
    kept = test_cfg.get('output_keypoint_indices') or ()
    return len(kept) if reader in parts.val else 0


def _rehearse_test_sets(cfg: Config, parts: Parts) -> None:
    """Say what is wrong with test sets, which this run does without."""
    same = cfg.get('test_dataloader') == cfg.get('val_dataloader')
    if same or not network.is_pose_estimator(parts.model):
        return
    try:
        for reader in readers_from(cfg, 'test'):
            samples.look_at(reader)
            samples.read_samples(reader)
            validation.metrics_of(reader, parts.model)
    except InputError as error:
        message = f'test_dataloader, which training does without: {error}'
        print_log(message, logger='current', level=logging.WARNING)
