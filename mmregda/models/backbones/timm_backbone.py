"""Any network of timm as a backbone."""

from __future__ import annotations

import logging
from typing import Any, Dict, List, Sequence, Tuple

from mmengine.logging import print_log
from mmengine.model import BaseModule, initialize
from mmpose.registry import MODELS
from torch import Tensor, nn
from torch.nn.modules.batchnorm import SyncBatchNorm, _BatchNorm

from mmregda.errors import InputError, close_matches, during
from mmregda.models.backbones.weight_sources import HUB, import_timm, read_state_dict

# What MMEngine's preprocessor, and the one of this package, call bgr_to_rgb.
_REVERSING = ('_channel_conversion', '_reversed')


@MODELS.register_module()
class TimmBackbone(BaseModule):
    """Feature maps of any network of `timm`_, convolutional or a transformer.

    .. code-block:: python

        model = dict(
            data_preprocessor=dict(  # TimmBackbone.normalization('convnext_tiny')
                type='PoseDataPreprocessor', bgr_to_rgb=True,
                mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375]),
            backbone=dict(type='TimmBackbone', model_name='convnext_tiny',
                          pretrained=True),
            neck=dict(type='DeconvNeck', in_channels=768))

    Weights come in by ``init_cfg=dict(type='Pretrained', checkpoint=...)``: a file
    (of PyTorch, by its safe loader, or safetensors), ``package://NAME/FILE`` for a
    file that a Python package brings, ``timm://MODEL`` for timm's hub, or an
    ``https://`` address. They are those of the whole network, by timm's names or in
    a format that timm converts; position embeddings are resampled. Every tensor has
    to be there. If no name agrees with timm's, tensors are taken in their order,
    provided that all have the last part of the name and the shape of timm's. With a
    ``prefix`` it is MMEngine's own initialisation, from a checkpoint of a model
    with this backbone.

    Args:
        model_name (str): As timm names it, such as ``vit_small_patch14_dinov2``.
        out_indices (Sequence[int]): Which of the network's feature maps: of a
            convolutional network one for each stride, of a transformer one for each
            block. Defaults to (-1,), the last.
        frozen_stages (int): Freezes the stem and so many stages, which keep their
            running statistics too. A stage is what timm calls one (its coarse
            ``group_matcher``), in a transformer a block. Defaults to -1, none.
        norm (bool): Whether transformers' maps go through the final layer norm,
            as is usual with DINO's. Defaults to False, as in timm.
        pretrained (bool): The same as an ``init_cfg`` with the checkpoint
            ``timm://MODEL``.
        init_cfg (dict | list, optional): As of MMEngine.
        **kwargs: Of the network, such as ``drop_path_rate=0.1``, or
            ``img_size=(256, 192)`` for networks that are built for one size.

    Raises:
        InputError: If timm is missing, knows no such network, or it has no such
            maps or arguments.

    .. _timm: https://github.com/huggingface/pytorch-image-models
    """

    def __init__(
        self,
        model_name: str,
        out_indices: Sequence[int] = (-1,),
        frozen_stages: int = -1,
        norm: bool = False,
        pretrained: bool = False,
        init_cfg: Any = None,
        **kwargs: Any,
    ) -> None:
        if pretrained and init_cfg is None:
            init_cfg = dict(type='Pretrained', checkpoint=f'{HUB}{model_name}')
        super().__init__(init_cfg)
        self.model_name = model_name
        self.norm = norm
        self._kwargs = kwargs
        self.net = create_network(model_name, num_classes=0, **kwargs)
        self.out_indices = _keep_layers(self.net, model_name, out_indices, norm)
        self._frozen = _freeze(self.net, model_name, frozen_stages)
        self._with_activation = [
            layer
            for layer in self.net.modules()
            if isinstance(layer, _BatchNorm) and hasattr(layer, 'act')
        ]

    @staticmethod
    def normalization(model_name: str) -> Dict[str, List[float]]:
        """What a network's weights expect of pixels in RGB, 0 to 255.

        Returns:
            dict[str, list[float]]: ``mean`` and ``std``, for the data preprocessor.
        """
        return _normalization(create_network(model_name, num_classes=0).pretrained_cfg)

    @property
    def out_channels(self) -> List[int]:
        """list[int]: Channels of each map that is returned."""
        infos = self.net.feature_info
        return [infos[i]['num_chs'] for i in self.out_indices]

    def init_weights(self) -> None:
        """Load what ``init_cfg`` names.

        Raises:
            InputError: If a tensor is missing or of another shape.
        """
        # timm has drawn what is to be drawn when the network was built.
        if self.is_init:
            return
        for cfg in _as_list(self.init_cfg):
            if _is_foreign(cfg):
                self._load(cfg['checkpoint'])
            else:
                initialize(self, cfg)
        self._is_init = True

    def _load(self, checkpoint: str) -> None:
        print_log(f'{self.model_name}: weights of {checkpoint}', logger='current')
        whole = self._whole_network(read_state_dict(checkpoint), checkpoint)
        self.net.load_state_dict({n: whole[n] for n in self.net.state_dict()})

    def forward(self, x: Tensor) -> Tuple[Tensor, ...]:
        """Compute the feature maps.

        Args:
            x (Tensor): (B, 3, H, W).

        Returns:
            tuple[Tensor]: Maps (B, C, h, w), in the order of ``out_indices``.
        """
        return tuple(
            self.net.forward_intermediates(
                x,
                indices=self.out_indices,
                norm=self.norm,
                output_fmt='NCHW',
                intermediates_only=True,
            )
        )

    def train(self, mode: bool = True) -> 'TimmBackbone':
        """Set the mode; what is frozen stays in evaluation.

        Raises:
            InputError: If batch normalisation was synchronised by a converter that
                drops the activations which timm's layers hold.
        """
        super().train(mode)
        for layer in self._frozen:
            layer.eval()
        held = {id(layer) for layer in self._with_activation}
        present = {id(layer) for layer in self.net.modules()}
        if not held <= present and any(
            isinstance(layer, SyncBatchNorm) for layer in self.net.modules()
        ):
            raise InputError(
                f'sync_bn would drop the activations of {self.model_name}, which timm '
                'keeps in its batch normalisation. Leave sync_bn out.'
            )
        return self

    def _whole_network(
        self, weights: Dict[str, Tensor], where: str
    ) -> Dict[str, Tensor]:
        """The state dict of timm's network, classifier and all, out of a file's.

        timm loads it, for what it knows of formats; strictly, so the classes have
        to be as many as the file's.
        """
        timm = import_timm()
        weights = timm.models.clean_state_dict(weights)
        declared = timm.get_pretrained_cfg(self.model_name)
        head = weights.get(f'{getattr(declared, "classifier", None)}.weight')
        default = getattr(declared, 'num_classes', 1000)
        kwargs = dict(self._kwargs)
        overlay = dict(kwargs.pop('pretrained_cfg_overlay', None) or {})
        problems = []
        for num_classes in dict.fromkeys([default if head is None else len(head), 0]):
            kwargs['num_classes'] = num_classes
            try:
                # Without a classifier's name timm leaves all of them as they are.
                overlay.update(
                    state_dict=self._in_timms_names(weights, kwargs),
                    classifier=None,
                    source='',
                )
                return timm.create_model(
                    self.model_name,
                    pretrained=True,
                    pretrained_cfg_overlay=overlay,
                    **kwargs,
                ).state_dict()
            except Exception as error:  # Whatever else it is, it does not fit.
                problems.append(error)
        lines = [line.strip() for line in str(problems[0]).splitlines() if line.strip()]
        raise InputError(
            f'the weights of "{where}" are not those of {self.model_name}: '
            f'{" ".join(lines)[:500]}. A checkpoint of a model with this backbone '
            'needs prefix="backbone." beside it.'
        ) from problems[0]

    def _in_timms_names(
        self, weights: Dict[str, Tensor], kwargs: Dict[str, Any]
    ) -> Dict[str, Tensor]:
        """What others have ported, as timm names it; else the weights as they are."""
        if set(weights) & set(self.net.state_dict()):
            return dict(weights)
        return renamed_in_order(
            weights, create_network(self.model_name, **kwargs).state_dict()
        )


