"""One frame for every method: composition, compression, planning."""

import copy

import pytest
from conftest import ROOT, tiny_config
from mmengine.config import Config, ConfigDict
from mmpose.registry import MODELS

from mmregda import InputError
from mmregda.benchmark.plan import (
    compose,
    load_config,
    mark_of,
    plan,
    scale_schedule,
)
from mmregda.engine import PlayerOptimWrapperConstructor
from mmregda.engine.start import load_pretrain_config
from mmregda.models import BaseAdaptation

FRAGMENTS = sorted((ROOT / 'configs/_base_/adaptations').glob('*.py'))
FRAMES = sorted(
    path
    for path in (ROOT / 'configs/benchmark').glob('*.py')
    if not path.stem.endswith('_pretrain')
)


def fragment(name):
    return Config.fromfile(ROOT / f'configs/_base_/adaptations/{name}.py')


@pytest.fixture(scope='module')
def hands():
    return Config.fromfile(ROOT / 'configs/benchmark/hands.py')


def plain(value):
    """Lists for tuples, dicts for configs."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value


@pytest.mark.parametrize('frame', FRAMES, ids=lambda path: path.stem)
@pytest.mark.parametrize('method', FRAGMENTS, ids=lambda path: path.stem)
def test_every_method_fits_every_frame_and_sees_the_same_images(method, frame):
    frame = Config.fromfile(frame)
    method = Config.fromfile(method)
    cfg = compose(frame, method)
    assert cfg.model.adaptation == method.adaptation
    assert cfg.param_scheduler == method.param_scheduler
    assert cfg.train_cfg == frame.train_cfg
    for part in ('backbone', 'neck', 'head'):
        assert cfg.model[part] == frame.model[part]
    kind = MODELS.get(method.adaptation.type)
    assert set(cfg.train_dataloader) == set(kind.domains)
    if 'source' in kind.domains:
        assert cfg.train_dataloader.source == frame.labeled_source_loader
    if 'target' in kind.domains and not kind.views:
        assert cfg.train_dataloader.target == frame.unlabeled_target_loader
    if 'labeled_target' in kind.domains:
        few = copy.deepcopy(cfg.train_dataloader.labeled_target)
        chosen, whole = few.dataset.pop('indices'), frame.labeled_target_loader
        among = whole.dataset.pop('indices', None)
        if isinstance(among, list):
            # Never one that it does not train with otherwise: it may be a test image.
            assert len(set(chosen)) == 20 and set(chosen) <= set(among)
            chosen = len(chosen)
        assert chosen == method.num_labels == 20
        assert few == whole
    players = dict(cfg.optim_wrapper)
    players.pop('constructor')
    model = MODELS.build(copy.deepcopy(cfg.model))
    wrappers = PlayerOptimWrapperConstructor(players)(model)
    assert set(wrappers.keys()) == set(model.players()) == set(cfg.param_scheduler)


@MODELS.register_module()
class TwoViews(BaseAdaptation):
    """Of whatever domains, as a test says."""

    domains = ('target',)
    views = ('teacher', 'student')

    def __init__(self, head=None):
        super().__init__()

    def step(self, model, batches, optim_wrapper):
        raise NotImplementedError


@pytest.fixture
def two_views():
    method = fragment('source_only')
    method.adaptation = dict(type='TwoViews')
    return method


@pytest.mark.parametrize('frame', FRAMES, ids=lambda path: path.stem)
def test_method_of_views_draws_the_targets_augmentation_for_each(two_views, frame):
    frame = Config.fromfile(frame)
    cfg = compose(frame, two_views)
    assert set(cfg.train_dataloader) == {'target'}
    dataset = cfg.train_dataloader.target.dataset
    assert list(dataset.views) == ['teacher', 'student']
    for transforms in dataset.views.values():
        # That of LSP alone is not what it is trained with otherwise.
        assert [*dataset.pipeline, *transforms] == frame.unlabeled_pipeline
        assert transforms[0].type != 'LoadWholeImage'
        assert transforms[-1].type == 'PackPoseInputs'
    # What the frame says of views stays.
    frame.train_dataloader.target = cfg.train_dataloader.target
    frame.train_dataloader.target.dataset.views.student = [dict(type='ColorJitter')]
    again = compose(frame, two_views).train_dataloader.target.dataset
    assert again.views.student == [dict(type='ColorJitter')]


def test_method_is_given_the_domains_that_it_declares(hands, two_views, monkeypatch):
    monkeypatch.setattr(TwoViews, 'views', ())
    monkeypatch.setattr(TwoViews, 'domains', ('target', 'labeled_target'))
    # The oracle's labels are not a few.
    with pytest.raises(InputError, match=r'no train_dataloader\.labeled_target'):
        compose(hands, two_views)
    few = dict(hands.labeled_target_loader)
    hands = copy.deepcopy(hands)
    hands.train_dataloader.labeled_target = few
    cfg = compose(hands, two_views)
    assert cfg.train_dataloader == dict(
        target=hands.unlabeled_target_loader, labeled_target=few
    )


def test_blind_plan_without_a_source_validates_nothing(hands, two_views, tmp_path):
    frame = copy.deepcopy(hands)
    del frame.train_dataloader['source']
    frame.pretrain = None
    del frame.val_dataloader['source'], frame.val_evaluator['source']
    methods = dict(free=compose(frame, two_views))
    (job,) = plan(frame, methods, 1, str(tmp_path), max_evaluated=8, blind=True)
    for key in ('val_dataloader', 'val_evaluator', 'val_cfg'):
        assert job.cfg[key] is None


def test_frame_stays_as_it_is(hands):
    before = copy.deepcopy(plain(hands._cfg_dict))
    methods = dict(regda=compose(hands, fragment('regda'), {'trade_off': 9}))
    plan(hands, methods, seed=1, work_dir='unused', max_iters=7)
    assert plain(hands._cfg_dict) == before


def test_optimizers_of_a_frame_are_those_of_every_method(hands):
    hands = copy.deepcopy(hands)
    adamw = dict(type='AdamW', lr=0.5)
    hands.optimizers = dict(head=dict(lr=0.002), adversary=adamw)
    cfg = compose(hands, fragment('regda'))
    rates = {
        player: entry.optimizer.lr
        for player, entry in cfg.optim_wrapper.items()
        if player != 'constructor'
    }
    assert rates == dict(feature_extractor=0.01, head=0.002, adversary=0.5)
    # Settings are changed; another optimiser takes nothing over.
    sgd = fragment('regda').optim_wrapper.head.optimizer
    assert cfg.optim_wrapper.head.optimizer == dict(sgd, lr=0.002)
    assert cfg.optim_wrapper.adversary.optimizer == adamw
    # A player that a method does not have gets none.
    cfg = compose(hands, fragment('source_only'))
    assert set(cfg.optim_wrapper) == {'constructor', 'feature_extractor', 'head'}
    # The method's own elsewhere.
    hands.pop('optimizers')
    assert compose(hands, fragment('regda')).optim_wrapper == (
        fragment('regda').optim_wrapper
    )


def test_oracle_learns_the_labelled_target_and_is_given_no_other(hands):
    cfg = compose(hands, fragment('source_only'), oracle=True)
    assert cfg.train_dataloader == dict(source=hands.labeled_target_loader)
    assert cfg.train_dataloader.source.dataset.type == 'H3DDataset'


@pytest.mark.parametrize('name', ['regda', 'source_only', 'oracle'])
def test_at_its_lengths_the_benchmark_on_hands_is_the_quickstart(hands, name, tmp_path):
    quickstart = Config.fromfile(ROOT / f'configs/quickstart/{name}.py')
    oracle = name == 'oracle'
    method = fragment('source_only' if oracle else name)
    methods = {name: compose(hands, method, oracle=oracle)}
    quickstart.work_dir = str(tmp_path / 'quickstart')
    stages = load_pretrain_config(quickstart), quickstart
    lengths = [stage.train_cfg.max_iters for stage in stages]
    start, job = plan(hands, methods, 0, str(tmp_path), *lengths)
    for ours, theirs in (
        (start.cfg, stages[0]),
        (job.cfg, stages[1]),
    ):
        for key in ('model', 'optim_wrapper', 'param_scheduler', 'randomness'):
            assert plain(ours[key]) == plain(theirs[key]), key
        assert plain(ours.train_cfg) == plain(theirs.train_cfg)
        loaders = theirs.train_dataloader
        if 'adaptation' in theirs.model:
            domains = MODELS.get(theirs.model.adaptation.type).domains
            loaders = {domain: loaders[domain] for domain in domains}
        assert plain(ours.train_dataloader) == plain(loaders)
        assert plain(ours.val_dataloader) == plain(theirs.val_dataloader)


def test_schedules_keep_their_shape_at_another_length():
    cfg = Config(
        dict(
            train_cfg=dict(max_iters=1000, val_interval=100),
            param_scheduler=dict(
                head=[
                    dict(type='LinearLR', begin=0, end=50, by_epoch=False),
                    dict(type='MultiStepLR', milestones=[599, 800], by_epoch=False),
                    dict(type='InverseDecayLR', gamma=1e-3, by_epoch=False),
                    dict(type='ExponentialLR', gamma=0.81, by_epoch=False),
                    dict(type='StepLR', step_size=300),  # of epochs
                ],
                adversary=dict(type='CosineAnnealingLR', T_max=1000, by_epoch=False),
            ),
            model=dict(
                adaptation=dict(
                    num_steps=4, warm_start=dict(num_iters=500, hi=0.1), rest_iters=0
                )
            ),
            custom_hooks=[
                dict(type='A', interval=30),
                dict(type='B', interval=700, late=dict(warmup_iters=10)),
            ],
            default_hooks=dict(checkpoint=dict(interval=501), none=None),
        )
    )
    scale_schedule(cfg, 500)
    linear, steps, decay, exponential, epochs = cfg.param_scheduler.head
    assert (linear.begin, linear.end) == (0, 25)
    assert steps.milestones == [299, 400]
    assert decay.gamma == pytest.approx(2e-3)
    # A square root of the factor for twice the iterations: the same at the end.
    assert exponential.gamma**500 == pytest.approx(0.81**1000)
    assert epochs.step_size == 300
    assert cfg.param_scheduler.adversary.T_max == 500
    adaptation = cfg.model.adaptation
    assert adaptation.warm_start == dict(num_iters=250, hi=0.1)
    assert (adaptation.num_steps, adaptation.rest_iters) == (4, 0)
    assert cfg.train_cfg == dict(max_iters=500, val_interval=100)
    assert [hook.interval for hook in cfg.custom_hooks] == [30, 500]
    assert cfg.custom_hooks[1].late.warmup_iters == 5
    assert cfg.default_hooks.checkpoint.interval == 500


def test_learning_rate_ends_where_the_long_training_ends(hands):
    long = compose(hands, fragment('dann'))
    short = copy.deepcopy(long)
    scale_schedule(short, 150)

    def scale_at_the_end(cfg):
        (decay,) = cfg.param_scheduler.adversary
        return (1 + decay.gamma * cfg.train_cfg.max_iters) ** -decay.power

    assert scale_at_the_end(long) == pytest.approx(2.5**-0.75)
    assert scale_at_the_end(short) == pytest.approx(2.5**-0.75)
    warm_start = short.model.adaptation.warm_start
    assert warm_start.num_iters == pytest.approx(10)


def test_schedule_compressed_to_almost_nothing_is_still_one():
    cfg = Config(
        dict(
            train_cfg=dict(max_iters=1000),
            model=dict(),
            param_scheduler=[
                dict(type='LinearLR', begin=0, end=500, by_epoch=False),
                dict(type='StepLR', step_size=300, by_epoch=False),
            ],
        )
    )
    scale_schedule(cfg, 1)
    assert [s.get('end', s.get('step_size')) for s in cfg.param_scheduler] == [1, 1]


def test_training_by_epochs_is_refused():
    with pytest.raises(InputError, match='max_iters'):
        scale_schedule(Config(dict(train_cfg=dict(max_epochs=3))), 10)


def test_all_start_from_the_one_checkpoint_of_their_seed(hands, tmp_path):
    methods = {name: compose(hands, fragment(name)) for name in ('mcd', 'regda')}
    plans = [plan(hands, methods, s, str(tmp_path / str(s)), 9, 6) for s in (0, 1)]
    for seed, (start, *others) in enumerate(plans):
        assert start.name == 'start' and start.needs is None
        assert start.num_iters == 9
        assert start.cfg.train_dataloader == hands.labeled_source_loader
        for job in [start, *others]:
            assert job.cfg.randomness.seed == seed
        for job in others:
            assert job.needs is start
            assert job.num_iters == 6
            # Neither domain's test set has a say in which weights count.
            assert 'save_best' not in job.cfg.default_hooks.checkpoint
    folders = [job.folder for jobs in plans for job in jobs]
    assert len(set(folders)) == 6
    again = plan(hands, methods, 0, str(tmp_path / '0'), 9, 6)
    assert [job.folder for job in again] == folders[:3]


def test_folder_of_a_result_changes_with_whatever_it_depends_on(hands, tmp_path):
    def folders(settings=None, pretrain=9, length=6, seed=0, **options):
        methods = dict(regda=compose(hands, fragment('regda'), settings))
        jobs = plan(hands, methods, seed, str(tmp_path), pretrain, length, **options)
        return [job.folder for job in jobs]

    start, regda = folders()
    assert folders({'warm_start.hi': 0.2}) == [
        start,
        folders({'warm_start.hi': 0.2})[1],
    ]
    changed = [
        folders({'warm_start.hi': 0.2}),
        folders({'trade_off': 2}),
        folders(length=7),
        folders(pretrain=10),
        folders(seed=1),
        folders(blind=True),
        folders(max_evaluated=5),
    ]
    assert len({regda, *(of_method for _, of_method in changed)}) == 8


def test_parts_that_go_on_are_those_of_the_frame(hands, tmp_path):
    """The paper's heads start anew; what no label teaches needs that of stage 1."""
    hands.pretrain['parts'] = ('backbone', 'neck')
    names = ('regda', 'source_free_teacher')
    methods = {name: compose(hands, fragment(name)) for name in names}
    _, *jobs = plan(hands, methods, 0, str(tmp_path), 9, 6)
    parts = [(job.cfg.get('pretrain') or {}).get('parts') for job in jobs]
    assert [part and list(part) for part in parts] == [['backbone', 'neck'], None]
    del hands.pretrain['parts']
    assert plan(hands, methods, 0, str(tmp_path), 9, 6)[1].folder != jobs[0].folder


