"""Methods of other domains than source and target, trained as any other."""

import copy
import shutil

import pytest
import torch
from conftest import SGD, random_batch, tiny_config, tiny_model_config
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.optim import build_optim_wrapper
from mmengine.runner import Runner
from mmengine.runner.checkpoint import CheckpointLoader
from mmpose.registry import HOOKS, MODELS
from processes import results

from mmregda import InputError
from mmregda.codecs.view_warps import ViewWarp
from mmregda.engine import stages
from mmregda.engine.loops import unwrap
from mmregda.models import BaseAdaptation
from mmregda.models.adaptations import minimize
from mmregda.visualization import draw_samples, load_scalars, plot_statistics


@MODELS.register_module()
class SelfTraining(BaseAdaptation):
    """Source-free: one view learns what the model says of the other."""

    domains = ('target',)
    views = ('teacher', 'student')

    def __init__(self, head=None):
        super().__init__()

    def step(self, model, batches, optim_wrapper):
        teacher, student = (batches['target'][view] for view in self.views)
        device = teacher['inputs'].device
        warp = ViewWarp.between(
            teacher['data_samples'], student['data_samples'], device
        )
        with model.autocast(optim_wrapper), torch.no_grad():
            logits = model.head(model.extract_feat(teacher['inputs'])).float()
        maps = logits.flatten(2).softmax(-1).view_as(logits)
        labels, _ = warp.maps(maps, model.head.decoder.scale_factor)
        with model.autocast(optim_wrapper):
            logits = model.head(model.extract_feat(student['inputs'])).float()
        log_p = logits.flatten(2).log_softmax(-1)
        loss = -(labels.flatten(2) * log_p).sum(-1).mean()
        minimize(loss, optim_wrapper, ('feature_extractor', 'head'))
        return dict(loss_self=loss.detach())


@MODELS.register_module()
class ConfidentFewLabels(BaseAdaptation):
    """Supervised on the target's few labels, confident on the rest of it."""

    domains = ('labeled_target', 'target')

    def __init__(self, head=None):
        super().__init__()

    def step(self, model, batches, optim_wrapper):
        labeled, target = (batches[domain] for domain in self.domains)
        with model.autocast(optim_wrapper):
            logits = model.head(model.extract_feat(labeled['inputs']))
            loss_sup = model.supervised_loss(logits, labeled['data_samples'])
            logits = model.head(model.extract_feat(target['inputs'])).float()
        p = logits.flatten(2).softmax(-1)
        entropy = -(p * p.clamp(min=1e-12).log()).sum(-1).mean()
        loss = loss_sup + 0.1 * entropy
        minimize(loss, optim_wrapper, ('feature_extractor', 'head'))
        return dict(loss_sup=loss_sup.detach(), entropy=entropy.detach())


METHODS = ['SelfTraining', 'ConfidentFewLabels']


def config(method, pair, start, work_dir, max_iters=4, **changes):
    """A config as someone would write it who has no source."""
    pair_cfg = tiny_config(pair, work_dir, max_iters)
    target = pair_cfg.train_dataloader.target
    loaders = dict(target=target)
    if method == 'SelfTraining':
        *shared, crop, warp, jitter, blur, pack = target.dataset.pipeline
        target.dataset.update(
            pipeline=shared,
            views=dict(teacher=[warp, pack], student=[crop, warp, jitter, blur, pack]),
        )
    else:
        few = copy.deepcopy(pair_cfg.train_dataloader.source)
        few.dataset = dict(
            pair_cfg.labeled_target_loader.dataset, data_root=str(pair), indices=3
        )
        encoded = pair_cfg.train_dataloader.source.dataset.pipeline[-2:]
        few.dataset['pipeline'] = [*target.dataset.pipeline[:-1], *encoded]
        loaders['labeled_target'] = few
    kept = ['val_cfg', 'train_cfg', 'default_hooks', 'visualizer', 'log_processor']
    kept += ['env_cfg', 'work_dir', 'experiment_name', 'default_scope', 'randomness']
    cfg = Config({key: pair_cfg[key] for key in kept})
    cfg.model = tiny_model_config(type=method)
    cfg.train_dataloader = loaders
    cfg.val_dataloader = dict(target=pair_cfg.val_dataloader.target)
    cfg.val_evaluator = dict(target=pair_cfg.val_evaluator.target)
    cfg.optim_wrapper = dict(
        constructor='PlayerOptimWrapperConstructor',
        feature_extractor=dict(optimizer=SGD),
        head=dict(optimizer=SGD),
    )
    cfg.model_wrapper_cfg = dict(type='PlayerDistributedDataParallel')
    cfg.custom_hooks = pair_cfg.custom_hooks
    cfg.default_hooks.checkpoint.save_best = 'target/PCK/Avg'
    cfg.pretrain = dict(checkpoint=str(start))
    cfg.merge_from_dict(changes)
    assert 'source' not in cfg.dump()
    return cfg


