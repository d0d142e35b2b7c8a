"""One small batch through network, losses and optimisers."""

from __future__ import annotations

import copy
import logging
from typing import (
    Any,
    ContextManager,
    Dict,
    Iterator,
    List,
    Optional,
    Sequence,
    Tuple,
)

import numpy as np
import torch
from mmengine.logging import print_log
from mmengine.optim import OptimWrapper, OptimWrapperDict
from mmpose.models.pose_estimators import TopdownPoseEstimator
from mmpose.models.pose_estimators.base import BasePoseEstimator
from torch import Tensor, nn

from mmregda.datasets.pipelines import name_of
from mmregda.datasets.views import views_of
from mmregda.engine.rehearsal.parts import Parts, Reader
from mmregda.engine.rehearsal.samples import transforms_of
from mmregda.errors import InputError, during
from mmregda.models.position_space import (
    decodes_as_trained,
    ignores_weights,
    probed_shapes_of,
)

# A batch of so many is enough to be collated and normalised.
_BATCH = 2
# What a codec says of its labels.
_SETTINGS = (
    *('input_size', 'heatmap_size', 'sigma', 'simcc_split_ratio', 'heatmap_type'),
    *('unbiased', 'smoothing_type', 'normalize', 'label_smooth_weight'),
)


def require_finite_weights(model: nn.Module) -> None:
    """Raise :class:`InputError` at the first weight that is no number."""
    parameters = dict(model.named_parameters())
    for name, tensor in model.state_dict().items():
        if not isinstance(tensor, Tensor) or not tensor.is_floating_point():
            continue
        # A mask that is minus infinity is a buffer, and in its right.
        counted = name in parameters or 'running_' in name
        finite = tensor.isfinite() if counted else ~tensor.isnan()
        if not finite.all():
            raise InputError(
                f'"{name}" of the model is not finite before any training. Look at the '
                'checkpoint that it starts from (load_from, pretrain.checkpoint, '
                'init_cfg or resume); an earlier one may be whole.'
            )


