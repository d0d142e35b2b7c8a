"""Training from a config, end to end, on a small rendered pair."""

import copy
import gc
import json
import multiprocessing
import os
import random
import shutil
import subprocess
import sys
from multiprocessing import resource_sharer
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import (
    ROOT,
    SGD,
    tiny_config,
    tiny_model_config,
    write_pretrain_config,
)
from filelock import FileLock, Timeout
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmengine.runner.checkpoint import CheckpointLoader
from mmpose.registry import HOOKS, MODELS

from mmregda import InputError
from mmregda.engine import loops, stages
from mmregda.engine.start import fitting_weights, pretrained_path
from mmregda.visualization import load_scalars


def state_of(work_dir: Path, iteration: int) -> dict:
    path = str(work_dir / f'iter_{iteration}.pth')
    return CheckpointLoader.load_checkpoint(path, map_location='cpu')


def assert_same_weights(a: dict, b: dict) -> None:
    assert a['state_dict'].keys() == b['state_dict'].keys()
    for name, tensor in a['state_dict'].items():
        assert torch.equal(tensor, b['state_dict'][name]), name


@pytest.fixture(scope='module')
def trained(hand_pair, tmp_path_factory):
    """A run of four iterations: its work directory and metrics."""
    from mmengine.registry import init_default_scope

    init_default_scope('mmpose')
    work_dir = tmp_path_factory.mktemp('trained')
    return work_dir, stages.train(tiny_config(hand_pair, work_dir))


def test_validation_reports_each_domain_by_group(trained):
    _, metrics = trained
    for domain in ('source', 'target'):
        for group in ('MCP', 'PIP', 'DIP', 'Fingertip', 'Avg'):
            assert 0 <= metrics[f'{domain}/PCK/{group}'] <= 1
        assert metrics[f'{domain}/EPE'] > 0
        assert 0 <= metrics[f'{domain}/AUC'] <= 1


def test_best_checkpoint_is_chosen_on_the_source(trained):
    work_dir, _ = trained
    assert list(work_dir.glob('best_source_PCK_Avg_iter_*.pth'))
    assert not list(work_dir.glob('best_target*'))


def test_statistics_of_both_regressors_are_logged_every_interval(trained):
    work_dir, _ = trained
    scalars = load_scalars(str(work_dir))
    for domain in ('source', 'target'):
        steps, f = scalars[f'statistics/{domain}/accuracy_f']
        _, adversary = scalars[f'statistics/{domain}/accuracy_adversary']
        _, difference = scalars[f'statistics/{domain}/accuracy_difference']
        _, disagreement = scalars[f'statistics/{domain}/prediction_difference']
        assert steps == [2, 4]
        np.testing.assert_allclose(difference, np.subtract(f, adversary), atol=1e-6)
        assert all(0 <= value <= 1 for value in disagreement)


@pytest.mark.parametrize('name', ['sup', 'source', 'adversary', 'feature_extractor'])
def test_each_loss_is_logged(trained, name):
    work_dir, _ = trained
    steps, values = load_scalars(str(work_dir))[f'loss_{name}']
    assert steps == [2, 4]
    assert all(0 < value < 100 for value in values)


def test_target_pictures_show_truth_beside_prediction(trained):
    import cv2

    work_dir, _ = trained
    pictures = sorted(work_dir.glob('*/vis_data/vis_image/target_*.png'))
    assert len(pictures) == 2  # the whole test split of so small a pair
    height, width = cv2.imread(str(pictures[0])).shape[:2]
    assert width == 2 * height


def test_adapted_checkpoint_is_an_ordinary_topdown_model(trained):
    from mmengine.runner import load_checkpoint
    from mmpose.registry import MODELS

    work_dir, _ = trained
    cfg = tiny_model_config()
    cfg.pop('adaptation')
    model = MODELS.build(dict(cfg, type='TopdownPoseEstimator'))
    path = str(work_dir / 'iter_4.pth')
    load_checkpoint(model, path, map_location='cpu', strict=False)
    state = state_of(work_dir, 4)['state_dict']
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, state[name]), name


@HOOKS.register_module()
class KeepStartHook(Hook):
    """Keeps a copy of all that training starts from."""

    state: dict = {}

    def before_train(self, runner):
        KeepStartHook.state = copy.deepcopy(
            dict(
                iter=runner.iter,
                model=runner.model.state_dict(),
                optimizer=runner.optim_wrapper.state_dict(),
            )
        )