@pytest.fixture(scope='module')
def start(tmp_path_factory):
    """psi and f, as pretraining keeps them."""
    from mmengine.registry import init_default_scope

    init_default_scope('mmpose')
    cfg = tiny_model_config()
    cfg.pop('adaptation')
    torch.manual_seed(3)
    model = MODELS.build(dict(cfg, type='TopdownPoseEstimator')).train()
    for seed in range(30):  # so that running statistics are what they are of
        data = model.data_preprocessor(random_batch(4, 21, seed))
        model.head(model.extract_feat(data['inputs']))
    path = tmp_path_factory.mktemp('start') / 'start.pth'
    torch.save(dict(state_dict=model.state_dict(), meta={}), path)
    return path


@pytest.fixture(scope='module')
def trained(hand_pair, start, tmp_path_factory):
    """The work directory and metrics of each method, trained once."""
    done = {}

    def of(method):
        if method not in done:
            work_dir = tmp_path_factory.mktemp(method)
            done[method] = (
                work_dir,
                stages.train(config(method, hand_pair, start, work_dir)),
            )
        return done[method]

    return of


def weights_of(path):
    return CheckpointLoader.load_checkpoint(str(path), 'cpu')['state_dict']


def assert_same(weights, others):
    assert weights.keys() == others.keys()
    for name, tensor in weights.items():
        assert torch.equal(tensor, others[name]), name


@pytest.mark.parametrize('method', METHODS)
def test_run_without_a_source_is_validated_selected_and_drawn(
    trained, start, tmp_path, method
):
    work_dir, metrics = trained(method)
    assert {name.split('/')[0] for name in metrics} == {'target'}
    assert 0 <= metrics['target/PCK/Avg'] <= 1
    assert list(work_dir.glob('best_target_PCK_Avg_iter_*.pth'))
    begun, ended = weights_of(start), weights_of(work_dir / 'iter_4.pth')
    for name in ('backbone.conv1.weight', 'head.final_layer.weight'):
        assert not torch.equal(begun[name], ended[name])
    assert list(work_dir.glob('*/vis_data/vis_image/target_*.png'))
    scalars = load_scalars(str(work_dir))
    assert scalars['statistics/target/accuracy_f'][0] == [2, 4]
    assert not [name for name in scalars if 'source' in name]
    plot_statistics(str(tmp_path / 'statistics.png'), dict(run=str(work_dir)))
    assert (tmp_path / 'statistics.png').is_file()


@pytest.mark.parametrize('method', METHODS)
def test_samples_of_all_domains_and_views_are_drawn(hand_pair, start, method):
    samples = draw_samples(config(method, hand_pair, start, 'unused'), num=2)
    columns = dict(
        SelfTraining=['target teacher', 'target student'],
        ConfidentFewLabels=['target', 'labeled_target'],
    )
    assert list(samples) == columns[method]
    for column, drawn in samples.items():
        labeled = column == 'labeled_target'
        assert all((sample.keypoints is not None) == labeled for sample in drawn)


@pytest.mark.parametrize('method', METHODS)
def test_resumed_run_ends_with_the_same_bits(
    hand_pair, start, trained, tmp_path, method
):
    work_dir, _ = trained(method)
    shutil.copy(work_dir / 'iter_2.pth', tmp_path)
    (tmp_path / 'last_checkpoint').write_text(str(tmp_path / 'iter_2.pth'))
    # The start is not there any more.
    cfg = config(method, hand_pair, 'nowhere.pth', tmp_path, resume=True)
    for loader in cfg.train_dataloader.values():
        # Draws depend on their number, and not on who makes them.
        loader.update(num_workers=1, persistent_workers=True)
    stages.train(cfg)
    assert_same(
        weights_of(tmp_path / 'iter_4.pth'), weights_of(work_dir / 'iter_4.pth')
    )