def require_codec(reader: Reader, model: nn.Module) -> None:
    """Refuse a pipeline that crops or encodes for another codec than the head's."""
    decoder = codec_of(model)
    if decoder is None:
        return
    place = f'{reader.entry}.dataset.pipeline'
    size = getattr(decoder, 'input_size', None)
    transforms = transforms_of(reader)
    cuts, warps = (
        {t.use_udp for t in transforms if name_of(t) == name}
        for name in ('RandomRotatedSubCrop', 'TopdownAffine')
    )
    if cuts and warps and cuts != warps:
        raise InputError(
            f'RandomRotatedSubCrop in {place} has use_udp={cuts.pop()} and '
            f'TopdownAffine use_udp={warps.pop()}, which turns the other way. Set both '
            'to the same.'
        )
    for transform in transforms:
        cropped = getattr(transform, 'input_size', None)
        affine = name_of(transform) == 'TopdownAffine' and size and cropped
        if affine and tuple(cropped) != tuple(size):
            raise InputError(
                f'TopdownAffine in {place} has input_size={tuple(cropped)}, but '
                f'model.head.decoder has {tuple(size)} (width, height). Set both to '
                'the same.'
            )
        encoders = getattr(transform, 'encoder', None)
        if name_of(transform) == 'GenerateTarget' and encoders is not None:
            encoders = encoders if isinstance(encoders, list) else [encoders]
            if not any(_encode_alike(encoder, decoder) for encoder in encoders):
                raise InputError(
                    f'the encoder of GenerateTarget in {place} is '
                    f'{_settings(encoders[-1], decoder)}, but model.head.decoder is '
                    f'{_settings(decoder, encoders[-1])}. Give both the same codec.'
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
    loss, codec = getattr(head, 'loss_module', None), codec_of(model)
    softened = getattr(loss, 'label_softmax', None)
    normalized = getattr(codec, 'normalize', None)
    if softened is not None and normalized is not None and softened == normalized:
        kind, name = type(loss).__name__, type(codec).__name__
        both = 'which flattens them' if softened else 'so that they do not sum to 1'
        raise InputError(
            f'model.head.loss: {kind} has label_softmax={softened} and {name} '
            f'normalize={normalized}: labels are normalised '
            f'{"twice" if softened else "nowhere"}, {both}. Set '
            f'model.head.loss.label_softmax = {not softened}, or normalize='
            f'{not normalized} of {name} in model.head.decoder and in GenerateTarget.'
        )
    shapes = probed_shapes_of(head)
    if shapes and ignores_weights(loss, shapes):
        print_log(
            f'model.head.loss: {type(loss).__name__} ignores keypoint weights, so it '
            'learns maps of zeros for keypoints without a label or outside of the '
            'crop. Set model.head.loss.use_target_weight = True.',
            logger='current',
            level=logging.WARNING,
        )


def codec_of(model: nn.Module) -> Any:
    """The codec by which a model's head decodes, if it has one."""
    return getattr(getattr(model, 'head', None), 'decoder', None)


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
        return type(encoder) is type(decoder) and all(
            np.array_equal(getattr(encoder, k, None), getattr(decoder, k, None))
            for k in _SETTINGS
        )
    if set(ours) != set(theirs):
        return False
    return all(
        np.shape(ours[key]) == np.shape(theirs[key])
        and np.allclose(ours[key], theirs[key], atol=1e-3)
        for key in ours
        if isinstance(ours[key], np.ndarray)
    )


def _settings(codec: Any, other: Any) -> str:
    """A codec with the settings in which it differs from another one."""
    # Ours wraps others.
    kinds = [type(getattr(c, 'codec', c)).__name__ for c in (codec, other)]
    differing = [
        f'{name}={_plain(getattr(codec, name))}'
        for name in _SETTINGS
        if hasattr(codec, name)
        and _plain(getattr(codec, name)) != _plain(getattr(other, name, None))
    ]
    return f'{kinds[0]}({", ".join(differing)})'


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        value = value.tolist()
    return tuple(value) if isinstance(value, (list, tuple)) else value


def batch_of(reader: Reader) -> Dict[str, Any]:
    """A batch of the reader's first samples, as its dataloader collates them."""
    samples = copy.deepcopy(reader.samples[: min(_BATCH, reader.batch_size)])
    if len(samples) < min(_BATCH, reader.batch_size):
        samples += copy.deepcopy(samples)
    with during(
        f'a batch of {reader.entry} cannot be collated',
        f'Look at {reader.entry}.collate_fn, and whether its samples are of one size.',
    ):
        return reader.collate(samples)


def require_fitting_inputs(readers: Sequence[Reader], model: nn.Module) -> None:
    """Refuse inputs, and maps predicted from them, that do not fit codec and labels."""
    outputs: Dict[Tuple, Any] = {}  # Alike for inputs of one shape.
    for reader in readers:
        for view in views_of(batch_of(reader)).values():
            inputs, data_samples = _normalized(view, reader, model)
            shape = tuple(inputs.shape)
            if shape not in outputs:
                with during(
                    f'the network cannot pass a batch of {reader.entry} '
                    f'({_shown(shape)})',
                    "Look at the channels of model's backbone, neck and head.",
                ):
                    outputs[shape] = model.head(model.extract_feat(inputs))
                _require_fitting_output(outputs[shape], model)
            _require_fitting_labels(outputs[shape], data_samples, reader)


def _normalized(view: dict, reader: Reader, model: nn.Module) -> Tuple[Tensor, List]:
    """Inputs (B, C, H, W) on the device, and their samples."""
    with during(
        f'a batch of {reader.entry} cannot be normalised',
        'Look at model.data_preprocessor: mean and std have one number for each '
        'channel.',
    ):
        data = model.data_preprocessor(view, training=False)
    inputs = data['inputs']
    inputs = torch.stack(inputs) if isinstance(inputs, list) else inputs
    if not inputs.isfinite().all():
        raise InputError(
            f'inputs of {reader.entry} are not finite when they are normalised. Look '
            'at mean and std of model.data_preprocessor.'
        )
    size = getattr(codec_of(model), 'input_size', None)
    if size is not None and inputs.dim() == 4:
        _require_size(tuple(inputs.shape[:1:-1]), tuple(size), reader)
    return inputs, data['data_samples']


def _require_size(found: Tuple, expected: Tuple, reader: Reader) -> None:
    if found != tuple(map(int, expected)):
        raise InputError(
            f'{reader.entry} gives inputs of {found[0]} x {found[1]} (width x height), '
            f'but model.head.decoder has input_size={tuple(expected)}. Set input_size '
            'of TopdownAffine and of the codec to the same (width, height).'
        )


def _require_fitting_output(output: Any, model: nn.Module) -> None:
    """Compare what a head gives with what its codec decodes."""
    decoder = codec_of(model)
    size = getattr(decoder, 'heatmap_size', None)
    if isinstance(output, Tensor) and output.dim() == 4 and size is not None:
        found = tuple(output.shape[:1:-1])
        if found != tuple(size):
            raise InputError(
                f'the head gives heatmaps of {found[0]} x {found[1]} (width x height), '
                f"but model.head.decoder's heatmap_size is {tuple(size)}, which is "
                f'(width, height). Set heatmap_size={found} there and in the encoder '
                'of GenerateTarget, or change the strides of the network.'
            )
    ratio = getattr(decoder, 'simcc_split_ratio', None)
    if _are_simcc(output) and ratio is not None:
        found = tuple(part.shape[-1] for part in output)
        size = tuple(int(np.around(n * ratio)) for n in decoder.input_size)
        if found != size:
            raise InputError(
                f'the head gives {found[0]} bins along x and {found[1]} along y, but '
                f'model.head.decoder has {size[0]} and {size[1]}: input_size='
                f'{tuple(decoder.input_size)} (width, height) times simcc_split_ratio='
                f'{ratio}. Set input_size and simcc_split_ratio of model.head, of its '
                'decoder and of the encoder of GenerateTarget to the same.'
            )


def _require_fitting_labels(output: Any, data_samples: List, reader: Reader) -> None:
    """Compare labels, where there are any, with the output for them."""
    if isinstance(output, Tensor) and output.dim() == 4:
        shapes = dict(heatmaps=output.shape[1:])
    elif _are_simcc(output):
        names = ('keypoint_x_labels', 'keypoint_y_labels')
        shapes = {name: part.shape[1:] for name, part in zip(names, output)}
    else:
        return
    for sample in data_samples:
        for place in ('gt_fields', 'gt_instance_labels'):
            for name, shape in shapes.items():
                labels = (sample.get(place) or {}).get(name)
                if not isinstance(labels, Tensor):
                    continue
                found = tuple(labels.shape[-len(shape) :])
                if found != tuple(shape):
                    raise InputError(
                        f'the head gives {_shown(shape)}, but the {name} of '
                        f'{reader.entry} are {_shown(found)} (keypoints, then height '
                        'before width). Set model.head.out_channels and the encoder '
                        'of GenerateTarget to fit.'
                    )


def _are_simcc(output: Any) -> bool:
    """Whether it is one distribution along x and one along y, (B, K, W) each."""
    return (
        isinstance(output, (tuple, list))
        and len(output) == 2
        and all(isinstance(part, Tensor) and part.dim() == 3 for part in output)
    )


def _shown(shape: Tuple) -> str:
    return ' x '.join(map(str, shape))


class Unstepped(OptimWrapper):
    """An optimiser wrapper that notes losses, and steps nothing.

    Args:
        wrapped (OptimWrapper): Whose precision a forward pass has.
        name (str): Its player's, or empty.
        losses (list): Where each loss is added, with the name.
    """

    def __init__(self, wrapped: OptimWrapper, name: str, losses: List) -> None:
        super().__init__(wrapped.optimizer)
        self._wrapped = wrapped
        self._name = name
        self._losses = losses

    def backward(self, loss: Tensor, **kwargs: Any) -> None:
        """Note a loss."""
        self._losses.append((self._name, loss))

    def update_params(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        """Note a loss."""
        self.backward(loss)

    def step(self, **kwargs: Any) -> None:
        """Do nothing."""

    def zero_grad(self, **kwargs: Any) -> None:
        """Do nothing."""

    def optim_context(self, model: nn.Module) -> ContextManager:
        """The precision of a forward pass."""
        return self._wrapped.optim_context(model)


def rehearse_step(parts: Parts) -> None:
    """Compute the losses of one iteration, on a small batch of each domain.

    Raises:
        InputError: If that fails, a loss is not finite or trains nothing.
    """
    batches = {reader.domain: batch_of(reader) for reader in parts.train}
    model = parts.model.train()
    for module in model.modules():
        if isinstance(module, nn.SyncBatchNorm):
            module.eval()  # It would wait for other processes.
    losses: List[Tuple[str, Tensor]] = []
    wrapped = parts.optim_wrapper
    if isinstance(wrapped, OptimWrapperDict):
        wrapper = OptimWrapperDict(
            **{name: Unstepped(each, name, losses) for name, each in wrapped.items()}
        )
    else:
        wrapper = Unstepped(wrapped, '', losses)
    adaptation = getattr(model, 'adaptation', None)
    what = f' with {type(adaptation).__name__}' if adaptation is not None else ''
    with during(
        f'a training step of {type(model).__name__}{what} fails on a batch of '
        f'{" and ".join(reader.entry for reader in parts.train)}',
        'Look at model.head and its loss, model.adaptation, and whether the pipeline '
        'of labelled data ends with GenerateTarget and PackPoseInputs.',
    ):
        # Of the class: what a compiler puts in its place may be the run's own.
        log_vars = type(model).train_step(
            model, batches.get('', batches), optim_wrapper=wrapper
        )
    _require_finite_losses(log_vars, losses, parts)
    for name, loss in losses:
        if isinstance(loss, Tensor) and not loss.requires_grad:
            raise InputError(
                f'what {_player(name)} minimises depends on no parameter that is '
                'trained. Look at frozen_stages and other settings that freeze.'
            )


def _require_finite_losses(log_vars: Any, losses: List, parts: Parts) -> None:
    named = {
        name: value
        for name, value in (log_vars or {}).items()
        # The sum of all comes last, since it says least.
        if 'loss' in name and name != 'loss'
    }
    found = [*named.items(), *((f'what {_player(n)} minimises', v) for n, v in losses)]
    for name, value in found:
        if not torch.as_tensor(value).detach().float().isfinite().all():
            paths = ', '.join(
                f'"{view["data_samples"].get("img_path", "(no path)")}"'
                for reader in parts.train
                for sample in reader.samples[: min(_BATCH, reader.batch_size)]
                for view in views_of(sample).values()
            )
            raise InputError(
                f'{name} is {float(torch.as_tensor(value).float().mean())} before any '
                f'training. Look at the labels of {paths}, and at model.head.loss and '
                'model.adaptation.'
            )


def _player(name: str) -> str:
    return f'player {name}' if name else 'the model'


def require_something_to_train(parts: Parts) -> None:
    """Refuse a player of whose parameters none would change.

    Raises:
        InputError: If all are frozen, or have a learning rate of 0.
    """
    trained = {n for n, p in parts.model.named_parameters() if p.requires_grad}
    for name, wrapper in _wrappers_of(parts.optim_wrapper):
        groups = [
            (
                group,
                [n for n in map(parts.parameters.get, map(id, group['params'])) if n],
            )
            for group in wrapper.optimizer.param_groups
        ]
        entry = f'optim_wrapper.{name}' if name else 'optim_wrapper'
        names = [n for _, members in groups for n in members]
        if not names:
            continue  # None of the model's own.
        whose = f'{entry}: the player has' if name else f'{entry} has'
        if not trained.intersection(names):
            raise InputError(
                f'{whose} nothing to train: all of {_parts_in(names)} is frozen. Look '
                'at frozen_stages and at what else sets requires_grad to False.'
            )
        rates = [
            float(group.get('initial_lr', group['lr']))
            for group, members in groups
            if trained.intersection(members)
        ]
        if not any(rates):
            raise InputError(
                f'{whose} nothing to train: the learning rate of all of '
                f'{_parts_in(names)} is 0. Look at {entry}.optimizer.lr and '
                'paramwise_cfg (lr_mult).'
            )


def _wrappers_of(wrapper: Any) -> Iterator[Tuple[str, OptimWrapper]]:
    if isinstance(wrapper, OptimWrapperDict):
        yield from wrapper.items()
    elif isinstance(wrapper, OptimWrapper):
        yield '', wrapper


def _parts_in(names: List[str]) -> str:
    parts = dict.fromkeys(
        '.'.join(name.split('.')[: 2 if name.startswith('adaptation.') else 1])
        for name in names
    )
    return ' and '.join(f'model.{part}' for part in parts)


def is_pose_estimator(model: Optional[nn.Module]) -> bool:
    """Whether a model is one of MMPose's, or of ours."""
    return isinstance(model, BasePoseEstimator)


def is_topdown(model: Optional[nn.Module]) -> bool:
    """Whether a model predicts the keypoints of one crop."""
    return isinstance(model, TopdownPoseEstimator) and getattr(
        model, 'with_head', False
    )
