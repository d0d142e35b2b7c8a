"""Mixed precision with several optimisers, against the rules written anew."""

import io

import pytest
import torch
from conftest import random_batch, tiny_model_config
from mmengine.logging import MessageHub
from mmengine.optim import OptimWrapper, build_optim_wrapper
from mmpose.registry import MODELS
from torch import nn

from mmregda import InputError
from mmregda.engine import PlayerAmpOptimWrapper, PlayerOptimWrapperConstructor
from mmregda.engine.player_optim_wrappers import SCALES_ON_CPU
from mmregda.models.adaptations import minimize

needs_scaler = pytest.mark.skipif(
    not SCALES_ON_CPU, reason='this PyTorch scales gradients on GPUs only'
)
PLAYERS = ('psi', 'f', 'f_adv')
PHASES = (PLAYERS, ('f_adv',), ('psi',))
SCALE = dict(init_scale=8.0, growth_interval=3)
SGD = dict(type='SGD', lr=0.125, momentum=0.5)


class Game(nn.Module):
    """Three players of two numbers each, and three losses between them."""

    def __init__(self):
        super().__init__()
        self.adaptation = None
        for i, player in enumerate(PLAYERS):
            layer = nn.Linear(2, 1, bias=False)
            nn.init.constant_(layer.weight, 0.25 * (i + 1))
            setattr(self, player, layer)
        self.overflows = ()

    def players(self):
        return {player: [getattr(self, player)] for player in PLAYERS}

    def weight(self, player, phase):
        """Its weight; its gradient overflows when that is asked for."""
        weight = getattr(self, player).weight
        if phase is not None and player not in PHASES[phase]:
            return weight.detach()
        weight = weight * 1.0
        if (phase, player) in self.overflows:
            weight.register_hook(lambda grad: grad * float('inf'))
        return weight

    def loss(self, phase):
        psi, f, f_adv = (self.weight(player, phase) for player in PLAYERS)
        return ((psi * f).sum() - 1) ** 2 + (phase + 1) * ((psi - f_adv) ** 2).sum()


def wrappers_of(game, **settings):
    settings = dict(
        type='PlayerAmpOptimWrapper', dtype='float16', loss_scale=SCALE, **settings
    )
    entries = {player: dict(optimizer=SGD) for player in PLAYERS}
    return PlayerOptimWrapperConstructor({**entries, **settings})(game)


def play(game, wrappers, overflows=()):
    game.overflows = overflows
    for phase, players in enumerate(PHASES):
        minimize(game.loss(phase), wrappers, players)


class Referee:
    """The same game with gradients and the scale by hand."""

    def __init__(self, max_norm=None):
        self.game = Game()
        self.momentum = {player: torch.zeros(1, 2) for player in PLAYERS}
        self.scale, self.tracker, self.max_norm = 8.0, 0, max_norm

    def play(self, overflows=()):
        for phase, players in enumerate(PHASES):
            weights = [getattr(self.game, player).weight for player in players]
            loss = self.game.loss(phase) * self.scale
            found = torch.autograd.grad(loss, weights)
            with torch.no_grad():
                for player, weight, grad in zip(players, weights, found):
                    if (phase, player) in overflows:
                        continue
                    grad = grad / self.scale
                    limit = (self.max_norm or {}).get(player)
                    if limit is not None and grad.norm() > limit:
                        grad = grad * (limit / (grad.norm() + 1e-6))
                    momentum = self.momentum[player].mul_(0.5).add_(grad)
                    weight -= 0.125 * momentum
            if any((phase, player) in overflows for player in players):
                self.scale, self.tracker = self.scale / 2, 0
            else:
                self.tracker += 1
                if self.tracker == 3:
                    self.scale, self.tracker = self.scale * 2, 0


# By iteration, the phases and players whose gradients are not finite.
OVERFLOWS = [
    (),
    ((0, 'f'),),
    ((0, 'f'), (0, 'f_adv')),
    ((1, 'f_adv'),),
    (),
    ((2, 'psi'), (0, 'psi')),
    (),
    (),
]


def same_weights(game, other):
    return all(torch.equal(a, b) for a, b in zip(game.parameters(), other.parameters()))


