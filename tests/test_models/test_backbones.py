"""Any of MMPose's backbones with a heatmap head adapts."""

import pytest
import torch
from conftest import CODEC, SIZE, random_batch, tiny_model_config
from mmpose.registry import MODELS

from mmregda.engine import PlayerOptimWrapperConstructor

K = 5


def hrnet():
    branches = dict(block='BASIC', fuse_method='SUM')
    extra = dict(
        stage1=dict(
            num_modules=1,
            num_branches=1,
            block='BOTTLENECK',
            num_blocks=(1,),
            num_channels=(8,),
        ),
        stage2=dict(
            num_modules=1,
            num_branches=2,
            num_blocks=(1, 1),
            num_channels=(8, 16),
            **branches,
        ),
        stage3=dict(
            num_modules=1,
            num_branches=3,
            num_blocks=(1,) * 3,
            num_channels=(8, 16, 32),
            **branches,
        ),
        stage4=dict(
            num_modules=1,
            num_branches=4,
            num_blocks=(1,) * 4,
            num_channels=(8, 16, 32, 64),
            **branches,
        ),
    )
    # Its features are at a quarter of the input's size already.
    return dict(backbone=dict(type='HRNet', extra=extra), neck=None, in_channels=8)


def swin():
    backbone = dict(
        type='SwinTransformer',
        embed_dims=12,
        depths=(1, 1, 1, 1),
        num_heads=(1, 2, 3, 4),
        window_size=2,
        out_indices=(3,),
        convert_weights=False,
    )
    neck = dict(type='DeconvNeck', in_channels=96, out_channels=(16, 16, 16))
    return dict(backbone=backbone, neck=neck, in_channels=16)


def mmpose_head_with_its_own_deconvolutions():
    backbone = dict(type='ResNet', depth=18, stem_channels=8, base_channels=8)
    return dict(
        backbone=backbone, neck=None, in_channels=64, deconv_out_channels=(16, 16, 16)
    )


@pytest.mark.parametrize(
    'parts', [hrnet, swin, mmpose_head_with_its_own_deconvolutions]
)
def test_backbone_is_adapted(parts):
    parts = parts()
    cfg = tiny_model_config(num_keypoints=K)
    cfg.update(backbone=parts['backbone'], neck=parts['neck'])
    cfg['head'].update(
        in_channels=parts['in_channels'],
        deconv_out_channels=parts.get('deconv_out_channels'),
        decoder=CODEC,
    )
    torch.manual_seed(0)
    model = MODELS.build(cfg)
    model.init_weights()
    model.adaptation.warm_start.iteration.fill_(1000)
    players = {
        player: dict(optimizer=dict(type='SGD', lr=0.1)) for player in model.players()
    }
    before = {name: p.clone() for name, p in model.named_parameters()}
    batches = dict(source=random_batch(2, K, 0), target=random_batch(2, K, 1))
    log_vars = model.train().train_step(
        batches, PlayerOptimWrapperConstructor(players)(model)
    )
    assert all(torch.isfinite(value) for value in log_vars.values())
    for part in ('backbone.', 'head.', 'adaptation.adversary.'):
        assert any(
            not torch.equal(p, before[name])
            for name, p in model.named_parameters()
            if name.startswith(part)
        ), part
    samples = model.eval().val_step(random_batch(2, K, 2))
    assert samples[0].pred_instances.keypoints.shape == (1, K, 2)
    assert abs(samples[0].pred_instances.keypoints).max() <= SIZE
