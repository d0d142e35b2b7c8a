"""Training in several processes is the training of one.

The processes are real ones that talk over gloo. What they compute is held
against one process that has all their batches at once.
"""

import copy
from types import SimpleNamespace
from unittest import mock

import pytest
import torch
import torch.distributed as dist
from conftest import METHODS, ROOT, arguments_of, batches_of, tiny_model_config
from mmengine.config import Config
from mmpose.registry import MODELS
from processes import DEVICE, results
from torch import nn
from torch.distributed.nn.functional import all_reduce
from torch.nn.modules.batchnorm import _BatchNorm

from mmregda import InputError
from mmregda.engine import (
    PlayerDistributedDataParallel,
    PlayerOptimWrapper,
    PlayerOptimWrapperConstructor,
    loops,
    stages,
    start,
)
from mmregda.engine.distributed import joined_processes
from mmregda.engine.player_optim_wrappers import SCALES_ON_CPU
from mmregda.engine.start import load_pretrain_config, pretrained_path

pytestmark = pytest.mark.slow

K, ITERATIONS = 5, 2
# Of all processes together; with four of them DAN has two of each domain.
SOURCE, TARGET = 8, 12
NORMS = ('plain', 'frozen', 'synchronised')
# With four processes some of these will do.
CASES = {
    2: [(method, norm) for method in METHODS for norm in ('plain', 'frozen')]
    + [(method, 'synchronised') for method in ('RegDA', 'DANN', 'AdaBN')],
    4: [('RegDA', norm) for norm in NORMS] + [('MCD', 'frozen'), ('DAN', 'frozen')],
}


class GlooSyncBatchNorm(_BatchNorm):
    """Synchronised batch normalisation on CPUs, where PyTorch has none."""

    def _check_input_dim(self, x):
        pass

    def forward(self, x):
        if not self.training:
            return super().forward(x)
        dims = [d for d in range(x.dim()) if d != 1]
        sums = torch.stack((x.sum(dims), x.square().sum(dims)))
        count = dist.get_world_size() * x.numel() / x.shape[1]
        mean, square = all_reduce(sums) / count
        var = square - mean.square()
        with torch.no_grad():
            # As PyTorch's, which counts batches where it keeps the number.
            if self.num_batches_tracked is not None:
                self.num_batches_tracked += 1
            momentum = self.momentum
            if momentum is None:
                momentum = 1 / float(self.num_batches_tracked)
            self.running_mean.lerp_(mean, momentum)
            self.running_var.lerp_(var * count / (count - 1), momentum)
        shape = [-1 if d == 1 else 1 for d in range(x.dim())]
        scale = self.weight / (var + self.eps).sqrt()
        return (x - mean.view(shape)) * scale.view(shape) + self.bias.view(shape)


def synchronize(model):
    if DEVICE == 'cuda':
        return nn.SyncBatchNorm.convert_sync_batchnorm(model)
    for parent in list(model.modules()):
        for name, norm in list(parent.named_children()):
            if isinstance(norm, _BatchNorm):
                ours = GlooSyncBatchNorm(norm.num_features, norm.eps, norm.momentum)
                ours.load_state_dict(norm.state_dict())
                setattr(parent, name, ours)
    return model


def build_model(method, seed):
    torch.manual_seed(seed)
    cfg = tiny_model_config(num_keypoints=K, type=method)
    cfg['backbone'].update(
        num_stages=2, strides=(1, 2), dilations=(1, 1), out_indices=(1,)
    )
    cfg['neck'].update(in_channels=16, out_channels=(16,))
    settings = dict(
        num_steps=2,  # MCD's
        # From the first iteration on, and another one in each.
        warm_start=dict(lo=0.5, hi=1.0, num_iters=2),
        # Each process has its own draws, which one process cannot repeat.
        perturbation=dict(num_erased=0, jitter=0.0),
        occlusion=dict(prob=0),
        # It ranks its own batch.
        mask_ratio=0,
        consistent=0,
    )
    known = arguments_of(MODELS.get(method))
    cfg['adaptation'].update({k: v for k, v in settings.items() if k in known})
    model = MODELS.build(cfg)
    for module in model.modules():
        if getattr(module, 'final_layer', None) is not None:
            # Maps that are not flat, of which the maximum is clear.
            nn.init.normal_(module.final_layer.weight, std=0.3)
    return model.to(DEVICE).train()


