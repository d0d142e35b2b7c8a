"""Unknown components and arguments are found where they stand, and nothing else is."""

import copy

import pytest
from conftest import ROOT
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmpose.registry import DATASETS, HOOKS, METRICS, MODELS, OPTIMIZERS, TRANSFORMS

from mmregda import InputError
from mmregda.components import arguments_of, require_components, required_of


@pytest.fixture
def cfg():
    init_default_scope('mmpose')
    return Config.fromfile(str(ROOT / 'configs/regda_rhd2h3d.py'))


def refusal(cfg):
    with pytest.raises(InputError) as refused:
        require_components(cfg)
    return str(refused.value)


def at(cfg, place):
    node = cfg
    for part in place.split('.'):
        node = node[int(part)] if isinstance(node, (list, tuple)) else node[part]
    return node


# Where components stand, and a place as a message calls it.
PLACES = {
    'model': 'model',
    'model.data_preprocessor': 'model.data_preprocessor',
    'model.backbone': 'model.backbone',
    'model.neck': 'model.neck',
    'model.head': 'model.head',
    'model.head.loss': 'model.head.loss',
    'model.head.decoder': 'model.head.decoder',
    'model.adaptation': 'model.adaptation',
    'train_dataloader.source.dataset': 'train_dataloader.source.dataset',
    'train_dataloader.source.dataset.pipeline.0': (
        'train_dataloader.source.dataset.pipeline[0]'
    ),
    'train_dataloader.target.dataset.dataset': (
        'train_dataloader.target.dataset.dataset'
    ),
    'train_dataloader.source.sampler': 'train_dataloader.source.sampler',
    'val_dataloader.target.dataset': 'val_dataloader.target.dataset',
    'val_evaluator.source.0': 'val_evaluator.source[0]',
    'train_cfg': 'train_cfg',
    'val_cfg': 'val_cfg',
    'default_hooks.logger': 'default_hooks.logger',
    'default_hooks.checkpoint': 'default_hooks.checkpoint',
    'custom_hooks.0': 'custom_hooks[0]',
    'optim_wrapper.head.optimizer': 'optim_wrapper.head.optimizer',
    'visualizer': 'visualizer',
    'visualizer.vis_backends.0': 'visualizer.vis_backends[0]',
}


def test_complete_config_has_no_problem(cfg):
    require_components(cfg)


@pytest.mark.parametrize('place', PLACES)
def test_type_that_nobody_has_registered_is_named(cfg, place):
    right = at(cfg, place).type
    at(cfg, place).type = f'{right}s'
    message = refusal(cfg)
    assert f'{PLACES[place]}.type is "{right}s"' in message
    assert f'Did you mean {right}' in message
    assert 'regda_rhd2h3d.py' in message and 'custom_imports' in message


@pytest.mark.parametrize('place', PLACES)
def test_argument_that_there_is_not_is_named(cfg, place):
    entry = at(cfg, place)
    known, closed = arguments_of_entry(entry, place)
    # What hands its arguments on might take any; but hardly one like its own.
    wrong = 'no_such_argument' if closed else f'{max(known, key=len)}s'
    entry[wrong] = 3
    message = refusal(cfg)
    assert f'{PLACES[place]}: ' in message and f'takes no "{wrong}"' in message


def arguments_of_entry(entry, place):
    for registry in (MODELS, DATASETS, TRANSFORMS, METRICS, HOOKS, OPTIMIZERS):
        if registry.get(entry.type):
            return arguments_of(registry.get(entry.type))
    return set(), True


@pytest.mark.parametrize(
    ('place', 'registry'),
    [
        ('model.backbone', MODELS),
        ('model.neck', MODELS),
        ('model.head', MODELS),
        ('model.head.loss', MODELS),
        ('model.data_preprocessor', MODELS),
        ('val_dataloader.target.dataset', DATASETS),
        ('train_dataloader.source.dataset.pipeline.0', TRANSFORMS),
        ('val_evaluator.source.0', METRICS),
        ('custom_hooks.0', HOOKS),
        ('default_hooks.logger', HOOKS),
    ],
)
def test_what_is_refused_could_not_have_been_built(cfg, place, registry):
    entry = at(cfg, place)
    entry.no_such_argument = 3
    refusal(cfg)
    with pytest.raises(TypeError, match='no_such_argument'):
        registry.build(copy.deepcopy(entry))


