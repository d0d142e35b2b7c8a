"""Trained models as plain MMPose has them, and as ONNX files."""

from __future__ import annotations

import copy
import hashlib
import inspect
import io
import os
import warnings
from pathlib import Path
from pprint import pformat
from typing import Any, Dict, Tuple

import torch
from mmengine.config import Config, ConfigDict
from mmengine.registry import init_default_scope
from mmpose.datasets.datasets.utils import parse_pose_metainfo
from mmpose.datasets.transforms import LoadImage
from mmpose.models.heads import HeatmapHead
from mmpose.registry import KEYPOINT_CODECS, MODELS, TRANSFORMS
from torch import Tensor, nn

from mmregda.apis.predict import keypoint_definition, validation_pipeline
from mmregda.codecs import (
    GaussianHeatmap,
    ProbabilityDecoder,
    SimCCProbabilityDecoder,
    relative_probability,
)
from mmregda.config_files import class_of, dicts_in, imported_by
from mmregda.datasets.keypoint_names import keypoint_names
from mmregda.datasets.transforms import LoadWholeImage
from mmregda.engine.checkpoints import load_network
from mmregda.errors import InputError
from mmregda.files import atomic_write
from mmregda.models import DomainAdaptiveTopdown, PromptPoseDataPreprocessor
from mmregda.models.necks import DeconvNeck

LEVEL = 100.0
"""float: What is added to every logit of a heatmap.

MMPose takes a keypoint whose heatmap is nowhere positive for a missing one, and the
softmax that we train leaves that level free. A larger number would cost digits.
"""
_INITIAL = ('init_cfg', 'pretrained')
_SIMCC_LAYERS = ('head.cls_', 'head.mlp_head_')
_OURS = __name__.partition('.')[0]
# They predict as the class of MMPose's does that they are derived from.
_DERIVED = (
    *(DomainAdaptiveTopdown, PromptPoseDataPreprocessor),
    *(GaussianHeatmap, LoadWholeImage),
)


def plain_mmpose(cfg: Config, checkpoint: str) -> Tuple[Config, Dict[str, Tensor]]:
    """A trained model as MMPose has it: a config for prediction, and its weights.

    Backbone, neck and head are left, with the pipeline and the keypoints' names. A
    ``DeconvNeck`` becomes the deconvolutions of a ``HeatmapHead``. ``GaussianHeatmap``
    becomes ``MSRAHeatmap``, which decodes to the same keypoints; scores are the largest
    logits then. Logits change by a constant that no softmax sees: heatmaps' by
    :data:`LEVEL`, and those of a SimCC head are moved to a mean of 0.

    Returns:
        tuple[Config, dict[str, Tensor]]: ``custom_imports`` of the config names what
        it needs beside MMPose, such as mmregda for a ``TimmBackbone``.

    Raises:
        InputError: If the checkpoint is of another model, or MMPose has no codec that
            decodes to the same keypoints.
    """
    init_default_scope(cfg.get('default_scope', 'mmpose'))
    pipeline = validation_pipeline(cfg)
    network = load_network(cfg.model, checkpoint, 'cpu')
    model = copy.deepcopy(cfg.model.to_dict())
    for key in ('adaptation', 'micro_batches', 'train_cfg'):
        model.pop(key, None)
    for part in ('backbone', 'neck', 'head'):
        cfg_of_part = model.get(part) or {}
        model[part] = {k: v for k, v in cfg_of_part.items() if k not in _INITIAL}
    if _package(model['head'].get('loss') or {}):
        del model['head']['loss']
    parts = ('backbone.', 'neck.', 'head.')
    weights = {
        name: value
        for name, value in network.state_dict().items()
        if name.startswith(parts)
    }
    with torch.no_grad():
        _decode_by_values(network.head, model['head'], weights)
    _fold_neck(network, model, weights)
    model = {key: value for key, value in model.items() if value != {}}
    if not any(issubclass(_class_of(node), LoadImage) for node in pipeline):
        pipeline = [dict(type='LoadImage'), *pipeline]
    definition = keypoint_definition(cfg)
    # By its kind MMPose's inferencers choose a detector.
    kind = (
        'FreiHandDataset' if len(definition['keypoint_info']) == 21 else 'CocoDataset'
    )
    dataset = dict(
        type=kind,
        data_mode='topdown',
        metainfo=definition,
        test_mode=True,
        pipeline=pipeline,
    )
    plain = ConfigDict(
        default_scope='mmpose',
        data_mode='topdown',
        dataset_type=kind,
        model=model,
        # From it MMPose's inferencers read the names of the keypoints.
        train_dataloader=dict(dataset=dict(dataset, pipeline=[])),
        test_dataloader=dict(batch_size=64, num_workers=2, dataset=dataset),
        # They draw with it.
        visualizer=dict(type='PoseLocalVisualizer', vis_backends=[]),
    ).to_dict()
    pipeline = plain['test_dataloader']['dataset']['pipeline']
    for node in dicts_in([plain['model'], pipeline]):
        if _class_of(node) in _DERIVED:
            node['type'] = _class_of(node).__mro__[1].__name__
    needed = set(map(_package, dicts_in([plain['model'], pipeline]))) - {''}
    imports = [n for n in imported_by(cfg) if n.partition('.')[0] in needed]
    imports += [_OURS] * (_OURS in needed and _OURS not in imports)
    if imports:
        plain['custom_imports'] = dict(imports=imports)
    plain = Config(plain)
    built = MODELS.build(plain.model)
    built.load_state_dict(weights)
    _require_same_maps(network, built.eval(), cfg)
    return plain, weights


