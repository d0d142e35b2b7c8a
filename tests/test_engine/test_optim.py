"""One optimiser for each player, and the decay of their learning rates."""

import pytest
import torch
from conftest import tiny_model_config
from mmengine.optim import OptimWrapper
from mmpose.registry import MODELS

from mmregda import InputError
from mmregda.engine import InverseDecayLR, PlayerOptimWrapperConstructor

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
        (three_players(critic=dict(optimizer=SGD)), 'critic'),
        (three_players(head=dict(optimizer=SGD, accumulative_counts=2)), 'head'),
        pytest.param(
            three_players(head=dict(type='AmpOptimWrapper', optimizer=SGD)),
            'mixed precision',
            marks=pytest.mark.skipif(
                not torch.cuda.is_available(), reason='MMEngine offers it on GPUs'
            ),
        ),
    ],
)
def test_config_that_does_not_fit_the_players_is_refused(model, players, message):
    with pytest.raises(InputError, match=message):
        PlayerOptimWrapperConstructor(players)(model)


def test_learning_rate_decays_by_the_formula():
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = OptimWrapper(torch.optim.SGD([parameter], lr=0.1))
    scheduler = InverseDecayLR(optimizer, gamma=1e-4, power=0.75, by_epoch=False)
    for i in range(200):
        expected = 0.1 * (1 + 1e-4 * i) ** -0.75
        assert optimizer.get_lr()['lr'][0] == pytest.approx(expected)
        optimizer.step()
        scheduler.step()