def test_known_adaptations_are_listed(cfg):
    cfg.model.adaptation.type = 'Nothing'
    listed = refusal(cfg).partition('Known: ')[2]
    for name in ('AdaBN', 'DANN', 'RegDA', 'SourceOnly'):
        assert name in listed
    assert 'ResNet' not in listed and 'BaseAdaptation' not in listed


def test_all_problems_are_listed_at_once(cfg):
    cfg.model.adaptation.margn = 4
    cfg.model.backbone.dept = 50
    cfg.train_cfg.max_iter = 3
    lines = refusal(cfg).splitlines()[1:]
    assert len(lines) == 3 and all(line.startswith('- ') for line in lines)
    assert sum('mean margin?' in line for line in lines) == 1
    assert sum('mean depth?' in line for line in lines) == 1


@pytest.mark.parametrize(
    ('place', 'needed'),
    [
        ('model.head', 'in_channels'),
        ('model.neck', 'in_channels'),
        ('train_dataloader.target.dataset', 'pipeline'),
        ('val_evaluator.source.0', 'groups'),
    ],
)
def test_argument_that_is_needed_is_named(cfg, place, needed):
    at(cfg, place).pop(needed)
    assert f'needs {needed}.' in refusal(cfg)


def test_views_and_nested_transforms_are_looked_at(cfg):
    target = cfg.train_dataloader.target.dataset
    target.views = dict(teacher=[dict(type='TopdownAffin', input_size=(64, 64))])
    target.pipeline = [
        dict(type='RandomApply', transforms=[dict(type='ColorJitter', brigtness=1)])
    ]
    message = refusal(cfg)
    assert 'views.teacher[0].type is "TopdownAffin"' in message
    assert 'pipeline[0].transforms[0]: ColorJitter takes no "brigtness"' in message


def test_other_packages_hooks_need_not_be_installed(cfg):
    cfg.custom_hooks = [dict(type='no_package.SomeHook', priority=49)]
    require_components(cfg)
    cfg.model.backbone.type = 'no_package.SomeNet'
    assert 'Is the package "no_package" installed?' in refusal(cfg)


def test_one_set_of_everything_is_looked_at(cfg):
    """As an ordinary config of MMPose's has it."""
    cfg.model.pop('adaptation')
    cfg.train_dataloader = cfg.train_dataloader.source
    cfg.val_evaluator = dict(type='PCKAccuracy', thr=0.1)
    cfg.optim_wrapper = dict(optimizer=dict(type='Adam', lr=1e-3))
    cfg.param_scheduler = [
        dict(type='LinearLR', begin=0, end=5, by_epoch=False, start_factor=0.1),
        dict(type='MultiStepLR', milestones=[3], gamma=0.1, by_epoch=True),
    ]
    cfg.model.type = 'TopdownPoseEstimator'
    require_components(cfg)
    cfg.train_dataloader.num_wokers = 2
    cfg.val_evaluator.thresh = 0.1
    cfg.optim_wrapper.optimizer.learning_rate = 1
    cfg.optim_wrapper.clip_gard = dict(max_norm=1)
    cfg.param_scheduler[1].millestones = 3
    message = refusal(cfg)
    for part in (
        'train_dataloader has no "num_wokers". Did you mean num_workers?',
        'val_evaluator: PCKAccuracy takes no "thresh"',
        'optim_wrapper.optimizer: Adam takes no "learning_rate"',
        'optim_wrapper: OptimWrapper takes no "clip_gard". Did you mean clip_grad?',
        'param_scheduler[1]: MultiStepLR takes no "millestones"',
    ):
        assert part in message


def test_arguments_are_followed_through_super():
    class Base:
        def __init__(self, base, other=1):
            pass

    class Handing(Base):
        def __init__(self, own, *args, **kwargs):
            super().__init__(*args, **kwargs)

    class Using(Base):
        def __init__(self, own, **kwargs):
            self.kept = kwargs
            super().__init__(1, **kwargs)

    class Last(Handing):
        pass

    assert arguments_of(Last) == ({'own', 'base', 'other'}, True)
    assert arguments_of(Using) == ({'own'}, False)
    assert required_of(Last) == {'own'} and required_of(Base) == {'base'}
    assert arguments_of(lambda a, b=2: None) == ({'a', 'b'}, True)
    assert arguments_of(lambda a, **b: None) == ({'a'}, False)
    assert arguments_of(dict)[1] is False