@needs_scaler
def test_overflow_of_one_player_is_no_others():
    game, referee = Game(), Referee()
    wrappers = wrappers_of(game)
    scales = set()
    for overflows in OVERFLOWS:
        play(game, wrappers, overflows)
        referee.play(overflows)
        # Scales are powers of two, so nothing rounds.
        assert same_weights(game, referee.game)
        state = wrappers.state_dict()
        for player in PLAYERS:
            assert state[player]['loss_scaler']['scale'] == referee.scale
            assert state[player]['loss_scaler']['_growth_tracker'] == referee.tracker
        scales.add(referee.scale)
    assert len(scales) > 3 and max(scales) > 8 > min(scales)


@needs_scaler
def test_resumed_game_goes_on_where_it_was():
    whole, referee = Game(), Referee()
    wrappers = wrappers_of(whole)
    for overflows in OVERFLOWS[:3]:
        play(whole, wrappers, overflows)
        referee.play(overflows)
    file = io.BytesIO()
    torch.save((whole.state_dict(), wrappers.state_dict()), file)
    file.seek(0)
    weights, state = torch.load(file, weights_only=True)
    resumed = Game()
    resumed.load_state_dict(weights)
    others = wrappers_of(resumed)
    others.load_state_dict(state)
    for overflows in OVERFLOWS[3:]:
        play(resumed, others, overflows)
        play(whole, wrappers, overflows)
        referee.play(overflows)
    assert same_weights(whole, resumed) and same_weights(whole, referee.game)
    assert others.state_dict()['f']['loss_scaler'] == {
        **wrappers.state_dict()['f']['loss_scaler']
    }
    assert others.state_dict()['f']['loss_scaler']['scale'] == referee.scale


@needs_scaler
def test_another_precision_is_resumed_with_a_scale_of_its_own():
    game = Game()
    plain = PlayerOptimWrapperConstructor(dict(optimizer=SGD))(game)
    play(game, plain)
    mixed = wrappers_of(game)
    mixed.load_state_dict(plain.state_dict())
    play(game, mixed)
    state = mixed.state_dict()
    assert state['psi']['loss_scaler']['scale'] == 16
    plain.load_state_dict(state)
    for mine, theirs in zip(plain.values(), mixed.values()):
        buffers = [
            next(iter(w.optimizer.state.values()))['momentum_buffer']
            for w in (mine, theirs)
        ]
        assert torch.equal(*buffers) and buffers[0].any()


@needs_scaler
@pytest.mark.parametrize('amp', [True, False], ids=['amp', 'float32'])
def test_true_gradients_of_a_player_alone_are_clipped(amp):
    game, referee = Game(), Referee(max_norm=dict(f=0.25, psi=0.5))
    settings = dict(type='PlayerAmpOptimWrapper', dtype='float16', loss_scale=SCALE)
    entries = {player: dict(optimizer=SGD) for player in PLAYERS}
    entries['f']['clip_grad'] = dict(max_norm=0.25)
    entries['psi']['clip_grad'] = dict(max_norm=0.5)
    config = {**entries, **(settings if amp else {})}
    wrappers = PlayerOptimWrapperConstructor(config)(game)
    for overflows in OVERFLOWS[:4] if amp else [(), ()]:
        play(game, wrappers, overflows)
        referee.play(overflows)
    for mine, theirs in zip(game.parameters(), referee.game.parameters()):
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-6)
    assert not torch.equal(referee.game.f.weight, Game().f.weight)
    logged = MessageHub.get_current_instance().log_scalars
    assert {'train/f.grad_norm', 'train/psi.grad_norm'} <= set(logged)
    assert 'train/f_adv.grad_norm' not in logged


def test_clipping_beside_the_entries_is_every_players():
    game = Game()
    entries = {player: dict(optimizer=SGD) for player in PLAYERS}
    entries['f']['clip_grad'] = dict(max_norm=0.5)
    clip_grad = dict(type='value', clip_value=0.125)
    wrappers = PlayerOptimWrapperConstructor(dict(entries, clip_grad=clip_grad))(game)
    assert wrappers['f'].clip_grad_kwargs == dict(max_norm=0.5)
    before = game.f_adv.weight.clone()
    minimize(1000 * game.loss(0), wrappers, PLAYERS)
    moved = (game.f_adv.weight - before).abs()
    # By the learning rate times the clipped gradient.
    torch.testing.assert_close(moved, torch.full_like(moved, 0.125 * 0.125))