def write_mmpose(
    plain: Config, weights: Dict[str, Tensor], folder: str, name: str
) -> Tuple[str, str]:
    """Write what :func:`plain_mmpose` gives.

    Args:
        plain (Config): The config.
        weights (dict[str, Tensor]): The weights.
        folder (str): Where; made if it is missing.
        name (str): Of the config, and of the checkpoint before its hash.

    Returns:
        tuple[str, str]: ``NAME.py`` and ``NAME-HASH.pth``, with the first eight digits
        of the file's SHA-256, as MMPose names its own.
    """
    os.makedirs(folder, exist_ok=True)
    content = io.BytesIO()
    dataset = plain.test_dataloader.dataset
    names = keypoint_names(parse_pose_metainfo(dataset.metainfo.to_dict()))
    meta = dict(keypoint_names=names)
    torch.save(dict(meta=meta, state_dict=weights), content)
    digest = hashlib.sha256(content.getvalue()).hexdigest()[:8]
    paths = [os.path.join(folder, f'{name}{end}') for end in ('.py', f'-{digest}.pth')]
    # MMEngine would sort keypoints by their numbers' digits: 1, 10, 11.
    text = ''.join(
        f'{key} = {pformat(value, sort_dicts=False, width=88)}\n'
        for key, value in plain.to_dict().items()
    )
    for path, data in zip(paths, (text.encode(), content.getvalue())):
        with atomic_write(path) as partial:
            Path(partial).write_bytes(data)
    return paths[0], paths[1]


class TensorModel(nn.Module):
    """From images to what the head predicts, for other runtimes.

    Args:
        model (nn.Module): A pose estimator.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: Tensor) -> Any:
        """Normalise images and predict.

        Args:
            image (Tensor): (B, 3, H, W), RGB, from 0 to 255, float32.

        Returns:
            Tensor | tuple[Tensor]: The head's: heatmaps (B, K, h, w), or SimCC's
            (B, K, W) and (B, K, H); logits.
        """
        preprocessor = self.model.data_preprocessor
        rgb = getattr(preprocessor, '_channel_conversion', False)
        rgb = rgb or getattr(preprocessor, '_reversed', False)
        image = image if rgb else image.flip(1)
        if getattr(preprocessor, '_enable_normalize', False):
            image = (image - preprocessor.mean) / preprocessor.std
        return self.model.head(self.model.extract_feat(image))


@torch.no_grad()
def write_onnx(plain: Config, weights: Dict[str, Tensor], path: str) -> float:
    """Write a model as ONNX, for batches of any size, and compare it with PyTorch.

    The input ``image`` and the outputs, ``heatmaps`` or ``simcc_x`` and ``simcc_y``,
    are those of :class:`TensorModel`.

    Args:
        plain (Config): From :func:`plain_mmpose`.
        weights (dict[str, Tensor]): Its weights.
        path (str): The file.

    Returns:
        float: By how much ONNX Runtime's outputs differ from PyTorch's at most, on
        two batches of noise, as a fraction of the logits' range.

    Raises:
        ImportError: Without onnx and onnxruntime.
        InputError: If they differ by 1e-4 or more.
    """
    import onnx  # noqa: F401  What PyTorch writes it with.
    import onnxruntime

    model = MODELS.build(plain.model)
    model.load_state_dict(weights)
    model = TensorModel(model).eval()
    width, height = model.model.head.decoder.input_size
    batches = _noise(2, height, width), _noise(3, height, width)
    simcc = isinstance(model(batches[0]), tuple)
    names = ['simcc_x', 'simcc_y'] if simcc else ['heatmaps']
    options = {}
    # The newer exporter needs another package.
    if 'dynamo' in inspect.signature(torch.onnx.export).parameters:
        options = dict(dynamo=False)
    with atomic_write(path) as partial:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            torch.onnx.export(
                model,
                (batches[0],),
                partial,
                input_names=['image'],
                output_names=names,
                dynamic_axes={key: {0: 'batch'} for key in ('image', *names)},
                opset_version=17,
                **options,
            )
        session = onnxruntime.InferenceSession(
            partial, providers=['CPUExecutionProvider']
        )
        difference = 0.0
        for images in batches:
            ours = model(images)
            theirs = session.run(names, {'image': images.numpy()})
            for one, two in zip(ours if simcc else [ours], theirs):
                apart = (one - torch.from_numpy(two)).abs().max()
                difference = max(difference, float(apart / (one.max() - one.min())))
        if not difference < 1e-4:
            raise InputError(
                f'"{path}" is not written: the logits of ONNX Runtime '
                f"{onnxruntime.__version__} differ from PyTorch's by {difference:.2g} "
                'of their range. Has the network been trained? Flat maps are mostly '
                'rounding. If it has, try another version of onnxruntime.'
            )
    return difference


def _decode_by_values(head: nn.Module, cfg: dict, weights: Dict[str, Tensor]) -> None:
    """Have maps that MMPose's codec decodes as ours decodes their softmax."""
    decoder = head.decoder
    ours = isinstance(decoder, (GaussianHeatmap, ProbabilityDecoder))
    if not ours:
        return
    codec = getattr(decoder, 'codec', decoder)
    if getattr(
        codec,
        'use_dark',
        getattr(codec, 'unbiased', type(codec).__name__ == 'UDPHeatmap'),
    ):
        raise InputError(
            f'{type(codec).__name__} of model.head.decoder refines keypoints by the '
            "logarithm of a map, which MMPose takes of the head's output and this "
            'package of its softmax: without mmregda there would be other keypoints. '
            'Predict with tools/predict.py instead.'
        )
    if isinstance(decoder, SimCCProbabilityDecoder):
        # A common vector in all rows is a level; without it a mean over bins is 0,
        # and the largest logit above.
        for name in [n for n in weights if n.startswith(_SIMCC_LAYERS)]:
            weights[name] = weights[name] - weights[name].mean(dim=0)
        return
    cfg['decoder'] = dict(
        type='MSRAHeatmap',
        input_size=tuple(map(int, codec.input_size)),
        heatmap_size=tuple(map(int, codec.heatmap_size)),
        sigma=codec.sigma,
    )
    channels = head.out_channels
    if isinstance(head.final_layer, nn.Identity):
        # A convolution that changes nothing but the level.
        cfg['final_layer'] = dict(kernel_size=1)
        weights['head.final_layer.weight'] = torch.eye(channels)[..., None, None]
    elif head.final_layer.bias is None:
        cfg['final_layer'] = {**cfg['final_layer'], 'bias': True}
    bias = weights.get('head.final_layer.bias', torch.zeros(channels))
    weights['head.final_layer.bias'] = bias + LEVEL


