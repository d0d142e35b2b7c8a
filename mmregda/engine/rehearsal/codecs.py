"""Whether pipelines, head and loss mean the same labels."""

from __future__ import annotations

import logging
from typing import Any, Dict

import numpy as np
from mmengine.logging import print_log
from mmpose.models.losses import KeypointMSELoss
from torch import nn

from mmregda.codecs.position_space import decodes_as_trained
from mmregda.datasets.pipelines import name_of
from mmregda.datasets.views import views_of
from mmregda.engine.rehearsal.readers import Reader
from mmregda.errors import InputError


def require_codec(reader: Reader, model: nn.Module) -> None:
    """Refuse a pipeline that turns two ways, or encodes not as the head decodes."""
    decoder = getattr(getattr(model, 'head', None), 'decoder', None)
    place = f'{reader.entry}.dataset.pipeline'
    cuts, warps = (
        {t.use_udp for t in reader.transforms if name_of(t) == name}
        for name in ('RandomRotatedSubCrop', 'TopdownAffine')
    )
    if cuts and warps and cuts != warps:
        raise InputError(
            f'RandomRotatedSubCrop in {place} has use_udp={cuts.pop()} and '
            f'TopdownAffine use_udp={warps.pop()}, which turns the other way. Set both '
            'to the same.'
        )
    for transform in reader.transforms:
        encoders = getattr(transform, 'encoder', None)
        if decoder is None or name_of(transform) != 'GenerateTarget' or not encoders:
            continue
        encoders = encoders if isinstance(encoders, list) else [encoders]
        if not any(_encode_alike(encoder, decoder) for encoder in encoders):
            raise InputError(
                f'the encoder of GenerateTarget in {place} is '
                f'{_settings(encoders[-1], decoder)}, but model.head.decoder is '
                f'{_settings(decoder, encoders[-1])}. Give both the same codec.'
            )


def require_input_size(reader: Reader, model: nn.Module) -> None:
    """Refuse crops of another width and height than the head decodes."""
    size = getattr(getattr(model.head, 'decoder', None), 'input_size', None)
    for sample in reader.samples if size is not None else ():
        for view in views_of(sample).values():
            found = tuple(view['inputs'].shape[:-3:-1])
            if found != tuple(map(int, size)):
                raise InputError(
                    f'{reader.entry} gives inputs of {found[0]} x {found[1]} (width x '
                    f'height), but model.head.decoder has input_size={tuple(size)}. '
                    'Set input_size of TopdownAffine and of the codec to the same '
                    '(width, height).'
                )


def report_decoding(model: nn.Module) -> None:
    """Say that a model of MMPose's will take keypoints for missing that are not."""
    head = getattr(model, 'head', None)
    if not decodes_as_trained(head):
        name = type(head.decoder).__name__
        print_log(
            'model.head is trained by KeypointKLLoss, which leaves the level of its '
            f'logits free, but {name} takes a keypoint for missing whose logits are '
            'nowhere positive: metrics, and the checkpoint that they choose, depend '
            'on it. Set the type of model.head.decoder, and of the encoder in '
            'GenerateTarget, to GaussianHeatmap.',
            logger='current',
            level=logging.WARNING,
        )


def require_fitting_loss(model: nn.Module) -> None:
    """Refuse SimCC labels that are no distributions; report a loss without weights."""
    head = getattr(model, 'head', None)
    loss, codec = getattr(head, 'loss_module', None), getattr(head, 'decoder', None)
    softened = getattr(loss, 'label_softmax', None)
    normalized = getattr(codec, 'normalize', None)
    if softened is not None and softened == normalized:
        name = type(codec).__name__
        both = 'which flattens them' if softened else 'so that they do not sum to 1'
        raise InputError(
            f'model.head.loss: {type(loss).__name__} has label_softmax={softened} and '
            f'{name} normalize={normalized}: labels are normalised '
            f'{"twice" if softened else "nowhere"}, {both}. Set '
            f'model.head.loss.label_softmax = {not softened}, or normalize='
            f'{not normalized} of {name} in model.head.decoder and in GenerateTarget.'
        )
    # MMPose's KeypointMSELoss takes weights all the same.
    unweighed = getattr(loss, 'use_target_weight', True) is False
    if unweighed and not isinstance(loss, KeypointMSELoss):
        print_log(
            f'model.head.loss: {type(loss).__name__} ignores keypoint weights, so it '
            'learns maps of zeros for keypoints without a label or outside of the '
            'crop. Set model.head.loss.use_target_weight = True.',
            logger='current',
            level=logging.WARNING,
        )


def _encode_alike(encoder: Any, decoder: Any) -> bool:
    """Whether two codecs write the same labels, whatever they are called."""
    size = np.array(getattr(decoder, 'input_size', (64, 64)), dtype=np.float32)
    # Near the corners, between pixels, and in the middle.
    shares = [(0.03, 0.04), (0.97, 0.96), (0.31, 0.64), (0.5, 0.5)]
    points = np.array([shares], dtype=np.float32) * size
    visible = np.ones(points.shape[:2], dtype=np.float32)
    try:
        ours, theirs = (
            codec.encode(keypoints=points.copy(), keypoints_visible=visible.copy())
            for codec in (encoder, decoder)
        )
    except Exception:  # Some need to know more, such as whose body it is.
        return type(encoder) is type(decoder) and _plain(encoder) == _plain(decoder)
    return set(ours) == set(theirs) and all(
        np.shape(ours[key]) == np.shape(theirs[key])
        and np.allclose(ours[key], theirs[key], atol=1e-3)
        for key in ours
        if isinstance(ours[key], np.ndarray)
    )


def _settings(codec: Any, other: Any) -> str:
    """A codec with the settings in which it differs from another one."""
    (name, own), (_, theirs) = _plain(codec), _plain(other)
    differing = [f'{k}={v}' for k, v in own.items() if theirs.get(k) != v]
    return f'{name}({", ".join(differing)})'


def _plain(codec: Any) -> Any:
    """The name and the settings of a codec, or of the one that ours wraps."""
    codec = getattr(codec, 'codec', codec)
    settings: Dict[str, Any] = {}
    for name, value in vars(codec).items():
        if name != 'scale_factor' and not name.startswith('_'):
            value = value.tolist() if isinstance(value, np.ndarray) else value
            settings[name] = tuple(value) if isinstance(value, list) else value
    return type(codec).__name__, settings