@needs_scaler
@pytest.mark.parametrize('clip_grad', [None, dict(max_norm=1.0)])
def test_player_without_gradients_does_not_stop_the_others(clip_grad):
    game = Game()
    for parameter in game.f.parameters():
        parameter.requires_grad_(False)
    wrappers = wrappers_of(game, clip_grad=clip_grad)
    frozen, before = game.f.weight.clone(), game.psi.weight.clone()
    play(game, wrappers)
    play(game, wrappers)
    assert torch.equal(frozen, game.f.weight)
    assert not torch.equal(before, game.psi.weight)


@pytest.mark.parametrize(
    'entry',
    [
        dict(type='OptimWrapper'),
        dict(type='PlayerAmpOptimWrapper', dtype='bfloat16', loss_scale=2.0),
        dict(type='PlayerAmpOptimWrapper', dtype='float16'),
    ],
)
def test_players_that_scale_apart_are_refused(entry):
    bf16 = dict(type='PlayerAmpOptimWrapper', dtype='bfloat16', optimizer=SGD)
    config = {player: bf16 for player in PLAYERS}
    config['f'] = dict(optimizer=SGD, **entry)
    with pytest.raises(InputError, match='mixed precision'):
        PlayerOptimWrapperConstructor(config)(Game())


@pytest.mark.parametrize('name', ['AmpOptimWrapper', 'mmengine.AmpOptimWrapper'])
def test_mmengines_wrapper_of_a_player_is_ours(name):
    cfg = dict(type=name, dtype='bfloat16', optimizer=SGD)
    wrappers = PlayerOptimWrapperConstructor(dict.fromkeys(PLAYERS, cfg))(Game())
    assert {type(wrapper) for wrapper in wrappers.values()} == {PlayerAmpOptimWrapper}
    with pytest.raises(
        InputError, match='psi.type is .ApexOptimWrapper.*PlayerAmpOptimWrapper'
    ):
        cfg = dict(type='ApexOptimWrapper', optimizer=SGD)
        PlayerOptimWrapperConstructor(dict.fromkeys(PLAYERS, cfg))(Game())


@pytest.mark.parametrize('dtype', ['float64', 'bf16', torch.float32])
def test_type_that_is_none_of_the_two_is_refused(dtype):
    parameters = [nn.Parameter(torch.zeros(1))]
    with pytest.raises(InputError, match='bfloat16'):
        PlayerAmpOptimWrapper(dtype=dtype, optimizer=torch.optim.SGD(parameters, 0.1))


def test_loss_scale_that_is_none_is_refused():
    parameters = [nn.Parameter(torch.zeros(1))]
    with pytest.raises(InputError, match="'512'"):
        PlayerAmpOptimWrapper('512', optimizer=torch.optim.SGD(parameters, 0.1))


def test_device_without_the_type_is_named(monkeypatch):
    from mmregda.engine import player_optim_wrappers as module

    monkeypatch.setattr(module, 'SCALES_ON_CPU', False)
    with pytest.raises(InputError, match='GPUs alone. Use bfloat16'):
        module._require_support(torch.float16, 'cpu')
    module._require_support(torch.bfloat16, 'cpu')
    monkeypatch.setattr(torch.cuda, 'is_bf16_supported', lambda: False)
    monkeypatch.setattr(torch.cuda, 'get_device_name', lambda: 'an old GPU')
    with pytest.raises(InputError, match='an old GPU has no bfloat16. Use float16'):
        module._require_support(torch.bfloat16, 'cuda')
    module._require_support(torch.float16, 'cuda')


def test_bfloat16_is_not_scaled_unless_told():
    for scale, state in [(None, {}), (4.0, dict(scale=4.0)), ('dynamic', dict())]:
        if scale is not None and not SCALES_ON_CPU:
            continue
        parameters = [nn.Parameter(torch.zeros(1))]
        wrapper = PlayerAmpOptimWrapper(
            scale, optimizer=torch.optim.SGD(parameters, 0.1)
        )
        assert wrapper.cast_dtype == torch.bfloat16
        found = wrapper.loss_scaler.state_dict()
        assert bool(found) == (scale is not None)
        assert state.items() <= found.items()


