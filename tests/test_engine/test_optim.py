"""One optimiser for each player, and the decay of their learning rates."""

import pytest
import torch
from conftest import random_batch, tiny_model_config
from mmengine.optim import OptimWrapper
from mmpose.registry import MODELS
from torch import nn

from mmregda import InputError
from mmregda.engine import InverseDecayLR, PlayerOptimWrapperConstructor
from mmregda.engine.player_optim_wrappers import SCALES_ON_CPU

SGD = dict(type='SGD', lr=0.1)


def three_players(**changes):
    players = {p: dict(optimizer=SGD) for p in ('feature_extractor', 'head')}
    players['adversary'] = dict(optimizer=SGD)
    players.update(changes)
    return players


@pytest.fixture(scope='module')
def model():
    from mmengine.registry import init_default_scope

    init_default_scope('mmpose')
    return MODELS.build(tiny_model_config())


def test_every_parameter_is_stepped_by_the_player_it_belongs_to(model):
    wrappers = PlayerOptimWrapperConstructor(three_players())(model)
    prefixes = dict(
        feature_extractor=('backbone.', 'neck.'),
        head=('head.',),
        adversary=('adaptation.adversary.',),
    )
    names = {id(p): name for name, p in model.named_parameters()}
    seen = []
    for player, wrapper in wrappers.items():
        for group in wrapper.optimizer.param_groups:
            for parameter in group['params']:
                seen.append(names[id(parameter)])
                assert seen[-1].startswith(prefixes[player])
    assert sorted(seen) == sorted(names.values())


def test_paramwise_config_knows_the_backbone_by_name(model):
    psi = dict(
        optimizer=SGD,
        paramwise_cfg=dict(custom_keys=dict(backbone=dict(lr_mult=0.1))),
    )
    constructor = PlayerOptimWrapperConstructor(three_players(feature_extractor=psi))
    groups = constructor(model)['feature_extractor'].optimizer.param_groups
    rates = {id(p): group['lr'] for group in groups for p in group['params']}
    assert all(rates[id(p)] == pytest.approx(0.01) for p in model.backbone.parameters())
    assert all(rates[id(p)] == pytest.approx(0.1) for p in model.neck.parameters())


@pytest.mark.parametrize(
    'players, message',
    [
        ({'head': dict(optimizer=SGD)}, 'players of RegDA'),
        (three_players(optimizer=SGD), '_delete_=True'),
        (three_players(critic=dict(optimizer=SGD)), 'critic'),
        (three_players(head=dict(optimizer=SGD, accumulative_counts=2)), 'head'),
    ],
)
def test_config_that_does_not_fit_the_players_is_refused(model, players, message):
    with pytest.raises(InputError, match=message):
        PlayerOptimWrapperConstructor(players)(model)


@pytest.mark.skipif(not SCALES_ON_CPU, reason='gradients are scaled on GPUs only')
def test_loss_scaling_does_not_change_what_players_learn():
    weights = {}
    for scale in (1.0, 256.0):
        torch.manual_seed(0)
        model = MODELS.build(tiny_model_config(num_keypoints=5)).train()
        amp = dict(
            type='PlayerAmpOptimWrapper',
            optimizer=SGD,
            dtype='bfloat16',
            loss_scale=scale,
        )
        wrappers = PlayerOptimWrapperConstructor(
            dict(feature_extractor=amp, head=amp, adversary=amp)
        )(model)
        for i in range(2):
            batches = dict(source=random_batch(2, 5, i), target=random_batch(2, 5, 9))
            model.train_step(batches, wrappers)
        weights[scale] = model.state_dict()
    for name, tensor in weights[1.0].items():
        torch.testing.assert_close(
            tensor, weights[256.0][name], msg=lambda m, n=name: n + m
        )


def test_one_optimizer_in_the_config_is_one_for_each_player(model):
    wrappers = PlayerOptimWrapperConstructor(dict(optimizer=SGD))(model)
    assert set(wrappers.keys()) == {'feature_extractor', 'head', 'adversary'}
    assert len({id(wrapper.optimizer) for wrapper in wrappers.values()}) == 3


class NamedAsViTs(nn.Module):
    """Layers by the names that they have in MMPose's ViTs."""

    def __init__(self):
        super().__init__()
        self.patch_embed = nn.Linear(2, 2)
        self.layers = nn.ModuleList(nn.Linear(2, 2) for _ in range(3))
        self.ln1 = nn.LayerNorm(2)


@pytest.fixture
def vit():
    model = MODELS.build(tiny_model_config())
    model.backbone = NamedAsViTs()
    return model


LAYER_DECAY = dict(
    optimizer=dict(type='AdamW', lr=0.1, weight_decay=0.05),
    paramwise_cfg=dict(num_layers=3, layer_decay_rate=0.8),
)
VIT = 'LayerDecayOptimWrapperConstructor'


@pytest.mark.parametrize('for_all', [True, False])
def test_the_decay_by_layer_of_a_vit_is_kept(vit, for_all):
    if for_all:
        entries = dict(LAYER_DECAY, player_constructor=VIT)
    else:
        entries = three_players(
            feature_extractor=dict(LAYER_DECAY, constructor=VIT),
            adversary=dict(optimizer=dict(type='SGD', lr=0.3)),
        )
    paramwise_cfg = entries.pop('paramwise_cfg', None)  # as MMEngine hands it on
    wrappers = PlayerOptimWrapperConstructor(entries, paramwise_cfg)(vit)
    rates = {
        id(parameter): (group['lr'], group['weight_decay'])
        for wrapper in wrappers.values()
        for group in wrapper.optimizer.param_groups
        for parameter in group['params']
    }
    depths = {'patch_embed': 4, 'layers.0': 3, 'layers.1': 2, 'layers.2': 1, 'ln1': 0}
    for name, parameter in vit.backbone.named_parameters():
        (depth,) = (d for prefix, d in depths.items() if name.startswith(prefix))
        decay = 0.05 if parameter.dim() > 1 else 0
        assert rates[id(parameter)] == pytest.approx((0.1 * 0.8**depth, decay)), name
    others = {rates[id(p)][0] for p in vit.adaptation.adversary.parameters()}
    assert others == {0.1 if for_all else 0.3}


@pytest.mark.parametrize(
    'changes, message',
    [
        ({}, 'paramwise_cfg has layer_decay_rate and num_layers.*player_constructor'),
        (dict(player_constructor=VIT), 'layer_decay_rate=0.8 changes no.*custom_keys'),
    ],
)
def test_a_decay_by_layer_that_would_not_be_is_refused(model, changes, message):
    entries = dict(optimizer=LAYER_DECAY['optimizer'], **changes)
    with pytest.raises(InputError, match=message):
        PlayerOptimWrapperConstructor(entries, LAYER_DECAY['paramwise_cfg'])(model)


def test_learning_rate_decays_by_the_formula():
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = OptimWrapper(torch.optim.SGD([parameter], lr=0.1))
    scheduler = InverseDecayLR(optimizer, gamma=1e-4, power=0.75, by_epoch=False)
    for i in range(200):
        expected = 0.1 * (1 + 1e-4 * i) ** -0.75
        assert optimizer.get_lr()['lr'][0] == pytest.approx(expected)
        optimizer.step()
        scheduler.step()