def _fold_neck(network: nn.Module, model: dict, weights: Dict[str, Tensor]) -> None:
    """Make a ``DeconvNeck`` the first deconvolutions of a ``HeatmapHead``."""
    neck, head = getattr(network, 'neck', None), model['head']
    if type(neck) is not DeconvNeck or type(network.head) is not HeatmapHead:
        return
    layers = [m for m in neck.layers if isinstance(m, nn.ConvTranspose2d)]
    defaults = inspect.signature(HeatmapHead).parameters
    own = {
        key: tuple(head.get(key, defaults[key].default) or ())
        for key in ('deconv_out_channels', 'deconv_kernel_sizes')
    }
    if not own['deconv_out_channels']:
        own['deconv_kernel_sizes'] = ()
    head.update(
        in_channels=model['neck']['in_channels'],
        deconv_out_channels=(
            *(layer.out_channels for layer in layers),
            *own['deconv_out_channels'],
        ),
        deconv_kernel_sizes=(*(4 for _ in layers), *own['deconv_kernel_sizes']),
    )
    model['neck'] = {}
    of_neck, of_head = 'neck.layers.', 'head.deconv_layers.'
    moved = {}
    for name in list(weights):
        if name.startswith((of_neck, of_head)):
            first = 0 if name.startswith(of_neck) else len(neck.layers)
            index, _, rest = name.split('.', 2)[2].partition('.')
            moved[f'{of_head}{int(index) + first}.{rest}'] = weights.pop(name)
    weights.update(moved)


@torch.no_grad()
def _require_same_maps(network: nn.Module, plain: nn.Module, cfg: Config) -> None:
    """Both predict the same distributions on noise, to a thousandth of the peak."""
    width, height = plain.head.decoder.input_size
    images = _noise(2, height, width)
    ours, theirs = (TensorModel(model)(images) for model in (network, plain))
    ours, theirs = ([m] if isinstance(m, Tensor) else m for m in (ours, theirs))
    for one, two in zip(ours, theirs):
        one, two = (relative_probability(maps.flatten(2)) for maps in (one, two))
        difference = (one - two).abs().max()
        if not difference < 1e-3:
            raise InputError(
                f'the plain model of "{cfg.filename}" would predict other keypoints, '
                f'by {difference:.2g} of a peak on noise. Predict with '
                'tools/predict.py instead.'
            )


def _noise(batch_size: int, height: int, width: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return 255 * torch.rand(batch_size, 3, height, width, generator=generator)


def _class_of(node: dict) -> Any:
    return class_of(node, MODELS, TRANSFORMS, KEYPOINT_CODECS)


def _package(node: dict) -> str:
    """The package that a component is from, unless MMPose brings it."""
    package = getattr(_class_of(node), '__module__', '').partition('.')[0]
    return (
        '' if package in ('mmpose', 'mmcv', 'mmengine', 'mmdet', 'torch') else package
    )
