"""Each switch with each adaptation: it trains as without."""

import copy
import importlib.util
import logging
import sys
from functools import lru_cache
from types import SimpleNamespace

import pytest
import torch
from conftest import (
    METHODS,
    ROOT,
    arguments_of,
    batches_of,
    tiny_config,
    tiny_model_config,
    write_pretrain_config,
)
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.optim import OptimWrapper, build_optim_wrapper
from mmengine.runner import CheckpointLoader
from mmpose.registry import MODELS
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmregda import InputError
from mmregda.datasets.views import views_of
from mmregda.engine import PlayerOptimWrapperConstructor
from mmregda.engine import train as train_config
from mmregda.engine.hooks import compile_hook
from mmregda.engine.hooks.compile_hook import (
    CompileHook,
    begin_iteration,
    compile_for_training,
)
from mmregda.engine.player_optim_wrappers import SCALES_ON_CPU
from mmregda.engine.start import load_pretrain_config

K = 5


@MODELS.register_module()
class ThreeLayers(nn.Module):
    """A backbone that is compiled in no time: 64 pixels to 4."""

    def __init__(self):
        super().__init__()
        widths, layers = (3, 8, 16, 32), []
        for width, wider in zip(widths, widths[1:]):
            layers += [
                nn.Conv2d(width, wider, 3, stride=4 if width == 3 else 2, padding=1),
                nn.BatchNorm2d(wider),
                nn.ReLU(inplace=True),
            ]
        self.layers = nn.Sequential(*layers)

    def forward(self, x):
        return (self.layers(x),)


def build_model(method, **settings):
    torch.manual_seed(0)
    cfg = tiny_model_config(num_keypoints=K, type=method)
    cfg.update(backbone=dict(type='ThreeLayers'), **settings)
    # Rounding is not to change what is ranked first.
    known = arguments_of(MODELS.get(method))
    ranks = dict(mask_ratio=0, consistent=0)
    cfg['adaptation'].update({k: v for k, v in ranks.items() if k in known})
    cfg['neck'].update(in_channels=32, out_channels=(16, 16))
    model = MODELS.build(cfg)
    for module in model.modules():
        # Drawn as in the paper, all maps are flat and training hardly moves.
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
            nn.init.kaiming_normal_(module.weight)
    if hasattr(model.adaptation, 'warm_start'):
        model.adaptation.warm_start.iteration.fill_(1000)
    return model.train()


def batches(method, i, size=4):
    return batches_of(method, K, 10 + i, (size, 3, 3))


def train(model, num_iters=3, **settings):
    """Train; the losses of each iteration, and how far each weight moved."""
    wrappers = PlayerOptimWrapperConstructor(
        dict(optimizer=dict(type='SGD', lr=0.02, momentum=0.9), **settings)
    )(model)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    method = type(model.adaptation).__name__
    losses = [model.train_step(batches(method, i), wrappers) for i in range(num_iters)]
    moves = {name: p.detach() - before[name] for name, p in model.named_parameters()}
    return losses, moves


@lru_cache(maxsize=None)
def plain(method):
    """What happens without a switch, and the model after it."""
    model = build_model(method)
    return (*train(model), model)


def assert_alike(model, losses, moves, method, tolerance, noise):
    """Losses agree to a tolerance, movements to a noise relative to their size."""
    expected_losses, expected_moves, other = plain(method)
    for found, expected in zip(losses, expected_losses):
        assert set(found) == set(expected)
        for name in found:
            if name.startswith('loss'):
                assert found[name].item() == pytest.approx(
                    expected[name].item(), rel=tolerance, abs=tolerance
                )
    for player, modules in other.players().items():
        owned = {id(p) for module in modules for p in module.parameters()}
        names = [name for name, p in other.named_parameters() if id(p) in owned]
        found, expected = (
            torch.cat([movement[name].flatten() for name in names])
            for movement in (moves, expected_moves)
        )
        assert expected.norm() > 1e-2, 'nothing was trained, so nothing was compared'
        assert (found - expected).norm() < noise * expected.norm(), player
    for (name, found), expected in zip(model.named_buffers(), other.buffers()):
        if name.endswith(('running_mean', 'running_var')):
            torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)