def test_resumed_run_starts_from_all_that_was_saved(
    hand_pair, trained, tmp_path, monkeypatch
):
    # Without this switch MMEngine would fall back to a loader that runs code.
    monkeypatch.setenv('TORCH_FORCE_WEIGHTS_ONLY_LOAD', '1')
    work_dir, _ = trained
    shutil.copy(work_dir / 'iter_2.pth', tmp_path)
    (tmp_path / 'last_checkpoint').write_text(str(tmp_path / 'iter_2.pth'))
    cfg = tiny_config(hand_pair, tmp_path, resume=True, max_iters=3)
    cfg.custom_hooks = [dict(type='KeepStartHook')]
    stages.train(cfg)
    loaded = KeepStartHook.state
    saved = state_of(work_dir, 2)
    assert_same_weights(dict(state_dict=loaded['model']), saved)
    assert loaded['model']['adaptation.warm_start.iteration'] == 2
    assert loaded['iter'] == 2
    for player, expected in saved['optimizer'].items():
        found = loaded['optimizer'][player]
        assert found['param_groups'][0]['lr'] == expected['param_groups'][0]['lr']
        for key, state in expected['state'].items():
            momentum = found['state'][key]['momentum_buffer']
            assert torch.equal(momentum, state['momentum_buffer'])
            assert momentum.abs().max() > 0 or not state['momentum_buffer'].any()


@pytest.mark.parametrize('change', ['shuffled', 'deleted'])
def test_training_is_bit_identical_whatever_the_targets_labels(
    hand_pair, trained, tmp_path, change
):
    work_dir, _ = trained
    pair = tmp_path / 'pair'
    shutil.copytree(hand_pair, pair)
    path = pair / 'H3D_crop' / 'annotation.json'
    entries = json.loads(path.read_text())
    labels = [entry['keypoint2d'] for entry in entries]
    random.Random(1).shuffle(labels)
    for entry, label in zip(entries, labels):
        del entry['keypoint3d'], entry['keypoint2d']
        if change == 'shuffled':
            entry['keypoint2d'] = label
    path.write_text(json.dumps(entries))
    other = tmp_path / 'run'
    cfg = tiny_config(pair, other)
    if change == 'deleted':
        # There is nothing to validate on.
        del cfg.val_dataloader['target'], cfg.val_evaluator['target']
    stages.train(cfg)
    assert_same_weights(state_of(work_dir, 4), state_of(other, 4))


def test_another_seed_trains_other_weights(hand_pair, trained, tmp_path):
    work_dir, _ = trained
    stages.train(tiny_config(hand_pair, tmp_path, randomness=dict(seed=1)))
    a, b = (state_of(d, 4)['state_dict'] for d in (work_dir, tmp_path))
    name = 'head.final_layer.weight'
    assert not torch.equal(a[name], b[name])


def test_pretraining_is_run_once_and_gives_psi_alone(hand_pair, tmp_path):
    cfg_path = tmp_path / 'pretrain.py'
    cfg = tiny_config(hand_pair, tmp_path / 'runs' / 'regda', max_iters=1)
    write_pretrain_config(cfg, cfg_path)
    cfg.pretrain = dict(config=str(cfg_path), parts=('backbone', 'neck'))
    cfg.default_hooks.checkpoint.update(interval=1)
    # Too small to change a weight: what is saved is what training started from.
    for player in ('feature_extractor', 'head', 'adversary'):
        cfg.optim_wrapper[player].optimizer.lr = 1e-60
    stages.train(cfg.copy())
    (kept,) = (tmp_path / 'runs' / 'pretrain').glob('*/source_only.pth')
    source_only = torch.load(kept, weights_only=True)['state_dict']
    started = state_of(tmp_path / 'runs' / 'regda', 1)['state_dict']
    weights = [name for name in source_only if name.endswith(('weight', 'bias'))]
    for name in weights:
        if name.startswith(('backbone.', 'neck.')):
            assert torch.equal(started[name], source_only[name]), name
    # The final layers have one shape, yet f starts anew.
    name = 'head.final_layer.weight'
    assert started[name].shape == source_only[name].shape
    assert not torch.equal(started[name], source_only[name])

    modified = kept.stat().st_mtime_ns
    cfg.work_dir = str(tmp_path / 'runs' / 'again')
    stages.train(cfg.copy())
    assert kept.stat().st_mtime_ns == modified, 'stage 1 was run a second time'

    # A change of the config: other weights, and those of before are kept.
    write_pretrain_config(cfg, cfg_path, max_iters=3)
    stages.train(cfg.copy())
    assert len(list(kept.parents[1].glob('*/source_only.pth'))) == 2
    assert kept.stat().st_mtime_ns == modified


