"""A model that tells images apart, as files."""

import numpy as np
import torch
from conftest import SIZE
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmpose.registry import MODELS
from PIL import Image


def write_model(folder, model, num_images=1):
    """A config file of a folder's target, and weights that tell images apart."""
    init_default_scope('mmpose')
    torch.manual_seed(0)
    network = MODELS.build(model)
    network.train()
    for layer in network.modules():  # What normalisation sees once, it knows.
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.momentum = None
    network.head(network.extract_feat(torch.randn(16, 3, SIZE, SIZE)))
    state = network.state_dict()
    last = 'head.final_layer'
    if 'head.cls_x.weight' in state:
        last = None
    elif last + '.weight' not in state:
        last = 'neck.convs.0.conv'
    for name, value in state.items():
        # Logits of all levels: none of the maps is anywhere positive.
        part, _, kind = name.rpartition('.')
        if part == last and kind == 'weight':
            torch.nn.init.normal_(value)
        elif part == last:
            value -= torch.linspace(20, 60, len(value))
        elif name.startswith('head.cls_'):
            value.normal_()
            value += 30 * torch.randn(value.shape[1])
    (folder / 'photographs').mkdir()
    rng = np.random.default_rng(0)
    for i in range(num_images):
        pixels = rng.integers(0, 256, (12, 16, 3), np.uint8)
        name = f'scene{i or ""}.png'
        image = Image.fromarray(pixels).resize((160, 120))
        image.save(folder / 'photographs' / name)
    pipeline = [
        dict(type='LoadWholeImage'),
        dict(type='MirrorRightHand'),
        dict(type='WholeImageBox'),
        dict(type='GetBBoxCenterScale', padding=1.0),
        dict(type='TopdownAffine', input_size=(SIZE, SIZE)),
        dict(type='PackPoseInputs'),
    ]
    target = dict(
        type='UnlabeledImages',
        root=str(folder / 'photographs'),
        metainfo='hand21',
        pipeline=pipeline,
    )
    loader = dict(batch_size=2, num_workers=0, dataset=target)
    cfg = Config(
        dict(
            default_scope='mmpose',
            custom_imports=dict(imports=['mmregda']),
            model=model,
            train_dataloader=dict(target=loader),
            val_dataloader=dict(target=loader),
        )
    )
    cfg.dump(str(folder / 'trained.py'))
    torch.save(dict(state_dict=state, meta={}), folder / 'trained.pth')