def test_blind_plan_has_no_labels_of_the_target(hands, tmp_path):
    methods = dict(dan=compose(hands, fragment('dan')))
    for job in plan(hands, methods, 0, str(tmp_path), 9, 6, blind=True):
        text = str(plain(job.cfg.train_dataloader)) + str(
            plain([job.cfg.val_dataloader, job.cfg.val_evaluator, job.cfg.benchmark])
        )
        assert set(job.cfg.val_dataloader) == set(job.cfg.val_evaluator) == {'source'}
        assert text.count("'H3DDataset'") == text.count("'labeled': False") > 0


def test_factor_of_the_length_is_a_length(hands, tmp_path):
    methods = dict(dan=compose(hands, fragment('dan')))
    start, dan = plan(hands, methods, 0, str(tmp_path), 0.01, 0.02)
    assert (start.num_iters, dan.num_iters) == (350, 300)


def test_method_from_outside_the_package_brings_its_imports(
    hands, tmp_path, monkeypatch
):
    (tmp_path / 'outside_method.py').write_text(
        'from mmpose.registry import MODELS\n'
        'from mmregda.models.adaptations import SourceOnly\n'
        '@MODELS.register_module()\n'
        'class OutsideMethod(SourceOnly):\n'
        '    """From elsewhere."""\n'
    )
    base = ROOT / 'configs/_base_/adaptations/source_only.py'
    path = tmp_path / 'fragment.py'
    path.write_text(
        f"_base_ = ['{base}']\n"
        "custom_imports = dict(imports='outside_method')\n"
        "adaptation = dict(type='OutsideMethod')\n"
        "custom_hooks = [dict(type='EMAHook')]\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    cfg = compose(hands, load_config(str(path), 'adaptation'))
    assert cfg.custom_imports.imports == ['mmregda', 'outside_method']
    assert [hook.type for hook in cfg.custom_hooks][-1] == 'EMAHook'
    assert len(cfg.custom_hooks) == 1 + len(hands.custom_hooks)


def test_errors_say_what_is_missing(hands, tmp_path):
    with pytest.raises(InputError, match='nowhere.py'):
        load_config('nowhere.py')
    path = tmp_path / 'other.py'
    path.write_text('model = dict(head=1)\n')
    with pytest.raises(InputError, match=r'other.py.*model.adaptation'):
        load_config(str(path), 'model.adaptation')
    unknown = Config(dict(fragment('regda')._cfg_dict, adaptation=dict(type='Nobody')))
    with pytest.raises(InputError, match='Nobody'):
        compose(hands, unknown)
    with pytest.raises(InputError, match='marginn'):
        compose(hands, fragment('regda'), {'marginn': 3})
    bare = copy.deepcopy(hands)
    del bare._cfg_dict['labeled_target_loader']
    bare.train_dataloader.target = None
    with pytest.raises(InputError, match='labeled_target_loader'):
        compose(bare, fragment('source_only'), oracle=True)
    with pytest.raises(InputError, match='train_dataloader.target'):
        compose(bare, fragment('regda'))
    with pytest.raises(InputError, match='train_dataloader.target'):
        plan(bare, {}, seed=0, work_dir=str(tmp_path))


def test_fingerprint_does_not_depend_on_the_order_of_keys():
    a = Config(dict(model=dict(type='A', x=(1, 2)), randomness=dict(seed=0)))
    b = Config(dict(randomness=dict(seed=0), model=ConfigDict(x=[1, 2], type='A')))
    assert mark_of(a) == mark_of(b)
    assert mark_of(a) != mark_of(a, 'start')


@pytest.mark.slow
def test_channels_last_changes_no_value_and_survives_resuming(hand_pair, tmp_path):
    import torch

    from mmregda.engine import stages

    cfg = tiny_config(hand_pair, tmp_path, max_iters=2)
    cfg.custom_hooks, cfg.channels_last = [], True
    runner = stages.run(copy.deepcopy(cfg))
    weight = runner.model.backbone.conv1.weight
    assert weight.is_contiguous(memory_format=torch.channels_last)
    assert not weight.is_contiguous()
    saved = {name: value.clone() for name, value in runner.model.state_dict().items()}
    cfg.resume = True
    resumed = stages.run(cfg)
    assert resumed.iter == 2
    for name, value in resumed.model.state_dict().items():
        assert torch.equal(value, saved[name]), name