def test_f_goes_on_unless_its_layers_are_others_or_the_config_says_so(
    hand_pair, tmp_path
):
    cfg = tiny_config(hand_pair, tmp_path, max_iters=1)
    model = MODELS.build(cfg.model)
    weights = model.state_dict()
    others = {k: v for k, v in weights.items() if k != 'head.final_layer.weight'}

    def parts(given, **pretrain):
        taken = fitting_weights(model, given, 'weights.pth', pretrain.get('parts'))
        assert all(torch.equal(taken[name], given[name]) for name in taken)
        return sorted(
            {'.'.join(name.split('.')[:-1]) for name in taken if 'head' in name}
        )

    f = ['head.conv_layers.0', 'head.conv_layers.1', 'head.final_layer']
    assert parts(weights) == f
    assert parts(others) == f[:2]
    assert parts(weights, parts=('backbone', 'neck')) == []
    with pytest.raises(InputError, match='weights.pth.*head.final_layer.weight'):
        parts(others, parts=('head',))
    for unknown in ('neck', (), ('neck', 'tail')):
        with pytest.raises(InputError, match='pretrain.parts'):
            parts(weights, parts=unknown)


def test_weights_of_another_start_or_average_are_others(hand_pair, tmp_path):
    cfg = tiny_config(hand_pair, tmp_path)
    cfg.custom_hooks = []

    def path(**changes):
        return pretrained_path(Config({**cfg, **changes}))

    shown = [dict(type='DomainVisualizationHook')]
    assert path() == path(custom_hooks=shown) == path(load_from=None)
    average = [*shown, dict(type='EMAHook', momentum=0.1)]
    scaled = dict(enable=True, base_batch_size=8)
    others = [dict(load_from='a.pth'), dict(load_from='b.pth')]
    others += [dict(custom_hooks=average), dict(auto_scale_lr=scaled)]
    assert len({path(), *(path(**change) for change in others)}) == 5


def test_mmposes_own_runner_starts_as_ours_or_says_what_it_cannot_do(
    hand_pair, tmp_path, trained
):
    def begun(name, train, **pretrain):
        cfg = tiny_config(hand_pair, tmp_path / name / 'run', max_iters=1)
        cfg.custom_hooks = [dict(type='KeepStartHook')]
        cfg.val_dataloader = cfg.val_evaluator = cfg.val_cfg = None
        cfg.default_hooks.checkpoint.save_best = None
        cfg.pretrain = pretrain
        train(cfg)
        return KeepStartHook.state['model']

    def mmposes(cfg):
        Runner.from_cfg(cfg).train()

    work_dir, _ = trained
    checkpoint = str(work_dir / 'iter_4.pth')
    saved = state_of(work_dir, 4)['state_dict']
    for parts in (None, ('backbone', 'neck')):
        ours, theirs = (
            begun(
                f'{train.__name__}_{parts}', train, checkpoint=checkpoint, parts=parts
            )
            for train in (stages.train, mmposes)
        )
        assert_same_weights(dict(state_dict=ours), dict(state_dict=theirs))
        goes_on = {
            part: all(
                torch.equal(ours[name], saved[name])
                for name in ours
                if name.startswith(part) and name.endswith('weight')
            )
            for part in ('backbone.', 'neck.', 'head.', 'adaptation.adversary.')
        }
        # f' is drawn anew, whatever f does.
        expected = [True, True, parts is None, False]
        assert list(goes_on.values()) == expected

    cfg = tiny_config(hand_pair, tmp_path / 'stage')
    write_pretrain_config(cfg, tmp_path / 'pretraining.py')
    with pytest.raises(InputError, match=r'pretrain.config .*tools/train.py alone'):
        begun('none', mmposes, config=str(tmp_path / 'pretraining.py'))


def test_each_checkpoint_is_read_once(hand_pair, trained, tmp_path, monkeypatch):
    read = []
    load = torch.load

    def counted_load(file, *args, **kwargs):
        read.append(os.path.basename(str(getattr(file, 'name', file))))
        return load(file, *args, **kwargs)

    monkeypatch.setattr(torch, 'load', counted_load)
    work_dir, _ = trained

    def train(**changes):
        cfg = tiny_config(hand_pair, tmp_path, max_iters=3)
        cfg.update(changes)
        cfg.custom_hooks = []
        cfg.default_hooks.checkpoint.save_best = None
        cfg.val_dataloader = cfg.val_evaluator = cfg.val_cfg = None
        read.clear()
        stages.train(cfg)
        return read

    path = str(work_dir / 'iter_4.pth')
    assert train(pretrain=dict(checkpoint=path)) == ['iter_4.pth']
    assert train(load_from=path) == ['iter_4.pth']
    (tmp_path / 'iter_3.pth').unlink()
    (tmp_path / 'last_checkpoint').write_text(str(tmp_path / 'iter_2.pth'))
    assert train(resume=True) == ['iter_2.pth']


