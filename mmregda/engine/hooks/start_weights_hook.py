"""The level of the logits that an adaptation starts from."""

from __future__ import annotations

import logging
from typing import Any, Dict

import torch
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner import Runner
from mmpose.registry import HOOKS
from torch import nn

from mmregda.codecs.position_space import HeatmapSpace, label_weights
from mmregda.datasets.views import views_of
from mmregda.engine.distributed import broadcast_from_main, unwrap
from mmregda.engine.rehearsal.readers import Reader, undisturbed, undisturbing
from mmregda.engine.start import LABELED
from mmregda.errors import InputError
from mmregda.models.logit_level import Level, fit_level, multiply_logits

_NUM_IMAGES = 32
# Nats. By less than this, a head that was trained as a distribution may be off.
_LEAST_GAIN = 0.5
# Of perfect heatmaps of 16 x 16 it is 4, of larger ones 7; of distributions about 1.
_LEAST_FACTOR = 4


@HOOKS.register_module()
class StartWeightsHook(Hook):
    """Rescales the logits of an f that was trained to predict heatmap values.

    The output of a head trained with squared errors is no distribution, nor is SimCC's
    of another ``beta`` the one that was trained. The hook multiplies the last layer by
    a factor fitted on labelled images (see
    :mod:`~mmregda.models.logit_level`); no prediction moves. Without labelled images
    it warns if the softmax on the target is far less sharp than the pseudo labels.

    :class:`~mmregda.engine.DomainAdaptTrainLoop` registers it.
    """

    # Before others look at the weights. The rehearsal, of the same priority, is first.
    priority = 'VERY_HIGH'

    def after_load_checkpoint(self, runner: Runner, checkpoint: Dict[str, Any]) -> None:
        """Add the layers that start anew, which MMEngine would report as missing."""
        if not runner._resume:
            own = unwrap(runner.model).state_dict()
            checkpoint['state_dict'] = {**own, **checkpoint['state_dict']}

    def before_train(self, runner: Runner) -> None:
        """Fit the level of logits, unless f starts anew or the run is resumed."""
        model = unwrap(runner.model)
        init_cfg = model.head.init_cfg
        given = isinstance(init_cfg, dict) and init_cfg.get('type') == 'Pretrained'
        space = model.space
        if (
            runner._resume
            or not (given or 'head' in runner.start.parts)
            or not space.trains_a_softmax
        ):
            return
        loaders = runner.train_loop.dataloader.domains
        domain = next((d for d in LABELED if d in loaders), 'target')
        reader = Reader(f'train_dataloader.{domain}', loaders[domain])
        level = broadcast_from_main(_level_of(model, reader))
        if domain == 'target':
            _report_blur(level)
            return
        # A head that is too sure of itself is a distribution.
        if level.factor < 1 or level.before - level.after < _LEAST_GAIN:
            return
        fall = (
            f'from {level.before:.2f} to {level.after:.2f} nats (divergence of the '
            f'softmax from the labels of the {domain})'
        )
        values = isinstance(space, HeatmapSpace)
        how = 'to give values of heatmaps' if values else 'with another beta'
        layers = space.last_layers(model.head)
        if not layers:
            raise InputError(
                f'model.head was trained {how}. A factor of {level.factor:.3g} would '
                f'bring its logits {fall}, but there is no final_layer that could take '
                'it. Train the head with model.head.loss first.'
            )
        multiply_logits(layers, level.factor)
        names = [name for name, part in model.head.named_children() if part in layers]
        print_log(
            f'f was trained {how}: the weights of model.head.{" and ".join(names)} are '
            f'multiplied by {level.factor:.3g}, {fall}. No prediction moves.',
            logger='current',
            level=logging.WARNING,
        )


def _report_blur(level: Level) -> None:
    """Say that f is no distribution, of a level on the target's pseudo labels."""
    if level.factor < _LEAST_FACTOR:
        return
    print_log(
        f"f's softmax is nearly uniform on the target: logits have to be "
        f'{level.factor:.3g} times as large for pseudo labels. A head that was trained '
        'with squared errors (or SimCC with another beta) has a confidence that says '
        'nothing, and a threshold of it may leave out all keypoints. Train the head '
        'with model.head.loss first, or take a method with a source, on which the '
        'level is fitted.',
        logger='current',
        level=logging.WARNING,
    )


@torch.no_grad()
def _level_of(model: nn.Module, reader: Reader) -> Level:
    """The level of f's logits on some images of a domain."""
    with undisturbed():
        dataset = undisturbing(reader.dataset)
        chosen = range(0, len(dataset), -(-len(dataset) // _NUM_IMAGES))
        collate = getattr(reader.loader.collate_fn, 'collate', reader.loader.collate_fn)
        batch = collate([dataset[index] for index in chosen])
    batch = model.data_preprocessor(next(iter(views_of(batch).values())), training=True)
    mode = model.training
    model.eval()
    output = model.head(model.extract_feat(batch['inputs']))
    model.train(mode)
    samples, logits = batch['data_samples'], model.space.maps(output)
    if reader.domain == 'target':
        labels = model.space.pseudo_labels(output)  # The target has no others.
        return fit_level(logits, labels, torch.ones_like(labels[0][..., 0]))
    labels = model.space.maps(model.space.labels(samples))
    return fit_level(logits, labels, label_weights(samples))