@pytest.mark.slow
@pytest.mark.parametrize('method', METHODS)
def test_run_in_bfloat16_follows_that_in_float32(
    hand_pair, start, trained, tmp_path, method
):
    work_dir, _ = trained(method)
    cfg = config(method, hand_pair, start, tmp_path, max_iters=2)
    cfg.optim_wrapper.update(type='PlayerAmpOptimWrapper', dtype='bfloat16')
    stages.train(cfg)
    found, expected = (weights_of(d / 'iter_2.pth') for d in (tmp_path, work_dir))
    begun = weights_of(start)
    assert not torch.equal(
        found['backbone.conv1.weight'], begun['backbone.conv1.weight']
    )
    # Beneath a dozen layers of two images each, a gradient has no digits of bfloat16.
    name = 'head.final_layer.weight'
    moved, other = found[name] - begun[name], expected[name] - begun[name]
    assert 0 < (moved - other).norm() < 0.3 * other.norm()


@HOOKS.register_module()
class FixedNormsHook(Hook):
    """Of batch normalisation each process would see its own images."""

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        for module in runner.model.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.eval()


def train_with(launcher, batch_size, *args):
    """The weights that a process holds after two iterations."""
    cfg = config(*args, max_iters=2, launcher=launcher)
    for loader in cfg.train_dataloader.values():
        loader.update(batch_size=batch_size)
    cfg.default_hooks.checkpoint.save_best = None
    cfg.custom_hooks = [dict(type='FixedNormsHook'), dict(type='KeepWeightsHook')]
    stages.train(cfg)
    return KeepWeightsHook.weights


@HOOKS.register_module()
class KeepWeightsHook(Hook):
    weights: dict = {}

    def after_train(self, runner):
        model = unwrap(runner.model)
        KeepWeightsHook.weights = copy.deepcopy(model.state_dict())


@pytest.mark.slow
@pytest.mark.parametrize('method', METHODS)
def test_two_processes_train_as_one_with_their_batches(
    hand_pair, start, tmp_path, method
):
    begun = weights_of(start)
    first, second = results(
        train_with, 2, 'pytorch', 2, method, hand_pair, start, tmp_path / 'two'
    )
    assert_same(first, second)
    alone = train_with('none', 4, method, hand_pair, start, tmp_path / 'one')
    for name in ('backbone.conv1.weight', 'head.final_layer.weight'):
        moved, other = first[name] - begun[name], alone[name] - begun[name]
        assert other.norm() > 1e-5 * begun[name].norm()
        assert (moved - other).norm() < 1e-2 * other.norm()


def test_psi_and_f_are_those_of_the_checkpoint(hand_pair, start, tmp_path):
    for name, changes in (
        ('pretrain', {}),
        ('load_from', dict(load_from=str(start), pretrain=None)),
    ):
        cfg = config(
            'SelfTraining', hand_pair, start, tmp_path / name, max_iters=1, **changes
        )
        cfg.val_dataloader = cfg.val_evaluator = cfg.val_cfg = None
        cfg.custom_hooks = []
        cfg.default_hooks.checkpoint.interval = 1
        for player in ('feature_extractor', 'head'):
            cfg.optim_wrapper[player].optimizer = dict(type='SGD', lr=1e-60)
        stages.train(cfg)
        found, expected = weights_of(tmp_path / name / 'iter_1.pth'), weights_of(start)
        for key in expected:
            if key.endswith(('weight', 'bias')):
                assert torch.equal(found[key], expected[key]), key


def test_start_that_lacks_psi_or_f_is_refused(hand_pair, start, tmp_path):
    content = torch.load(start, weights_only=True)
    for name in list(content['state_dict']):
        if name.startswith('head.'):
            del content['state_dict'][name]
    path = str(tmp_path / 'psi.pth')
    torch.save(content, path)
    changes = [
        (dict(pretrain=dict(checkpoint=path)), '"head.*psi.pth|psi.pth.*"head'),
        (dict(pretrain=None, load_from=path), '"head.*psi.pth|psi.pth.*"head'),
        (
            dict(pretrain=dict(checkpoint=str(start), parts=('backbone', 'neck'))),
            'SelfTraining learns without labels.*Leave parts out',
        ),
        (dict(pretrain=None), 'SelfTraining learns without labels.*load_from'),
        (dict(pretrain=None, resume=True), 'SelfTraining learns without labels'),
    ]
    for number, (change, message) in enumerate(changes):
        cfg = config('SelfTraining', hand_pair, start, tmp_path / str(number), **change)
        with pytest.raises(InputError, match=message):
            stages.train(cfg)


def test_few_labels_may_be_learnt_from_nothing(hand_pair, tmp_path):
    cfg = config(
        'ConfidentFewLabels', hand_pair, '', tmp_path, max_iters=1, pretrain=None
    )
    cfg.val_dataloader = cfg.val_evaluator = cfg.val_cfg = None
    cfg.custom_hooks = []
    stages.train(cfg)
    assert (tmp_path / 'iter_1.pth').is_file()