def rounding(model, tolerance, noise):
    """What is allowed: a label that rounding moves is another one in another view."""
    return (0.2, 0.5) if model.adaptation.views else (tolerance, noise)


def types_of_features(model):
    """In which types the backbone hands over what it finds, from now on."""
    types = set()
    model.backbone.register_forward_hook(lambda _, __, maps: types.add(maps[0].dtype))
    return types


@pytest.mark.parametrize('method', METHODS)
def test_bfloat16_trains_as_float32(method):
    model = build_model(method)
    types = types_of_features(model)
    losses, moves = train(model, type='PlayerAmpOptimWrapper', dtype='bfloat16')
    assert types == {torch.bfloat16}
    assert_alike(model, losses, moves, method, *rounding(model, 0.05, 0.3))


@pytest.mark.slow
@pytest.mark.skipif(not SCALES_ON_CPU, reason='gradients are scaled on GPUs only')
@pytest.mark.parametrize('method', METHODS)
def test_float16_trains_as_float32(method):
    model = build_model(method)
    # A scale that fits from the start: no step is skipped.
    amp = dict(type='PlayerAmpOptimWrapper', dtype='float16', loss_scale=256.0)
    types = types_of_features(model)
    losses, moves = train(model, **amp)
    assert types == {torch.float16}
    assert_alike(model, losses, moves, method, *rounding(model, 0.01, 0.2))


@pytest.mark.parametrize('method', METHODS)
def test_gradients_that_are_short_enough_are_not_clipped(method):
    model = build_model(method)
    losses, moves = train(model, clip_grad=dict(max_norm=1e6))
    assert_alike(model, losses, moves, method, tolerance=1e-6, noise=1e-5)


@pytest.mark.parametrize('method', METHODS)
def test_gradients_that_are_too_long_are_clipped(method):
    model = build_model(method)
    _, moves = train(model, num_iters=1, clip_grad=dict(max_norm=1e-4))
    for player, modules in model.players().items():
        owned = {id(p) for module in modules for p in module.parameters()}
        moved = [moves[n].norm() for n, p in model.named_parameters() if id(p) in owned]
        # By the learning rate times this, a few times.
        assert 0 < torch.stack(moved).norm() < 50 * 0.02 * 1e-4, player


def test_last_layer_of_both_heads_keeps_float32_under_autocast():
    model = copy.deepcopy(build_model('RegDA'))
    images = torch.rand(2, 3, 64, 64)
    for head in (model.head, model.adaptation.adversary):
        inputs = []
        layer = head.final_layer
        layer.register_forward_pre_hook(lambda _, xs, i=inputs: i.append(xs[0]))
        with torch.autocast('cpu', dtype=torch.bfloat16):
            logits = head(model.extract_feat(images))
        assert inputs[0].dtype == torch.bfloat16 and logits.dtype == torch.float32
        expected = (
            inputs[0].float().flatten(2).transpose(1, 2) @ layer.weight[..., 0, 0].T
        )
        torch.testing.assert_close(
            logits.flatten(2), expected.transpose(1, 2) + layer.bias[:, None]
        )