def create_network(model_name: str, **kwargs: Any) -> nn.Module:
    """A network of timm, which takes images of any size if it can.

    Raises:
        InputError: If timm knows no such network, or it no such arguments.
    """
    timm = import_timm()
    if not timm.is_model(model_name):
        near = close_matches(model_name.split('.')[0], timm.list_models(), listed=0)
        raise InputError(
            f'timm {timm.__version__} has no network "{model_name}".{near} '
            'timm.list_models() lists all.'
        )
    with during(f'model_name="{model_name}"'):  # Of a tag that there is not.
        declared = timm.get_pretrained_cfg(model_name)
    dynamic = {}
    if getattr(declared, 'fixed_input_size', False) and 'img_size' not in kwargs:
        dynamic = dict(dynamic_img_size=True)
    # Some have no such argument, and keep their size.
    for options in ({**dynamic, **kwargs}, kwargs):
        try:
            return timm.create_model(model_name, **options)
        except TypeError as error:
            problem = error
    raise InputError(f'{model_name}: {problem}') from problem


def renamed_in_order(
    weights: Dict[str, Tensor], ours: Dict[str, Tensor]
) -> Dict[str, Tensor]:
    """Give the tensors of a network that others have ported our names.

    Returns:
        dict[str, Tensor]: The weights by the names of ours, if in their order all
        have the last part of the name (``weight``, ``running_mean``) and the shape
        in common; else as they were.
    """
    if _signature(weights) != _signature(ours):
        return dict(weights)
    return dict(zip(ours, weights.values()))