def test_two_starts_are_refused(hand_pair, trained, tmp_path):
    path = str(trained[0] / 'iter_4.pth')
    cfg = tiny_config(hand_pair, tmp_path, load_from=path)
    cfg.pretrain = dict(checkpoint=path)
    with pytest.raises(InputError, match='load_from .* and pretrain both'):
        stages.train(cfg)


@HOOKS.register_module()
class InterruptHook(Hook):
    """Ends training after an iteration, as a preempted machine does."""

    def __init__(self, after: int) -> None:
        self.after = after

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.iter + 1 == self.after:
            raise KeyboardInterrupt


def test_resuming_before_pretraining_has_ended_goes_on_with_it(hand_pair, tmp_path):
    cfg_path = tmp_path / 'pretrain.py'
    cfg = tiny_config(hand_pair, tmp_path / 'runs' / 'regda', max_iters=1)
    write_pretrain_config(cfg, cfg_path, max_iters=4)
    checkpoints = dict(checkpoint=dict(interval=2))
    interrupt = [dict(type='InterruptHook', after=3)]
    cfg.pretrain = dict(
        config=str(cfg_path),
        options=dict(default_hooks=checkpoints, custom_hooks=interrupt),
    )
    with pytest.raises(KeyboardInterrupt):
        stages.train(cfg.copy())
    assert not list(tmp_path.rglob('source_only.pth'))
    # Resuming must neither skip stage 1 nor begin it anew.
    cfg.pretrain.options.custom_hooks = []
    cfg.resume = True
    stages.train(cfg)
    (kept,) = tmp_path.rglob('source_only.pth')
    # One folder for both, if they began within one second.
    logs = ''.join(path.read_text() for path in kept.parent.glob('*/*.log'))
    assert logs.count('resumed epoch: 0, iter: 2') == 1
    assert list((tmp_path / 'runs' / 'regda').glob('iter_1.pth'))


def test_logged_scalars_in_memory_do_not_grow_for_ever(
    hand_pair, tmp_path, monkeypatch
):
    monkeypatch.setattr(loops, 'SCALARS_KEPT', 3)
    cfg = tiny_config(hand_pair, tmp_path / 'run', max_iters=6)
    cfg.default_hooks.checkpoint.save_best = None
    stages.train(cfg)
    scalars = state_of(tmp_path / 'run', 6)['message_hub']['log_scalars']
    logged = load_scalars(str(tmp_path / 'run'))['loss_sup'][1]
    lengths = {len(b.data[0]) for name, b in scalars.items() if 'train/' in name}
    assert lengths == {3}
    # The log has them all, and means of those that are kept.
    assert len(logged) == 3
    kept = scalars['train/loss_sup'].data[0]
    assert logged[-1] == pytest.approx(kept.mean(), rel=1e-6)


def test_nobody_else_trains_in_the_folder_meanwhile(hand_pair, tmp_path):
    cfg = tiny_config(hand_pair, tmp_path / 'run', max_iters=2)
    cfg.default_hooks.checkpoint.save_best = None
    lock = tmp_path / 'run' / 'in_use.lock'

    @HOOKS.register_module(force=True)
    class LookHook(Hook):
        def before_train(self, runner):
            with pytest.raises(Timeout):
                FileLock(lock, timeout=0).acquire()

    cfg.custom_hooks = [dict(type='LookHook')]
    stages.train(cfg)
    FileLock(lock, timeout=0).acquire()


@pytest.mark.parametrize(
    'options',
    [
        *('max-autotune', 3, dict(moed='max-autotune')),
        dict(mode='default', options={'max_autotune': True}),
    ],
)
def test_compile_options_that_are_none_are_refused_at_once(
    hand_pair, tmp_path, options
):
    cfg = tiny_config(hand_pair, tmp_path / 'run', compile=options)
    with pytest.raises(InputError, match='compile = .*torch.compile such as'):
        stages.train(cfg)
    assert not (tmp_path / 'run').exists()