@pytest.mark.parametrize('method', METHODS)
def test_channels_last_trains_as_channels_first(method):
    model = build_model(method).to(memory_format=torch.channels_last)
    orders = set()
    model.neck.register_forward_hook(
        lambda _, __, maps: orders.add(maps[0].stride(1) == 1)
    )
    losses, moves = train(model)
    assert orders == {True}
    assert_alike(model, losses, moves, method, tolerance=1e-4, noise=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize('method', METHODS)
def test_compiled_features_train_as_plain_ones_and_are_compiled_once(method):
    graphs = []

    def backend(graph, inputs):
        graphs.append(graph)
        return graph.forward

    torch._dynamo.reset()
    model = build_model(method)
    names = list(model.state_dict())
    for part in model.players()['feature_extractor']:
        compile_for_training(part, backend=backend, fullgraph=True)
    losses, moves = train(model)
    assert list(model.state_dict()) == names
    assert_alike(model, losses, moves, method, tolerance=1e-4, noise=1e-3)
    count = len(graphs)
    # One for each way in which batch normalisation counts, with and without
    # gradients, sizes of batches; and none for those that come again.
    assert 2 <= count <= 8
    train(model)
    copied = copy.deepcopy(model)
    with torch.no_grad():
        model.eval().extract_feat(torch.rand(5, 3, 64, 64))
    assert len(graphs) == count
    model.backbone.layers[0].weight.data.zero_()
    image = torch.rand(4, 3, 64, 64)
    features = [m.train().backbone(image)[0] for m in (model, copied)]
    assert not torch.allclose(*features), 'a copy computes with the original weights'


@pytest.mark.parametrize(
    ('options', 'expected'),
    [
        ({}, dict(mode='reduce-overhead', dynamic=False)),
        (dict(backend='inductor'), dict(mode='reduce-overhead', dynamic=False)),
        (dict(mode='default', dynamic=None), dict(mode='default', dynamic=None)),
        (dict(backend='eager'), dict(backend='eager', dynamic=False)),
        (dict(options={'trace': 1}), dict(options={'trace': 1}, dynamic=False)),
    ],
)
def test_what_a_training_is_compiled_with(options, expected, monkeypatch):
    given = []
    monkeypatch.setattr(torch, 'compile', lambda _, **options: given.append(options))
    CompileHook(**options).before_train(runner_of(build_model('RegDA')))
    assert given == [{**options, **expected}] * 2  # backbone and neck


def runner_of(model, accumulative_counts=1):
    sgd = torch.optim.SGD(model.parameters(), lr=0.1)
    wrapper = OptimWrapper(sgd, accumulative_counts=accumulative_counts)
    logger = logging.getLogger('compiling')
    return SimpleNamespace(model=model, optim_wrapper=wrapper, logger=logger)


@pytest.mark.parametrize('mode', ['reduce-overhead', 'max-autotune', 'default'])
@pytest.mark.parametrize(
    'obstacle', [None, 'PyTorch', 'process', 'micro_batches', 'accumulative_counts']
)
def test_cuda_graphs_are_left_out_where_they_are_not_known_to_work(
    obstacle, mode, monkeypatch, caplog
):
    given, marks = [], []
    monkeypatch.setattr(torch, 'compile', lambda _, **options: given.append(options))
    monkeypatch.setattr(
        torch.compiler, 'cudagraph_mark_step_begin', lambda: marks.append(1)
    )
    version = '2.10.1' if obstacle == 'PyTorch' else '2.11.0+cu130'
    monkeypatch.setattr(torch, '__version__', version)
    if obstacle == 'process':
        monkeypatch.setattr(compile_hook, 'get_world_size', lambda: 2)
    parts = 2 if obstacle == 'micro_batches' else 1
    counts = 2 if obstacle == 'accumulative_counts' else 1
    runner = runner_of(build_model('RegDA', micro_batches=parts), counts)
    hook = CompileHook(mode=mode)
    with caplog.at_level(logging.INFO):
        hook.before_train(runner)
    hook.before_train_iter(runner, 0)
    without = {
        'reduce-overhead': 'default',
        'max-autotune': 'max-autotune-no-cudagraphs',
        'default': 'default',
    }
    assert {options['mode'] for options in given} == {
        without[mode] if obstacle else mode
    }
    # Where they are, they are told of each iteration.
    assert len(marks) == (not obstacle and mode != 'default')
    said = 'without CUDA graphs' in caplog.text and str(obstacle) in caplog.text
    assert said == (obstacle is not None and mode != 'default')


@pytest.mark.slow
def test_backend_with_gradients_of_its_own_trains_a_resnet_as_plain():
    torch._dynamo.reset()
    moves = []
    for backend in ('aot_eager', None):
        torch.manual_seed(0)
        model = MODELS.build(tiny_model_config(num_keypoints=K)).train()
        if backend is not None:
            compile_for_training(model.backbone, backend=backend)
        _, movement = train(model, num_iters=2)
        moves.append(torch.cat([m.flatten() for m in movement.values()]))
    torch.testing.assert_close(*moves, rtol=1e-3, atol=1e-5)


@lru_cache(maxsize=None)
def can_compile(device):
    """Whether PyTorch finds the compilers that its own needs here."""
    try:
        torch.compile(lambda x: x + 1)(torch.ones(2, device=device))
    except torch._dynamo.exc.TorchDynamoException:
        return False
    return True


@pytest.mark.slow
@pytest.mark.parametrize('method', METHODS)
def test_pytorchs_compiler_and_cuda_graphs_train_as_plain(method, monkeypatch):
    on_gpu = torch.cuda.is_available()
    device = 'cuda' if on_gpu else 'cpu'
    if not can_compile(device):
        pytest.skip('PyTorch finds no compiler')
    replayed = []
    if on_gpu:
        graph = torch.cuda.CUDAGraph
        replay = graph.replay
        monkeypatch.setattr(
            graph, 'replay', lambda self: [replayed.append(self), replay(self)][1]
        )

    def train_in(mode):
        torch._dynamo.reset()
        model = build_model(method).to(device)
        if mode is not None:
            for part in model.players()['feature_extractor']:
                compile_for_training(part, mode=mode)
        step = model.train_step

        def marked_step(*arguments):
            begin_iteration(mode)
            replayed.clear()
            return step(*arguments)

        model.train_step = marked_step
        torch.manual_seed(0)
        # Two runs of the same would differ, and with MCD by as much as is allowed here.
        with torch.backends.cudnn.flags(enabled=True, deterministic=True):
            losses, moves = train(model, num_iters=6)
        return losses, torch.cat([move.flatten() for move in moves.values()])

    plain_losses, plain_moves = train_in(None)
    losses, moves = train_in('default')
    assert not replayed
    torch.testing.assert_close(losses, plain_losses, rtol=1e-3, atol=1e-3)
    assert (moves - plain_moves).norm() < 5e-2 * plain_moves.norm()
    if on_gpu:
        graph_losses, graph_moves = train_in('reduce-overhead')
        assert len(replayed) >= 4  # both parts of psi, forward and backward
        torch.testing.assert_close(graph_losses, losses, rtol=1e-3, atol=1e-3)
        assert (graph_moves - moves).norm() < 1e-2 * moves.norm()


# --- a GPU ------------------------------------------------------------------

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason='there is no GPU')
FLOAT16 = dict(type='PlayerAmpOptimWrapper', dtype='float16')