def freeze_norms(model):
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            module.eval()


def batches(iteration, method, part=slice(None)):
    """The iteration's batches of all processes, or a part of them."""
    whole = batches_of(method, K, iteration, (SOURCE, TARGET, SOURCE))

    def part_of(batch):
        if 'inputs' not in batch:
            return {view: part_of(one) for view, one in batch.items()}
        return {key: values[part] for key, values in batch.items()}

    return {domain: part_of(batch) for domain, batch in whole.items()}


def train(model, parts, norm, wrap=lambda model: model):
    """Steps (player, gradient) and the state after each iteration."""
    if norm == 'frozen':
        freeze_norms(model)
    wrapped = wrap(model)
    optimizer = dict(type='SGD', lr=0.02, momentum=0.9)
    optim_wrapper = PlayerOptimWrapperConstructor(
        {player: dict(optimizer=optimizer) for player in model.players()}
    )(model)
    steps, states = [], []

    def record(optimizer, player):
        parameters = optimizer.param_groups[0]['params']
        grads = [p.grad.flatten() for p in parameters if p.grad is not None]
        steps.append((player, torch.cat(grads).cpu()))

    for player, wrapper in optim_wrapper.items():
        wrapper.optimizer.register_step_pre_hook(
            lambda optimizer, args, kwargs, player=player: record(optimizer, player)
        )
    for part in parts:
        losses = wrapped.train_step(part, optim_wrapper)
        state = {k: v.cpu() for k, v in copy.deepcopy(model.state_dict()).items()}
        states.append(state)
    return dict(steps=steps, states=states, loss=float(next(iter(losses.values()))))


def train_all():
    """All methods and norms, in one process of several."""
    torch.backends.cudnn.allow_tf32 = False
    found = {}
    with joined_processes('pytorch', dict(dist_cfg=dict(backend='gloo', timeout=60))):
        rank, world_size = dist.get_rank(), dist.get_world_size()
        for method, norm in CASES[world_size]:
            # Each process its own weights: those of the first are to hold.
            model = build_model(method, seed=rank)
            if norm == 'synchronised':
                synchronize(model)
            part = slice(rank, None, world_size)
            parts = [batches(i, method, part) for i in range(ITERATIONS)]
            wrap = PlayerDistributedDataParallel
            found[method, norm] = train(model, parts, norm, wrap)
    return found


@pytest.fixture(scope='module')
def trained():
    """What each process found, by the number of processes."""
    return {size: results(train_all, size) for size in CASES}


def cases(only):
    """(number of processes, method, norm), as far as ``only`` says."""
    found = [(size, *case) for size in CASES for case in CASES[size] if only(*case)]
    return pytest.mark.parametrize('size, method, norm', found)


def train_alone(method, norm, part=slice(None), iterations=ITERATIONS):
    model = build_model(method, seed=0)
    return train(model, [batches(i, method, part) for i in range(iterations)], norm)


def assert_close(found, expected, what, tolerance=1e-4):
    distance = (found.double() - expected.double()).norm()
    assert distance <= tolerance * expected.double().norm() + 1e-9, what


@cases(lambda method, norm: True)
def test_processes_hold_the_same_after_every_iteration(trained, size, method, norm):
    first, *others = (found[method, norm] for found in trained[size])
    start = build_model(method, seed=0).state_dict()
    for other in others:
        assert other['loss'] != first['loss'], 'they have seen the same batch'
        for ours, theirs in zip(first['states'], other['states']):
            for name, tensor in ours.items():
                assert torch.equal(tensor, theirs[name]), name
    for name in ('backbone.conv1.weight', 'head.final_layer.weight'):
        assert not torch.equal(first['states'][-1][name], start[name].cpu()), name