@pytest.mark.parametrize(
    'change, message',
    [
        ({'model.backbone.base_channels': 16}, 'not of this model: "backbone'),
        ({'optim_wrapper.critic': dict(optimizer=SGD)}, 'players of RegDA'),
        ({'model.head.out_channels': 16}, 'out_channels=16'),
        ({'train_dataloader.target.dataset.dataset.data_root': 'no'}, 'H3D_crop'),
    ],
)
def test_what_does_not_fit_is_said_before_pretraining(
    hand_pair, tmp_path, change, message
):
    cfg = tiny_config(hand_pair, tmp_path / 'runs' / 'regda')
    write_pretrain_config(cfg, tmp_path / 'pretrain.py')
    cfg.pretrain = dict(config=str(tmp_path / 'pretrain.py'))
    cfg.merge_from_dict(change)
    with pytest.raises(InputError, match=message):
        stages.train(cfg)
    assert not list(tmp_path.rglob('*.pth'))


def test_weights_of_another_architecture_are_refused(hand_pair, trained, tmp_path):
    work_dir, _ = trained
    cfg = tiny_config(hand_pair, tmp_path)
    cfg.model.neck.out_channels = (8, 8, 16)
    cfg.pretrain = dict(checkpoint=str(work_dir / 'iter_4.pth'))
    with pytest.raises(InputError, match='"neck.*iter_4|iter_4.*"neck'):
        stages.train(cfg)


def test_domains_draw_their_augmentations_apart(hand_pair, tmp_path):
    from mmengine.runner import Runner

    cfg = tiny_config(hand_pair, tmp_path)
    # The same images on both sides, with workers, whose seeds matter.
    source = cfg.train_dataloader.source
    source.update(num_workers=1)
    cfg.train_dataloader.target = source.copy()
    runner = Runner.from_cfg(cfg)
    runner._train_loop = runner.build_train_loop(cfg.train_cfg)
    batch = next(runner.train_loop.dataloader_iterator)
    names = [
        [sample.img_path for sample in batch[domain]['data_samples']]
        for domain in ('source', 'target')
    ]
    scales = [
        [float(sample.input_scale[0]) for sample in batch[domain]['data_samples']]
        for domain in ('source', 'target')
    ]
    assert names[0] != names[1] or scales[0] != scales[1]
    assert scales[0] != scales[1]


def test_missing_pretrained_checkpoint_is_named(hand_pair, tmp_path):
    cfg = tiny_config(hand_pair, tmp_path)
    cfg.pretrain = dict(checkpoint=str(tmp_path / 'nowhere.pth'))
    with pytest.raises(InputError, match='nowhere.pth'):
        stages.train(cfg)


def test_keypoints_that_do_not_fit_the_head_are_refused(hand_pair, tmp_path):
    cfg = tiny_config(hand_pair, tmp_path)
    cfg.model.head.out_channels = 16
    with pytest.raises(InputError, match='out_channels=16.*21 keypoints'):
        stages.train(cfg)


@pytest.mark.parametrize('where', ['train_dataloader', 'val_dataloader'])
def test_missing_annotation_of_an_mmpose_dataset_is_named(hand_pair, tmp_path, where):
    cfg = tiny_config(hand_pair, tmp_path)
    pipeline = cfg[where].source.dataset.pipeline
    cfg[where].source.dataset = dict(
        type='FreiHandDataset',
        data_root=str(tmp_path),
        ann_file='nowhere.json',
        pipeline=pipeline,
    )
    message = 'nowhere.json'
    with pytest.raises(InputError, match=message):
        stages.train(cfg)


@pytest.mark.parametrize('change', ['no target', 'one dataloader', 'misspelt'])
def test_training_data_that_the_method_cannot_take_is_refused(
    hand_pair, tmp_path, change
):
    cfg = tiny_config(hand_pair, tmp_path)
    if change == 'no target':
        cfg.train_dataloader.target = None
    elif change == 'one dataloader':
        cfg.train_dataloader = cfg.train_dataloader.source
    else:
        cfg.train_dataloader['sorce'] = cfg.train_dataloader.pop('source')
    with pytest.raises(InputError, match=r"needs a dataloader.*'source', 'target'"):
        stages.train(cfg)