@needs_gpu
@pytest.mark.parametrize('method', METHODS)
def test_gpu_trains_as_the_cpu(method):
    model = build_model(method).cuda()
    if hasattr(model.adaptation, 'teacher'):
        pytest.skip('its student sees what is drawn on the device')
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        losses, moves = train(model)
    moves = {name: move.cpu() for name, move in moves.items()}
    assert_alike(model.cpu(), losses, moves, method, tolerance=1e-3, noise=1e-2)


@needs_gpu
@pytest.mark.parametrize(
    'settings',
    [{}, dict(FLOAT16, dtype='bfloat16'), FLOAT16],
    ids=['float32', 'bfloat16', 'float16'],
)
@pytest.mark.parametrize('method', METHODS)
def test_iteration_does_not_wait_for_the_gpu(method, settings):
    shipped = ROOT / 'configs/_base_/models/simple_baseline_res101_hand21.py'
    preprocessor = Config.fromfile(shipped).model.data_preprocessor
    model = build_model(method, data_preprocessor=preprocessor).cuda()
    sgd = dict(type='SGD', lr=0.02, momentum=0.9, fused=True)
    wrappers = PlayerOptimWrapperConstructor(dict(optimizer=sgd, **settings))(model)
    pinned = [batches(method, i) for i in range(2)]
    for part in (part for batch in pinned for part in batch.values()):
        for view in views_of(part).values():
            view['inputs'] = torch.stack(view['inputs']).pin_memory()
    model.train_step(pinned[0], wrappers)  # What is there once is made.
    torch.cuda.set_sync_debug_mode('error')
    try:
        model.train_step(pinned[1], wrappers)
    finally:
        torch.cuda.set_sync_debug_mode('default')


# --- a batch in parts -------------------------------------------------------


def freeze_norms(model):
    parts = list(model.players()['feature_extractor'])
    if hasattr(model.adaptation, 'teacher'):
        parts += model.adaptation.teacher.network[:-1]
    for part in parts:
        for module in part.modules():
            if isinstance(module, _BatchNorm):
                module.train = lambda mode=True: None
                module.training = False