@cases(lambda method, norm: norm != 'plain' and method != 'DAN')
def test_each_step_is_that_of_one_process_with_all_batches(trained, size, method, norm):
    alone = train_alone(method, 'frozen' if norm == 'frozen' else 'plain')
    found = trained[size][0][method, norm]
    assert [p for p, _ in found['steps']] == [p for p, _ in alone['steps']]
    pairs = list(zip(found['steps'], alone['steps']))
    for number, ((player, ours), (_, theirs)) in enumerate(pairs):
        assert theirs.abs().max() > 0
        # Later, the kinks of the network multiply what sums were rounded by; sooner
        # where statistics are summed in another order.
        tolerance = 1e-4 if number < len(pairs) / ITERATIONS else 1e-2
        if norm == 'synchronised':
            tolerance = max(10 * tolerance, 1e-2)
        assert_close(ours, theirs, f'{player}, step {number}', tolerance)
    # The running statistics of source and target came one after the other, as
    # they do in one process, and never from both at once.
    states = zip(found['states'], alone['states'])
    for iteration, (ours, theirs) in enumerate(states):
        for name, tensor in theirs.items():
            tolerance = 1e-2 if iteration else 1e-3
            tolerance *= 10 if norm == 'synchronised' else 1
            assert_close(ours[name], tensor, name, tolerance)


@pytest.mark.parametrize('size', CASES)
def test_dan_steps_by_the_mean_over_the_processes_own_batches(trained, size):
    found = trained[size][0]['DAN', 'frozen']['steps']
    parts = [slice(rank, None, size) for rank in range(size)]
    alone = [train_alone('DAN', 'frozen', part, iterations=1) for part in parts]
    whole = train_alone('DAN', 'frozen', iterations=1)['steps']
    for number, (player, gradient) in enumerate(found[: len(whole)]):
        mean = sum(run['steps'][number][1] for run in alone) / len(alone)
        assert_close(gradient, mean, player)
    # A discrepancy of distributions is no mean over samples.
    psi, of_whole = found[0][1], whole[0][1]
    assert (psi - of_whole).norm() > 1e-2 * of_whole.norm()


def test_running_statistics_are_of_the_first_processs_batches(trained):
    part = slice(0, None, 2)
    alone = train_alone('SourceOnly', 'plain', part, iterations=1)['states'][0]
    for found in trained[2]:
        state = found['SourceOnly', 'plain']['states'][0]
        for name, tensor in alone.items():
            if 'running' in name:
                assert torch.equal(state[name], tensor), name


@pytest.mark.skipif(DEVICE == 'cuda', reason='it works there')
def test_batch_normalisation_is_not_synchronised_on_cpus():
    model = nn.SyncBatchNorm.convert_sync_batchnorm(build_model('RegDA', seed=0))
    with pytest.raises(InputError, match='on GPUs alone. Leave out sync_bn'):
        PlayerDistributedDataParallel(model)


def average_by_layout():
    """Gradients of several types and layouts; one parameter has none."""
    with joined_processes('pytorch', {}):
        factor = 1.0 + dist.get_rank()
        values = torch.arange(24.0).view(1, 2, 3, 4)
        grads = [
            factor * values,
            (factor * values).to(memory_format=torch.channels_last),
            factor * values.double(),
            (factor * values).bfloat16(),
        ]
        parameters = [nn.Parameter(torch.zeros_like(grad)) for grad in grads]
        for parameter, grad in zip(parameters, grads):
            parameter.grad = grad
        parameters.append(nn.Parameter(torch.zeros(3)))
        wrapper = PlayerOptimWrapper(torch.optim.SGD(parameters, lr=1))
        wrapper.averages = True
        wrapper.average()
        return grads


def test_gradients_of_all_types_and_layouts_are_averaged():
    values = 2.5 * torch.arange(24.0).view(1, 2, 3, 4)
    for grads in results(average_by_layout, 4):
        for grad in grads:
            torch.testing.assert_close(grad.float(), values)
        assert grads[1].is_contiguous(memory_format=torch.channels_last)
        assert [g.dtype for g in grads[2:]] == [torch.float64, torch.bfloat16]