def test_unlabeled_target_may_come_with_another_keypoint_set(hand_pair, tmp_path):
    from mmpose.datasets.datasets import AicDataset

    cfg = tiny_config(hand_pair, tmp_path, max_iters=1)
    # Fourteen keypoints of a body.
    other = dict(from_file='configs/_base_/datasets/aic.py')
    assert len(AicDataset._load_metainfo(other)['keypoint_id2name']) == 14
    cfg.train_dataloader.target.dataset.dataset.metainfo = other
    stages.train(cfg)
    assert (tmp_path / 'iter_1.pth').is_file()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == 'win32', reason='a shell script')
def test_processes_hold_identical_weights(hand_pair, tmp_path):
    """Two processes over gloo, both stages: all agree, and have moved."""
    cfg = tiny_config(hand_pair, tmp_path / 'run', max_iters=2)
    write_pretrain_config(cfg, tmp_path / 'pretrain.py', max_iters=1)
    cfg.pretrain = dict(config=str(tmp_path / 'pretrain.py'))
    cfg.visualizer.vis_backends = []
    cfg.custom_hooks = [dict(type='RankStateHook')]
    cfg.custom_imports = dict(imports=['mmregda', 'rank_state_hook'])
    cfg.dump(str(tmp_path / 'cfg.py'))
    (tmp_path / 'rank_state_hook.py').write_text(
        'import os, torch\n'
        'from mmengine.hooks import Hook\n'
        'from mmpose.registry import HOOKS\n'
        '@HOOKS.register_module()\n'
        'class RankStateHook(Hook):\n'
        '    def before_train(self, runner):\n'
        '        from mmregda.engine import PlayerOptimWrapper\n'
        '        p = torch.nn.Parameter(torch.zeros(2))\n'
        '        p.grad = torch.full((2,), 1.0 + int(os.environ["RANK"]))\n'
        '        wrapper = PlayerOptimWrapper(torch.optim.SGD([p], lr=1))\n'
        '        wrapper.averages = True\n'
        '        wrapper.average()\n'
        '        assert p.grad.tolist() == [1.5, 1.5], p.grad\n'
        '        name = "head.final_layer.weight"\n'
        '        self.start = runner.model.module.state_dict()[name].clone()\n'
        '    def after_train(self, runner):\n'
        '        name = "head.final_layer.weight"\n'
        '        end = runner.model.module.state_dict()[name]\n'
        '        assert not torch.equal(end, self.start)\n'
        '        path = os.path.join(runner.work_dir, '
        'f"rank{os.environ[\'RANK\']}.pth")\n'
        '        torch.save(runner.model.module.state_dict(), path)\n'
    )
    command = [
        *(sys.executable, '-m', 'torch.distributed.run', '--nproc_per_node=2'),
        *('--standalone', str(ROOT / 'tools/train.py')),
        *(str(tmp_path / 'cfg.py'), '--launcher', 'pytorch'),
    ]
    pythonpath = os.pathsep.join((str(tmp_path), str(ROOT)))
    env = dict(os.environ, PYTHONPATH=pythonpath, OMP_NUM_THREADS='1')
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    states = [torch.load(tmp_path / f'run/rank{r}.pth') for r in (0, 1)]
    assert states[0].keys() == states[1].keys()
    for name, tensor in states[0].items():
        assert torch.equal(tensor, states[1][name]), name


def test_data_workers_are_gone_when_training_is(hand_pair, tmp_path):
    cfg = tiny_config(hand_pair, tmp_path, max_iters=2)
    loaders = [*cfg.train_dataloader.values(), *cfg.val_dataloader.values()]
    for loader in loaders:
        loader.update(num_workers=1, persistent_workers=True)
    during = []

    class Count(Hook):
        def after_val_epoch(self, runner, metrics=None):
            during.append(len(multiprocessing.active_children()))

    HOOKS.register_module(name='Count', module=Count, force=True)
    cfg.custom_hooks = [dict(type='Count')]
    # A collector that comes across their queues first is what takes seconds.
    gc.collect()
    gc.disable()
    try:
        runner = stages.run(cfg)
        assert during[-1] >= 3
        assert not multiprocessing.active_children()
    finally:
        gc.enable()
    assert runner.iter == 2


def test_worker_that_is_lost_while_it_sends_is_one_message(tmp_path):
    """Its socket is gone, from which a batch's shared memory would be handed over."""
    sharer = resource_sharer._resource_sharer
    lost = pytest.raises(InputError, match='DataLoader worker is lost.*num_workers')
    with lost, stages.workers_alive():
        sharer.get_connection((str(tmp_path / 'socket'), 0))
    with pytest.raises(FileNotFoundError), stages.workers_alive():
        os.stat(tmp_path / 'file')