@pytest.mark.parametrize('micro_batches', [0, -2, 2.0, '2', None])
def test_what_is_no_number_of_micro_batches_is_refused(micro_batches):
    with pytest.raises(InputError, match=f'micro_batches is {micro_batches!r},'):
        build_model('RegDA', micro_batches=micro_batches)


@pytest.mark.parametrize('micro_batches', [2, 3])
@pytest.mark.parametrize('method', METHODS)
def test_parts_of_a_batch_are_the_batch(method, micro_batches):
    moves = []
    for count in (1, micro_batches):
        model = build_model(method, micro_batches=count)
        freeze_norms(model)
        sizes = []
        model.backbone.register_forward_hook(
            lambda _, images, __, sizes=sizes: sizes.append(len(images[0]))
        )
        losses, movement = train(model, num_iters=2)
        moves.append(torch.cat([m.flatten() for m in movement.values()]))
        largest = 4 if 'source' in model.adaptation.domains else 3
        assert max(sizes) == -(-largest // count)
    assert moves[0].norm() > 0.01
    torch.testing.assert_close(*moves, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize('micro_batches', [2, 3, 4])
@pytest.mark.parametrize('method', ['RegDA', 'AdaBN', 'MCD'])
def test_running_statistics_of_a_batch_in_parts_are_those_of_the_batch(
    method, micro_batches
):
    found = []
    for count in (1, micro_batches):
        model = build_model(method, micro_batches=count)
        still = PlayerOptimWrapperConstructor(dict(optimizer=dict(type='SGD', lr=0.0)))
        for i in range(3):
            model.train_step(batches(method, i), still(model))
        # What the first layer sees does not depend on how parts are normalised.
        first, *others = (m for m in model.modules() if isinstance(m, _BatchNorm))
        found.append((first.running_mean, first.running_var))
        counts = [int(norm.num_batches_tracked) for norm in (first, *others)]
        found[-1] += (torch.tensor(counts),)
    for whole, parts in zip(*found):
        torch.testing.assert_close(parts, whole, rtol=1e-5, atol=1e-6)


def test_parts_are_counted_together_by_layers_that_see_them_normalised_apart():
    images = torch.rand(5, 3, 64, 64)
    model = build_model('SourceOnly', micro_batches=2)
    seen = []
    last = model.backbone.layers[-2]
    last.register_forward_hook(lambda _, args, __: seen.append(args[0].detach()))
    model.extract_feat(images)
    values = torch.cat(seen).transpose(0, 1).flatten(1)
    assert len(seen) == 2
    torch.testing.assert_close(last.running_mean, 0.1 * values.mean(1))
    torch.testing.assert_close(last.running_var, 0.9 + 0.1 * values.var(1))
    assert last.num_batches_tracked == 1


def test_a_mean_over_all_batches_counts_a_batch_in_parts_as_one():
    found = []
    for count in (1, 4):
        model = build_model('SourceOnly', micro_batches=count)
        for norm in model.modules():
            if isinstance(norm, _BatchNorm):
                norm.momentum = None
        for i in range(3):
            inputs = model.data_preprocessor(
                batches('SourceOnly', i)['source'], training=True
            )
            model.extract_feat(inputs['inputs'])[0].sum().backward()
        norm = model.backbone.layers[1]
        found.append((norm.running_mean, norm.running_var))
    torch.testing.assert_close(*found)


CHECKPOINTED = [
    dict(type='ResNet', depth=18, stem_channels=8, base_channels=8),
    dict(type='ResNet', depth=18, stem_channels=8, base_channels=8, deep_stem=True),
    dict(type='MobileNetV2', widen_factor=0.25),
]


@pytest.mark.parametrize('backbone', CHECKPOINTED, ids=['plain', 'deep', 'mobile'])
def test_checkpointing_that_counts_batches_twice_is_refused(backbone):
    cfg = tiny_model_config(num_keypoints=K, type='AdaBN')
    cfg.update(backbone=dict(backbone, with_cp=True))
    cfg['neck']['in_channels'] = 64 if backbone['type'] == 'ResNet' else 1280
    with pytest.raises(InputError, match='model.backbone.with_cp = False.*micro_batch'):
        MODELS.build(cfg)
    # Frozen statistics are counted by nobody.
    cfg['backbone']['norm_eval'] = True
    MODELS.build(cfg)


def test_checkpointing_without_batch_normalisation_is_let_pass():
    cfg = tiny_model_config(num_keypoints=K, type='RegDA')
    cfg['backbone'] = dict(
        type='SwinTransformer', embed_dims=12, num_heads=(1, 2, 2, 2), with_cp=True
    )
    cfg['neck']['in_channels'] = 96
    model = MODELS.build(cfg)
    assert any(getattr(part, 'with_cp', False) for part in model.backbone.modules())


def test_images_alone_are_held_for_a_batch_in_parts():
    images = torch.rand(8, 3, 64, 64)
    held = {}
    for count in (1, 4):
        model = build_model('SourceOnly', micro_batches=count)
        sizes = []
        with torch.autograd.graph.saved_tensors_hooks(
            lambda tensor, sizes=sizes: sizes.append(tensor.numel()) or tensor,
            lambda tensor: tensor,
        ):
            model.extract_feat(images)
        held[count] = sum(sizes)
    assert held[1] > 2 * images.numel()
    assert held[4] <= images.numel()


# --- from the config and the command line -----------------------------------


@pytest.fixture
def config_file(hand_pair, tmp_path):
    """Two stages of two iterations, in a file."""
    cfg = tiny_config(hand_pair, tmp_path / 'run', max_iters=2)
    cfg.custom_hooks = []
    write_pretrain_config(cfg, tmp_path / 'pretrain.py')
    cfg.pretrain = dict(config=str(tmp_path / 'pretrain.py'))
    cfg.dump(str(tmp_path / 'adapt.py'))
    return tmp_path / 'adapt.py'


def load_tool():
    spec = importlib.util.spec_from_file_location('train', ROOT / 'tools/train.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_precision_reaches_players_with_types_of_their_own():
    tool = load_tool()
    cfg = Config.fromfile(ROOT / 'configs/regda_rhd2h3d.py')
    cfg.optim_wrapper.head.update(type='OptimWrapper')
    tool.use_mixed_precision(cfg, 'float16')
    model = build_model('RegDA')
    for wrapper in build_optim_wrapper(model, cfg.optim_wrapper).values():
        assert wrapper.cast_dtype == torch.float16
    assert cfg.pretrain.options['optim_wrapper.dtype'] == 'float16'


@pytest.mark.parametrize(
    ('arguments', 'dtype'),
    [
        (['--amp'], 'bfloat16'),
        (['--amp-dtype', 'float16'], 'float16'),
        (['--amp', '--amp-dtype', 'float16'], 'float16'),
        ([], None),
    ],
)
def test_precision_of_a_model_of_one_domain(arguments, dtype, monkeypatch):
    config = str(ROOT / 'configs/source_only_rhd2h3d.py')
    monkeypatch.setattr(sys, 'argv', ['train.py', config, *arguments])
    monkeypatch.setenv('LOCAL_RANK', '0')
    tool = load_tool()
    settings = tool.load_config(tool.parse_args()).optim_wrapper
    assert settings.get('dtype') == dtype and settings.optimizer.type == 'SGD'
    if dtype:
        assert settings.type == 'PlayerAmpOptimWrapper'


def test_pretraining_may_be_faster_than_what_follows(config_file):
    cfg = Config.fromfile(config_file)
    cfg.work_dir = 'run'
    cfg.channels_last, cfg.compile = False, True
    cfg.pretrain.options = dict(channels_last=True)
    stage = load_pretrain_config(cfg)
    assert (stage.channels_last, stage.compile) == (True, True)


def test_switches_of_the_command_reach_both_stages(config_file, monkeypatch):
    seen = []

    def note(hook, runner):
        model, wrapper = runner.model, runner.optim_wrapper
        part = 'head' if hasattr(model, 'adaptation') else None
        seen.append(
            dict(
                amp=(wrapper[part] if part else wrapper).cast_dtype,
                ordered=model.backbone.conv1.weight.stride(1) == 1,
            )
        )

    monkeypatch.setattr(CompileHook, 'before_train', note)
    arguments = ['--compile', '--channels-last', '--amp', str(config_file)]
    arguments += ['--work-dir', str(config_file.parent / 'run')]
    monkeypatch.setattr(sys, 'argv', ['train.py', *arguments])
    # What the tool sets in its process is taken back.
    monkeypatch.setenv('LOCAL_RANK', '0')
    monkeypatch.setenv('TORCH_FORCE_WEIGHTS_ONLY_LOAD', '1')
    load_tool().main()
    stage = dict(amp=torch.bfloat16, ordered=True)
    assert seen == [stage, stage]
    (dumped,) = config_file.parent.glob('run/*/vis_data/config.py')
    settings = Config.fromfile(dumped).optim_wrapper
    assert (settings.type, settings.dtype) == ('PlayerAmpOptimWrapper', 'bfloat16')


class _Interrupt(Hook):
    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.iter == 2:
            raise KeyboardInterrupt


@pytest.mark.slow
@pytest.mark.skipif(not SCALES_ON_CPU, reason='gradients are scaled on GPUs only')
def test_resumed_training_with_every_switch_is_the_uninterrupted_one(
    hand_pair, tmp_path
):
    def run(name, hooks=(), resume=False):
        torch._dynamo.reset()
        cfg = tiny_config(hand_pair, tmp_path / name, resume=resume)
        cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
        cfg.default_hooks.checkpoint.save_best = None
        cfg.custom_hooks = list(hooks)
        cfg.optim_wrapper.update(
            type='PlayerAmpOptimWrapper',
            dtype='float16',
            loss_scale=dict(init_scale=64.0, growth_interval=5),
            clip_grad=dict(max_norm=10.0),
        )
        cfg.compile, cfg.channels_last = dict(backend='eager'), True
        cfg.model.micro_batches = 2
        train_config(cfg)
        return CheckpointLoader.load_checkpoint(str(tmp_path / name / 'iter_4.pth'))

    whole = run('whole')
    with pytest.raises(KeyboardInterrupt):
        run('parts', hooks=[_Interrupt()])
    parts = run('parts', resume=True)
    for key, value in whole['state_dict'].items():
        assert torch.equal(value, parts['state_dict'][key]), key
    scales = [run['optimizer']['head']['loss_scaler'] for run in (whole, parts)]
    # Twelve backward passes: two times five without overflow, and two.
    assert scales[0] == scales[1]
    assert (scales[0]['scale'], scales[0]['_growth_tracker']) == (256.0, 2)
    fresh = MODELS.build(tiny_model_config())
    assert list(whole['state_dict']) == list(fresh.state_dict())


def _has_fused_sgd():
    try:
        torch.optim.SGD([nn.Parameter(torch.zeros(1))], fused=True)
    except (RuntimeError, TypeError):
        return False
    return True


@pytest.mark.slow
@pytest.mark.skipif(not _has_fused_sgd(), reason='this PyTorch has none on CPUs')
@pytest.mark.parametrize('later', [(True, True), (True, False), (False, False)])
@pytest.mark.parametrize('first', [(False, False), (True, True)])
def test_kernels_and_layout_may_change_when_training_resumes(
    first, later, hand_pair, tmp_path
):
    seen = []

    class Look(Hook):
        def after_train(self, runner):
            optimizer = runner.optim_wrapper['feature_extractor'].optimizer
            (group,) = optimizer.param_groups
            weight = runner.model.backbone.conv1.weight
            momentum = optimizer.state[weight]['momentum_buffer']
            seen.append((group['fused'], weight.stride(1) == 1))
            assert momentum.stride() == weight.stride()

    def run(name, switches, max_iters, resume=False):
        cfg = tiny_config(hand_pair, tmp_path / name, max_iters, resume=resume)
        cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
        cfg.default_hooks.checkpoint.save_best = None
        cfg.param_scheduler = None
        cfg.custom_hooks = [Look()]
        for player in ('feature_extractor', 'head', 'adversary'):
            cfg.optim_wrapper[player].optimizer.fused = switches[0]
        cfg.channels_last = switches[1]
        train_config(cfg)
        path = str(tmp_path / name / f'iter_{max_iters}.pth')
        return CheckpointLoader.load_checkpoint(path)['state_dict']

    whole = run('whole', (False, False), 4)
    run('parts', first, 2)
    parts = run('parts', later, 4, resume=True)
    assert seen == [(False, False), first, later]
    for name, value in whole.items():
        torch.testing.assert_close(parts[name], value, rtol=1e-3, atol=1e-4, msg=name)