def require_normalization(model: nn.Module) -> None:
    """Refuse pixels that are not normalised as a pretrained backbone expects.

    Weights of a model that was trained here are left alone: it was trained with
    what its own preprocessor does.

    Raises:
        InputError: If mean, std or the order of channels differ.
    """
    backbone = getattr(model, 'backbone', None)
    preprocessor = getattr(model, 'data_preprocessor', None)
    if not isinstance(backbone, TimmBackbone) or preprocessor is None:
        return
    if not any(map(_is_foreign, _as_list(backbone.init_cfg))):
        return
    expected = _normalization(backbone.net.pretrained_cfg)
    found = {
        key: [round(v, 3) for v in getattr(preprocessor, key).flatten().tolist()]
        if hasattr(preprocessor, key)
        else None
        for key in expected
    }
    rgb = any(getattr(preprocessor, n, False) for n in _REVERSING)
    close = all(
        values is not None
        and all(abs(a - b) < 0.5 for a, b in zip(expected[key], values))
        for key, values in found.items()
    )
    if not close or not rgb:
        raise InputError(
            f'the weights of {backbone.model_name} expect {expected} of RGB, but '
            f'model.data_preprocessor has {found}'
            f'{"" if rgb else " of BGR"}. Set model.data_preprocessor mean='
            f'{expected["mean"]}, std={expected["std"]}, bgr_to_rgb=True; or, if these '
            'weights were trained otherwise, say how: model.backbone.'
            'pretrained_cfg_overlay=dict(mean=(...), std=(...)), from 0 to 1.'
        )


def _as_list(init_cfg: Any) -> List[dict]:
    return [init_cfg] if isinstance(init_cfg, dict) else list(init_cfg or [])


def _is_foreign(init_cfg: dict) -> bool:
    """Whether it names weights of the network alone, as others publish them."""
    return init_cfg.get('type') == 'Pretrained' and not init_cfg.get('prefix')


def _normalization(pretrained_cfg: Dict[str, Any]) -> Dict[str, List[float]]:
    return {
        key: [round(255 * float(v), 3) for v in pretrained_cfg[key]]
        for key in ('mean', 'std')
    }


def _signature(state: Dict[str, Tensor]) -> List[Tuple[str, Tuple[int, ...]]]:
    return [(n.rpartition('.')[2], tuple(t.shape)) for n, t in state.items()]


def _keep_layers(
    net: nn.Module, model_name: str, out_indices: Sequence[int], norm: bool
) -> List[int]:
    """Drop what no map needs; the indices, counted from the front."""
    if not hasattr(net, 'forward_intermediates'):
        raise InputError(f'{model_name} of timm gives no feature maps')
    indices = list(out_indices)
    try:
        return list(net.prune_intermediate_layers(indices, prune_norm=not norm))
    except (AssertionError, IndexError, ValueError) as error:
        raise InputError(
            f'out_indices={tuple(out_indices)}: {model_name} has '
            f'{len(net.feature_info)} feature maps'
        ) from error


def _freeze(net: nn.Module, model_name: str, frozen_stages: int) -> List[nn.Module]:
    """Freeze the stem and the first stages; the modules that are frozen whole."""
    if frozen_stages < 0:
        return []
    timm = import_timm()
    groups = timm.models.group_parameters(net, net.group_matcher(coarse=True))
    if frozen_stages >= len(groups):
        message = (
            f'frozen_stages={frozen_stages}: {model_name} has a stem and '
            f'{len(groups) - 1} stages; all is frozen'
        )
        print_log(message, logger='current', level=logging.WARNING)
    parameters = dict(net.named_parameters())
    for stage in range(min(frozen_stages + 1, len(groups))):
        for name in groups[stage]:
            parameters[name].requires_grad_(False)
    return [
        module
        for module in net.modules()
        if (own := list(module.parameters())) and not any(p.requires_grad for p in own)
    ]