def test_domains_that_a_method_does_not_draw_from_are_not_read(
    hand_pair, start, trained, tmp_path
):
    work_dir, _ = trained('SelfTraining')
    cfg = config('SelfTraining', hand_pair, start, tmp_path, max_iters=2)
    nowhere = copy.deepcopy(cfg.train_dataloader.target)
    nowhere.dataset = dict(type='H3DDataset', data_root='nowhere', split='train')
    cfg.train_dataloader = dict(
        source=nowhere, labeled_target=nowhere, target=cfg.train_dataloader.target
    )
    stages.train(cfg)
    found, expected = (weights_of(d / 'iter_2.pth') for d in (tmp_path, work_dir))
    assert_same(found, expected)


@pytest.mark.parametrize('method', METHODS)
def test_domain_that_a_method_draws_from_is_asked_for(
    hand_pair, start, tmp_path, method
):
    cfg = config(method, hand_pair, start, tmp_path)
    cfg.train_dataloader = dict(target=None)
    with pytest.raises(InputError, match=f'{method} needs a dataloader.*target'):
        stages.train(cfg)


@pytest.mark.slow
def test_domain_of_a_pairs_config_is_turned_off_by_none(
    hand_pair, start, trained, tmp_path
):
    work_dir, _ = trained('SelfTraining')
    written = config('SelfTraining', hand_pair, start, tmp_path)
    cfg = tiny_config(hand_pair, tmp_path, max_iters=2)
    for key in ('train_dataloader', 'val_dataloader', 'val_evaluator'):
        cfg[key].source = None
        cfg[key].target = written[key].target
    cfg.model, cfg.param_scheduler = written.model, None
    cfg.optim_wrapper = written.optim_wrapper
    cfg.pretrain = written.pretrain
    tested = copy.deepcopy(cfg)
    stages.train(cfg)
    path = str(tmp_path / 'iter_2.pth')
    assert_same(weights_of(path), weights_of(work_dir / 'iter_2.pth'))
    expected = stages.evaluate(copy.deepcopy(tested), path)
    assert {name.split('/')[0] for name in expected} == {'target'}
    # As MMPose's own tool tests.
    tested.load_from, tested.custom_hooks = path, []
    metrics = Runner.from_cfg(tested).test()
    assert metrics == pytest.approx(expected, nan_ok=True)


def test_best_checkpoint_is_of_a_domain_that_is_validated(hand_pair, start, tmp_path):
    cfg = config('SelfTraining', hand_pair, start, tmp_path / 'a', max_iters=2)
    cfg.default_hooks.checkpoint.save_best = 'labeled_target/PCK/Avg'
    with pytest.raises(
        InputError, match='save_best.*"labeled_target/PCK/Avg".*There are target'
    ):
        stages.train(cfg)
    # As the shipped configs have it. There is none, and none is asked for.
    cfg = config('SelfTraining', hand_pair, start, tmp_path / 'b', max_iters=2)
    cfg.default_hooks.checkpoint.save_best = 'source/PCK/Avg'
    stages.train(cfg)
    names = {path.name for path in (tmp_path / 'b').glob('*.pth')}
    assert names == {'iter_2.pth'}


def test_source_that_is_not_validated_chooses_nothing(hand_pair, tmp_path):
    cfg = tiny_config(hand_pair, tmp_path)
    cfg.val_dataloader.source = cfg.val_evaluator.source = None
    with pytest.raises(
        InputError, match='save_best.*"source/PCK/Avg".*There are target'
    ):
        stages.train(cfg)


def test_target_comes_in_the_views_that_the_method_takes():
    cases = [
        ('SelfTraining', random_batch(2, 21, 0), 'takes teacher and student.*one view'),
        (
            'ConfidentFewLabels',
            dict(weak=random_batch(2, 21, 0)),
            'takes one view.*gives weak',
        ),
        ('SelfTraining', dict(teacher=random_batch(2, 21, 0)), 'gives teacher. Set'),
    ]
    for method, target, message in cases:
        model = MODELS.build(tiny_model_config(type=method))
        cfg = dict(constructor='PlayerOptimWrapperConstructor', optimizer=SGD)
        batches = dict(target=target, labeled_target=random_batch(2, 21, 1))
        with pytest.raises(InputError, match=message):
            model.train_step(batches, build_optim_wrapper(model, cfg))