def train_with_overflow():
    """Two iterations in float16; in the first, a gradient of one process overflows."""
    with joined_processes('pytorch', dict(dist_cfg=dict(backend='gloo', timeout=60))):
        rank, world_size = dist.get_rank(), dist.get_world_size()
        model = build_model('RegDA', seed=0)
        overflows = [rank == 1]
        model.head.final_layer.weight.register_hook(
            lambda grad: grad * float('inf') if any(overflows) else grad
        )
        optimizer = dict(type='SGD', lr=0.02)
        scale = dict(init_scale=64.0)
        amp = dict(type='PlayerAmpOptimWrapper', dtype='float16', loss_scale=scale)
        wrappers = PlayerOptimWrapperConstructor(dict(amp, optimizer=optimizer))(model)
        wrapped = PlayerDistributedDataParallel(model)
        states, scales = [copy.deepcopy(model.state_dict())], []
        for i in range(2):
            part = batches(i, 'RegDA', slice(rank, None, world_size))
            wrapped.train_step(part, wrappers)
            overflows[:] = []
            states.append(copy.deepcopy(model.state_dict()))
            state = wrappers['head'].state_dict()
            scales.append(state['loss_scaler']['scale'])
        return [{k: v.cpu() for k, v in state.items()} for state in states], scales


@pytest.mark.skipif(
    DEVICE == 'cpu' and not SCALES_ON_CPU, reason='gradients are scaled on GPUs only'
)
def test_overflow_in_one_process_is_every_ones():
    (states, scales), other = results(train_with_overflow, 2)
    assert scales == other[1] and scales[0] == 32.0
    for ours, theirs in zip(states, other[0]):
        for name, tensor in ours.items():
            assert torch.equal(tensor, theirs[name]), name
    head = [state['head.final_layer.weight'] for state in states]
    assert torch.equal(head[0], head[1]), 'the step was not left out'
    assert not torch.equal(head[1], head[2]) and head[2].isfinite().all()


def seeds_of_loaders():
    """Each process has another seed of its own."""
    with joined_processes('pytorch', dict(dist_cfg=dict(backend='gloo', timeout=60))):
        runner = SimpleNamespace(seed=3 + dist.get_rank())
        seeds = []

        def build(runner, cfg, seed):
            seeds.append(seed)

        with mock.patch.object(loops, 'build_numbered_dataloader', build):
            loops.build_domain_dataloaders(runner, dict(source={}, target={}))
        return seeds


def test_processes_draw_from_one_order_whatever_their_own_seeds():
    first, second = results(seeds_of_loaders, 2)
    assert first == second and len(set(first)) == 2


@pytest.mark.skipif(DEVICE == 'cuda', reason='it works there')
def test_synchronised_norms_are_refused_before_anything_is_built(tmp_path):
    cfg = Config.fromfile(ROOT / 'configs/regda_rhd2h3d.py')
    cfg.update(work_dir=str(tmp_path / 'run'), launcher='pytorch', sync_bn='torch')
    with pytest.raises(InputError, match='PyTorch synchronises'):
        stages.train(cfg)
    assert not (tmp_path / 'run').exists()


@pytest.mark.parametrize('world_size', [1, 2])
def test_pretraining_synchronises_as_what_follows(tmp_path, monkeypatch, world_size):
    monkeypatch.setattr(start, 'get_world_size', lambda: world_size)
    cfg = Config.fromfile(ROOT / 'configs/regda_rhd2h3d.py')
    cfg.work_dir = str(tmp_path)
    plain = load_pretrain_config(cfg)
    cfg.sync_bn = 'torch'
    stage = load_pretrain_config(cfg)
    assert stage.sync_bn == 'torch'
    # With one process there is nothing to synchronise, and weights are the same.
    alike = pretrained_path(stage) == pretrained_path(plain)
    assert alike == (world_size == 1)