@needs_scaler
def test_fixed_scale_stays_though_steps_are_skipped():
    game = Game()
    entries = {player: dict(optimizer=SGD) for player in PLAYERS}
    fixed = dict(type='PlayerAmpOptimWrapper', dtype='float16', loss_scale=4)
    wrappers = PlayerOptimWrapperConstructor({**entries, **fixed})(game)
    before = game.f.weight.clone()
    play(game, wrappers, [(0, 'f')])
    assert torch.equal(before, game.f.weight)
    for _ in range(3):
        play(game, wrappers)
    assert wrappers.state_dict()['f']['loss_scaler']['scale'] == 4


def test_ordinary_model_of_mmpose_trains_in_bfloat16_without_a_gpu():
    torch.manual_seed(0)
    cfg = tiny_model_config(num_keypoints=5)
    cfg.update(type='TopdownPoseEstimator')
    cfg.pop('adaptation')
    model = MODELS.build(cfg).train()
    wrapper = build_optim_wrapper(
        model, dict(type='PlayerAmpOptimWrapper', dtype='bfloat16', optimizer=SGD)
    )
    assert isinstance(wrapper, PlayerAmpOptimWrapper) and isinstance(
        wrapper, OptimWrapper
    )
    types = []
    model.neck.register_forward_hook(lambda _, __, maps: types.append(maps[0].dtype))
    before = model.backbone.conv1.weight.clone()
    log_vars = model.train_step(random_batch(2, 5, 0), wrapper)
    assert types == [torch.bfloat16]
    assert torch.isfinite(log_vars['loss'])
    assert not torch.equal(before, model.backbone.conv1.weight)
    assert model.backbone.conv1.weight.dtype == torch.float32


@needs_scaler
@pytest.mark.parametrize('fused', [False, True])
@pytest.mark.parametrize('clip_grad', [None, dict(max_norm=1e6)])
def test_momenta_begin_with_the_first_step_that_is_taken(monkeypatch, fused, clip_grad):
    # What is in the memory that they get is not to be seen in them.
    empty = torch.empty_like
    monkeypatch.setattr(torch, 'empty_like', lambda *a, **k: empty(*a, **k).fill_(1e30))
    game, expected = Game(), Game()
    sgd = dict(SGD, fused=True) if fused else SGD
    try:
        wrappers = PlayerOptimWrapperConstructor(
            dict(
                type='PlayerAmpOptimWrapper',
                dtype='float16',
                loss_scale=dict(init_scale=8.0),
                optimizer=sgd,
                clip_grad=clip_grad,
            )
        )(game)
    except RuntimeError:
        pytest.skip('this PyTorch has no fused SGD here')
    everything = tuple((i, p) for i, phase in enumerate(PHASES) for p in phase)
    play(game, wrappers, everything)
    assert same_weights(game, expected)
    referee = Referee()
    for _ in range(3):
        play(game, wrappers)
        referee.play()
    for weight, other in zip(game.parameters(), referee.game.parameters()):
        torch.testing.assert_close(weight, other)


@needs_scaler
def test_overflow_in_float16_leaves_a_network_alone_until_the_scale_fits():
    torch.manual_seed(0)
    model = MODELS.build(tiny_model_config(num_keypoints=5)).train()
    before = {name: p.clone() for name, p in model.named_parameters()}
    wrappers = PlayerOptimWrapperConstructor(
        dict(
            type='PlayerAmpOptimWrapper',
            dtype='float16',
            loss_scale=dict(init_scale=2.0**60),
            optimizer=SGD,
        )
    )(model)
    batches = dict(source=random_batch(2, 5, 0), target=random_batch(2, 5, 1))
    model.train_step(batches, wrappers)
    # Three backward passes, three overflows.
    assert wrappers.state_dict()['head']['loss_scaler']['scale'] == 2.0**57
    assert all(torch.equal(before[n], p) for n, p in model.named_parameters())
    wrappers['head'].loss_scaler.load_state_dict(
        dict(wrappers.state_dict()['head']['loss_scaler'], scale=2.0**6)
    )
    model.train_step(batches, wrappers)
    moved = {n for n, p in model.named_parameters() if not torch.equal(before[n], p)}
    assert {'backbone.conv1.weight', 'head.final_layer.weight'} <= moved
    assert all(torch.isfinite(p).all() for p in model.parameters())
