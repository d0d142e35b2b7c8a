"""A rehearsal finds, before anything trains, what would go wrong later."""

import copy
import random
from collections import OrderedDict
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import ROOT, write_things
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmengine.visualization import Visualizer
from mmpose.datasets.datasets.utils import parse_pose_metainfo
from mmpose.registry import DATASETS, HOOKS, METRICS, MODELS, TRANSFORMS

from mmregda import InputError
from mmregda.datasets.keypoints import metainfo_named
from mmregda.engine import rehearse, stages
from mmregda.engine.hooks import rehearsal_hook
from mmregda.engine.loops import drawn_dataloaders
from mmregda.engine.rehearsal.keypoints import require_flips
from mmregda.engine.rehearsal.readers import Reader

K = 4
SLOW = pytest.mark.slow
ADAPTATIONS = sorted(
    Config.fromfile(path).adaptation.type
    for path in (ROOT / 'configs/_base_/adaptations').glob('*.py')
)


@pytest.fixture(scope='module')
def things(tmp_path_factory):
    root = tmp_path_factory.mktemp('things')
    write_things(root)
    return root


def codec(**changes):
    return {
        **dict(type='MSRAHeatmap', input_size=(64, 96), heatmap_size=(16, 24), sigma=2),
        **changes,
    }


def metainfo(names=('k0', 'k1', 'left_k', 'right_k'), **swaps):
    swaps = {'left_k': 'right_k', 'right_k': 'left_k', **swaps}
    return dict(
        dataset_name='things',
        keypoint_info={
            i: dict(name=n, id=i, type='', swap=swaps.get(n, ''))
            for i, n in enumerate(names)
        },
        skeleton_info={},
        joint_weights=[1.0] * len(names),
        sigmas=[0.05] * len(names),
    )


def config(root, tmp_path):
    """A small run of RegDA: COCO's layout to a folder of images."""
    crop = [
        dict(type='GetBBoxCenterScale'),
        dict(type='RandomFlip', prob=0.5),
        dict(type='TopdownAffine', input_size=(64, 96)),
    ]
    pack = dict(type='PackPoseInputs')
    load = dict(type='LoadImage')
    test = [load, crop[0], crop[2], pack]
    source = dict(
        type='CocoDataset',
        data_root=str(root / 'source'),
        data_mode='topdown',
        ann_file='train.json',
        data_prefix=dict(img='images/'),
        metainfo=metainfo(),
        pipeline=[load, *crop, dict(type='GenerateTarget', encoder=codec()), pack],
    )
    target = dict(
        type='UnlabeledImages',
        root=str(root / 'target'),
        metainfo=metainfo(),
        pipeline=[*crop, pack],
    )
    loader = dict(batch_size=4, num_workers=0, sampler=dict(type='InfiniteSampler'))
    val = dict(loader, sampler=dict(type='DefaultSampler', shuffle=False))
    return Config(
        dict(
            default_scope='mmpose',
            work_dir=str(tmp_path),
            experiment_name=tmp_path.name,
            model=dict(
                type='DomainAdaptiveTopdown',
                adaptation=dict(type='RegDA'),
                data_preprocessor=dict(
                    type='PoseDataPreprocessor',
                    mean=[123.675, 116.28, 103.53],
                    std=[58.395, 57.12, 57.375],
                    bgr_to_rgb=True,
                ),
                backbone=dict(
                    type='ResNet', depth=18, stem_channels=8, base_channels=8
                ),
                head=dict(
                    type='HeatmapHead',
                    in_channels=64,
                    out_channels=K,
                    deconv_out_channels=(8, 8, 8),
                    deconv_kernel_sizes=(4, 4, 4),
                    loss=dict(type='KeypointKLLoss'),
                    decoder=codec(),
                ),
                test_cfg=dict(flip_test=True),
            ),
            train_dataloader=dict(
                source=dict(loader, dataset=source), target=dict(loader, dataset=target)
            ),
            val_dataloader=dict(
                source=dict(val, dataset=dict(source, test_mode=True, pipeline=test)),
                target=dict(val, dataset=dict(target, test_mode=True, pipeline=test)),
            ),
            val_evaluator=dict(source=[dict(type='PCKAccuracy', thr=0.2)], target=[]),
            val_cfg=dict(type='DomainValLoop'),
            train_cfg=dict(type='DomainAdaptTrainLoop', max_iters=3, val_interval=3),
            optim_wrapper=dict(
                constructor='PlayerOptimWrapperConstructor',
                optimizer=dict(type='Adam', lr=1e-3),
            ),
            param_scheduler=[dict(type='InverseDecayLR', by_epoch=False)],
            default_hooks=dict(
                logger=dict(type='LoggerHook', interval=1),
                checkpoint=dict(
                    type='AtomicCheckpointHook',
                    by_epoch=False,
                    interval=3,
                    save_best='source/PCK',
                    rule='greater',
                ),
            ),
            log_processor=dict(by_epoch=False),
            randomness=dict(seed=0),
            visualizer=dict(type='PoseLocalVisualizer', vis_backends=[]),
        )
    )


def of(cfg, path):
    """What is at a dotted path of a config."""
    for key in path.split('.'):
        cfg = cfg[int(key)] if key.isdigit() else cfg[key]
    return cfg


def put(path, value):
    """A change: a value at a dotted path."""

    def change(cfg):
        place, _, key = path.rpartition('.')
        place = of(cfg, place) if place else cfg
        place[int(key) if key.isdigit() else key] = copy.deepcopy(value)

    return change


def insert(domain, index, *transforms, part='train'):
    """A change: transforms into a domain's pipeline."""

    def change(cfg):
        pipeline = of(cfg, f'{part}_dataloader.{domain}.dataset.pipeline')
        pipeline[index:index] = copy.deepcopy(list(transforms))

    return change


def both(*changes):
    def change(cfg):
        for each in changes:
            each(cfg)

    return change


def everywhere(**settings):
    """A change of the codec, in the head and in the encoder."""
    return both(
        put('model.head.decoder', codec(**settings)),
        put('train_dataloader.source.dataset.pipeline.4.encoder', codec(**settings)),
    )


def simcc(head=(), encoder=()):
    """A change: RTMPose's kind of head, with settings of its own or of the encoder."""
    own = dict(type='SimCCLabel', input_size=(64, 96), sigma=4.0, simcc_split_ratio=2.0)
    settings = dict(
        type='SimCCHead',
        in_channels=64,
        out_channels=K,
        input_size=(64, 96),
        in_featuremap_size=(2, 3),
        simcc_split_ratio=2.0,
        deconv_out_channels=None,
        loss=dict(type='KLDiscretLoss', use_target_weight=True),
        decoder=own,
    )
    return both(
        put('model.head', {**settings, **dict(head)}),
        put(
            'train_dataloader.source.dataset.pipeline.4.encoder',
            {**own, **dict(encoder)},
        ),
    )


@TRANSFORMS.register_module()
class Spoil:
    def __call__(self, results):
        results['img'] = results['img'] * np.float32('nan')
        return results


@METRICS.register_module()
class OwnBrokenMetric(METRICS.get('mmpose.EPE')):
    def compute_metrics(self, results):
        raise ZeroDivisionError('nothing to divide by')


@DATASETS.register_module()
class OwnDataset(BaseDataset):
    """Of a user's own, not in COCO's layout."""

    def __init__(self, root, images=('s00.jpg', 's01.jpg'), num_labeled=K, **kwargs):
        self.paths = [f'{root}/source/images/{name}' for name in images]
        self.num_labeled = num_labeled
        super().__init__(**kwargs)

    @classmethod
    def _load_metainfo(cls, metainfo=None):
        return parse_pose_metainfo(metainfo)

    def load_data_list(self):
        keypoints = np.full((1, self.num_labeled, 2), 40, dtype=np.float32)
        return [
            dict(
                img_path=path,
                img_id=index,
                id=index,
                bbox=np.array([[8, 6, 88, 74]], dtype=np.float32),
                bbox_score=np.ones(1, dtype=np.float32),
                keypoints=keypoints,
                keypoints_visible=np.ones(keypoints.shape[:2], dtype=np.float32),
            )
            for index, path in enumerate(self.paths)
        ]


def own_dataset(domain, part='train', **settings):
    """A change: the dataset is a user's own, with the same pipeline."""

    def change(cfg):
        loader = of(cfg, f'{part}_dataloader.{domain}')
        loader.dataset = dict(
            type='OwnDataset',
            root='{root}',
            metainfo=metainfo(),
            pipeline=loader.dataset.pipeline,
            **settings,
        )

    return change


def combined_validation(cfg):
    """A change: of two files, whose first images have one id."""
    loader = cfg.val_dataloader.source
    part = {**loader.dataset, 'pipeline': []}
    loader.dataset = dict(
        type='CombinedDataset',
        metainfo=metainfo(),
        datasets=[part, dict(part, ann_file='two_sizes.json')],
        pipeline=loader.dataset.pipeline,
        test_mode=True,
    )


SOURCE, TARGET = 'train_dataloader.source', 'train_dataloader.target'
UDP = dict(use_udp=True)
AFFINE = dict(type='TopdownAffine', input_size=(64, 64))
SWAPPED = metainfo(('k1', 'k0', 'left_k', 'right_k'))
CONVERT = dict(
    type='KeypointConverter',
    num_keypoints=4,
    mapping=[(0, 1), (1, 0), (2, 2), (3, 3)],
)

MISTAKES = {
    # Sizes, by height and width.
    'swapped heatmap_size': (
        everywhere(heatmap_size=(24, 16)),
        ('16 x 24 (width x height)', 'labels are 24 x 16', '(width, height)'),
    ),
    'the encoder has another heatmap_size': (
        put(f'{SOURCE}.dataset.pipeline.4.encoder', codec(heatmap_size=(8, 12))),
        ('encoder of GenerateTarget', SOURCE, 'heatmap_size=(8, 12)', 'same codec'),
    ),
    'the encoder has another sigma': (
        put(f'{SOURCE}.dataset.pipeline.4.encoder', codec(sigma=3)),
        ('encoder of GenerateTarget', 'sigma=3', 'sigma=2', 'same codec'),
    ),
    'the encoder is of another kind': (
        put(f'{SOURCE}.dataset.pipeline.4.encoder', codec(type='UDPHeatmap')),
        ('encoder of GenerateTarget', 'UDPHeatmap', 'MSRAHeatmap', 'same codec'),
    ),
    'source cropped to another size': (
        put(f'{SOURCE}.dataset.pipeline.3', AFFINE),
        ('TopdownAffine', SOURCE, '64 x 64 (width x height)', '(64, 96)'),
    ),
    'cut out as the crop does not turn': (
        insert(
            'target', 2, dict(type='RandomRotatedSubCrop', rotation=9, use_udp=True)
        ),
        ('RandomRotatedSubCrop', TARGET, 'use_udp=True', 'use_udp=False'),
    ),
    'input_size swapped everywhere but in the crops': (
        everywhere(input_size=(96, 64)),
        ('TopdownAffine', '64 x 96', '(96, 64)', 'width, height'),
    ),
    # SimCC: bins along each axis.
    'labels that are normalised twice': (
        simcc(head=dict(loss=dict(type='KLDiscretLoss', label_softmax=True))),
        ('model.head.loss', 'label_softmax=True', 'normalize=True', 'twice'),
    ),
    'bins of the head and of its codec differ': (
        simcc(head=dict(simcc_split_ratio=1.5)),
        ('training step', 'KLDiscretLoss', '96', '128', 'simcc_split_ratio'),
    ),
    'bins of the labels differ': (
        simcc(encoder=dict(simcc_split_ratio=1.5)),
        ('encoder of GenerateTarget', 'simcc_split_ratio=1.5', 'same codec'),
    ),
    # Keypoints.
    'more channels than keypoints': (
        put('model.head.out_channels', 5),
        ('out_channels=5', '4 keypoints', 'model.head.out_channels'),
    ),
    'annotations of fewer keypoints': (
        own_dataset('source', num_labeled=3),
        ('out_channels=4', 's00.jpg', 'has 3', f'{SOURCE}.dataset the metainfo'),
    ),
    'converted to more keypoints than the metainfo has': (
        insert(
            'source',
            1,
            dict(type='KeypointConverter', num_keypoints=6, mapping=[(0, 0)]),
        ),
        ('maps to 6 keypoints', 'out_channels=4', f'{SOURCE}.dataset the metainfo'),
    ),
    'target in another order': (
        both(
            put(f'{TARGET}.dataset.metainfo', SWAPPED),
            put('val_dataloader.target.dataset.metainfo', SWAPPED),
        ),
        (
            f'keypoints of the source ({SOURCE}) are k0, k1',
            f'those of the target ({TARGET}) are k1, k0',
            'KeypointConverter',
            f'{TARGET}.dataset the metainfo',
        ),
    ),
    'validation set in another order': (
        put('val_dataloader.source.dataset.metainfo', SWAPPED),
        ('those of the source (val_dataloader.source) are k1, k0', 'KeypointConverter'),
    ),
    'target of other keypoints': (
        put(f'{TARGET}.dataset.metainfo', metainfo(('k0', 'k1', 'left_k'), left_k='')),
        ('out_channels=4', TARGET, '3 keypoints'),
    ),
    'a pair that is swapped one way': (
        put(f'{SOURCE}.dataset.metainfo', metainfo(right_k='k0')),
        (SOURCE, '"left_k"', 'swap'),
    ),
    'a left and a right that are not swapped': (
        put(f'{SOURCE}.dataset.metainfo', metainfo(left_k='', right_k='')),
        (SOURCE, '"left_k"', 'Set swap="right_k"'),
    ),
    'other pairs in the validation set': (
        put('val_dataloader.target.dataset.metainfo', metainfo(k0='k1', k1='k0')),
        ('"k0" (keypoint 0)', 'val_dataloader.target', 'swap'),
    ),
    # Labels where there are none.
    'an unlabelled source': (
        lambda cfg: put(f'{SOURCE}.dataset', cfg.train_dataloader.target.dataset)(cfg),
        (SOURCE, 'UnlabeledImages has no labels', 'labelled dataset'),
    ),
    'a target with its labels': (
        lambda cfg: put(f'{TARGET}.dataset', cfg.train_dataloader.source.dataset)(cfg),
        (TARGET, 'CocoDataset hands the labels', 'UnlabeledDataset'),
    ),
    'a source without GenerateTarget': (
        lambda cfg: of(cfg, f'{SOURCE}.dataset.pipeline').pop(4),
        ('training step', SOURCE, 'GenerateTarget'),
    ),
    # Pipelines and batches.
    'no PackPoseInputs': (
        lambda cfg: of(cfg, f'{TARGET}.dataset.pipeline').pop(),
        (f'{TARGET}.dataset.pipeline', 'End it with dict(type="PackPoseInputs")'),
    ),
    'an image that is missing': (
        own_dataset('source', images=['gone.jpg']),
        ('images/gone.jpg', SOURCE, 'does not exist', 'Look at its annotation'),
    ),
    'an image that is damaged': (
        own_dataset('source', 'val', images=['damaged.jpg']),
        ('damaged.jpg', 'val_dataloader.source', 'cut short', 'Fetch it again'),
    ),
    'no samples': (
        own_dataset('source', images=[]),
        ('source dataset cannot be read', 'no samples'),
    ),
    'samples of different sizes': (
        both(
            put('val_dataloader.source.collate_fn', dict(type='default_collate')),
            lambda cfg: of(cfg, 'val_dataloader.source.dataset.pipeline').pop(2),
            put('val_dataloader.source.dataset.ann_file', 'two_sizes.json'),
        ),
        ('val_dataloader.source gives inputs of', 'input_size'),
    ),
    'no crop to a size': (
        lambda cfg: of(cfg, f'{TARGET}.dataset.pipeline').pop(2),
        (TARGET, '120 x 90', 'input_size=(64, 96)', 'TopdownAffine'),
    ),
    'values that are not finite': (
        insert('target', 3, dict(type='Spoil')),
        ('loss_adversary is nan', 't00.jpg', 'Look at these images'),
    ),
    'channels that do not fit': (
        put('model.head.in_channels', 32),
        ('training step', SOURCE, 'HeatmapHead', 'channels'),
    ),
    # Files.
    'no annotation file': (
        put(f'{SOURCE}.dataset.ann_file', 'nowhere.json'),
        ('annotation file', 'nowhere.json', 'does not exist'),
    ),
    'no annotation file of a metric': (
        put('val_evaluator.source', dict(type='CocoMetric', ann_file='nowhere.json')),
        ('CocoMetric', 'val_evaluator.source', 'No such file', 'nowhere.json'),
    ),
    'no file of metainfo': (
        put(f'{SOURCE}.dataset.metainfo', dict(from_file='nowhere.py')),
        ('source dataset cannot be read', 'nowhere.py'),
    ),
    'a mistyped argument of a dataset': (
        put(f'{SOURCE}.dataset.annfile', 'train.json'),
        ('source dataset cannot be read', 'annfile'),
    ),
    # Metrics.
    **{
        f'{kind} without labels': (
            put('val_evaluator.target', dict(type=kind, **settings)),
            (f'{kind} of val_evaluator.target', 'UnlabeledImages', 'target = []'),
        )
        for kind, settings in dict(
            PCKAccuracy={},
            AUC={},
            EPE={},
            CocoMetric={},
            NME=dict(norm_mode='keypoint_distance', keypoint_indices=[0, 1]),
        ).items()
    },
    'a metric that needs the size of heads': (
        put('val_evaluator.source', dict(type='PCKAccuracy', norm_item='head')),
        ('PCKAccuracy of val_evaluator.source', 'head_size', 'CocoDataset'),
    ),
    'groups of keypoints that there are not': (
        put('val_evaluator.source', dict(type='GroupedPCKAccuracy', groups='hand21')),
        ('val_evaluator.source', 'GroupedPCKAccuracy', 'index 5', 'size 4'),
    ),
    'ids that two files share': (
        both(combined_validation, put('val_evaluator.source', dict(type='CocoMetric'))),
        ('CocoMetric of val_evaluator.source', 's00.jpg', 'wide.jpg', 'have the id 0'),
    ),
    'a metric that fails': (
        put('val_evaluator.source', dict(type='OwnBrokenMetric')),
        ('OwnBrokenMetric of val_evaluator.source', 'nothing to divide by'),
    ),
    'save_best of another metric': (
        put('default_hooks.checkpoint.save_best', 'source/AUC'),
        ('save_best', '"source/AUC"', 'There are source/PCK'),
    ),
    'save_best without a metric': (
        put('val_evaluator.source', []),
        ('save_best', '"source/PCK"', 'no metric', 'val_evaluator'),
    ),
    'save_best that may be better greater or less': (
        put('default_hooks.checkpoint.rule', None),
        ("save_best=['source/PCK']", 'rule="greater"'),
    ),
    'save_best of the first, that may be better greater or less': (
        both(
            put('default_hooks.checkpoint.save_best', 'auto'),
            put('default_hooks.checkpoint.rule', None),
        ),
        ('"auto"', 'source/PCK', 'rule="greater"'),
    ),
    'early stopping by another metric': (
        put(
            'custom_hooks',
            [dict(type='EarlyStoppingHook', monitor='PCK', rule='greater')],
        ),
        ('EarlyStoppingHook', '"PCK"', 'There are source/PCK'),
    ),
    'flip_test without metainfo': (
        both(
            put(f'{TARGET}.dataset.metainfo', None),
            put('val_dataloader.target.dataset.metainfo', None),
        ),
        ('flip_test', 'UnlabeledImages of val_dataloader.target', 'metainfo'),
    ),
    # Players.
    'a frozen psi': (
        put('model.backbone.frozen_stages', 4),
        (
            'optim_wrapper.feature_extractor',
            'frozen',
            'model.backbone',
            'frozen_stages',
        ),
    ),
    'a head that does not learn': (
        put(
            'optim_wrapper.paramwise_cfg', dict(custom_keys=dict(head=dict(lr_mult=0)))
        ),
        ('optim_wrapper.head', 'learning rate', 'is 0', 'paramwise_cfg'),
    ),
    'a learning rate of 0': (
        put('optim_wrapper.optimizer.lr', 0.0),
        ('optim_wrapper.feature_extractor', 'learning rate', 'is 0'),
    ),
    'a mistyped optimiser': (
        put('optim_wrapper.optimizer.type', 'Adamm'),
        ('"Adamm" is not registered', 'mean Adam'),
    ),
    'a learning rate that is text': (
        put('optim_wrapper.optimizer.lr', '1e-3'),
        ("Adam(lr='1e-3') cannot be used", "'<=' not supported"),
    ),
    'a hook that does not know what is better': (
        put('custom_hooks', [dict(type='EarlyStoppingHook', monitor='PCK')]),
        ("EarlyStoppingHook(monitor='PCK') cannot be used", 'rule must be specified'),
    ),
    'a sigma that is text': (everywhere(sigma='2'), ('sigma is ', 'above 0')),
    'a sigma of 0': (everywhere(sigma=0), ('model.head.decoder: sigma is 0', 'above')),
    'a depth that there is not': (
        put('model.backbone.depth', 19),
        ('ResNet(depth=19, ', 'cannot be used', 'invalid depth'),
    ),
    'half of a validation': (
        put('val_cfg', None),
        ('its settings cannot be used', 'val_dataloader, val_cfg, and val_evaluator'),
    ),
    'keypoints left out of the predictions alone': (
        put('model.test_cfg.output_keypoint_indices', [0, 1]),
        ('output_keypoint_indices keeps 2 keypoints', 'val_dataloader.source has 4'),
    ),
    'a loss that is infinite': (
        put('model.head.loss.loss_weight', float('inf')),
        ('loss_sup', 'inf', 's00.jpg', 'labels'),
    ),
}


def mistaken(things, tmp_path, change):
    cfg = config(things, tmp_path)
    change(cfg)
    for loaders in (cfg.train_dataloader, cfg.val_dataloader):
        for loader in loaders.values():
            dataset = loader.dataset.get('dataset') or loader.dataset
            if 'root' in dataset:
                dataset.root = dataset.root.format(root=things)
    return cfg


# What is quick to get wrong, or would train on wrong labels without a word.
FAST = (
    *('swapped', 'order', 'sigma', 'labels', 'unlabelled', 'frozen', 'save_best of'),
    'share',
)


@pytest.mark.parametrize(
    'name',
    [
        name if any(word in name for word in FAST) else pytest.param(name, marks=SLOW)
        for name in MISTAKES
    ],
)
def test_mistake_is_one_message_with_entry_and_remedy(name, things, tmp_path):
    change, expected = MISTAKES[name]
    cfg = mistaken(things, tmp_path, change)
    with pytest.raises(InputError) as raised:
        rehearse(cfg)
    message = str(raised.value)
    for part in expected:
        assert part in message, message


# Where components stand, each with what is registered there.
COMPONENTS = (
    *('model', 'model.adaptation', 'model.backbone', 'model.head', 'model.head.loss'),
    *('model.head.decoder', 'model.data_preprocessor'),
    *(f'{SOURCE}.dataset', f'{SOURCE}.dataset.pipeline.0', f'{SOURCE}.sampler'),
    *('val_dataloader.target.dataset', 'val_evaluator.source.0'),
    *('default_hooks.logger', 'default_hooks.checkpoint'),
    *('optim_wrapper.optimizer', 'param_scheduler.0'),
)


@pytest.mark.slow
@pytest.mark.parametrize('place', COMPONENTS)
def test_component_or_argument_that_does_not_exist_is_named(place, things, tmp_path):
    right = of(config(things, tmp_path), place).type
    unknown = put(f'{place}.type', f'{right}s')
    for change, name in (unknown, f'{right}s'), (put(f'{place}.argumnt', 3), 'argumnt'):
        cfg = mistaken(things, tmp_path, change)
        if place == 'model' and name != 'argumnt':
            continue  # It trains no model of ours then, which is said first.
        with pytest.raises(InputError, match=name):
            stages.train(cfg)


@pytest.mark.parametrize('begin', [rehearse, stages.train])
@pytest.mark.parametrize(
    'place, name, meant',
    [
        ('model.adaptation', 'RegDa', 'RegDA'),
        ('val_evaluator.source.0', 'PCKAcuracy', 'PCKAccuracy'),
    ],
)
def test_what_may_be_meant_by_an_unknown_name_is_said(
    place, name, meant, begin, things, tmp_path
):
    cfg = mistaken(things, tmp_path, put(f'{place}.type', name))
    with pytest.raises(InputError, match=f'mean {meant}.*custom_imports'):
        begin(cfg)


@MODELS.register_module()
class NeedsAnotherPackage(torch.nn.Module):
    def __init__(self):
        import a_package_that_is_not_there  # noqa: F401


def test_a_package_that_a_component_needs_is_named(things, tmp_path):
    change = put('model.backbone', dict(type='NeedsAnotherPackage'))
    cfg = mistaken(things, tmp_path, change)
    with pytest.raises(InputError, match='NeedsAnother.*a_package_that_is_not_there'):
        stages.train(cfg)


def test_config_without_a_mistake_passes_and_stays_as_it_is(things, tmp_path):
    cfg = config(things, tmp_path)
    # Fewer samples than a batch are drawn again.
    cfg.train_dataloader.source.update(batch_size=32, drop_last=True)
    before = copy.deepcopy(cfg.to_dict())
    rehearse(cfg)
    assert cfg.to_dict() == before


def test_what_a_run_would_build_passes_before_its_pretraining(
    things, tmp_path, monkeypatch
):
    cfg = config(things, tmp_path)
    # MMPose's own runtime has this hook; no runner has made a visualizer yet.
    monkeypatch.setattr(Visualizer, '_instance_dict', OrderedDict())
    cfg.default_hooks.visualization = dict(type='PoseVisualizationHook', enable=False)
    # A sampler that looks into what it draws from.
    target = cfg.train_dataloader.target
    combined = dict(
        type='CombinedDataset', metainfo=metainfo(), datasets=[target.dataset] * 2
    )
    pipeline = [dict(type='LoadImage'), *target.dataset.pop('pipeline')]
    target.dataset = dict(type='UnlabeledDataset', dataset=combined, pipeline=pipeline)
    target.sampler = dict(type='MultiSourceSampler', batch_size=4, source_ratio=[1, 3])
    rehearse(cfg)


@TRANSFORMS.register_module()
class OwnNoise:
    """Draws from a generator of its own, which no seed of a run touches."""

    def __init__(self):
        self.generator = np.random.default_rng(0)

    def __call__(self, results):
        noise = self.generator.integers(0, 9, results['img'].shape, dtype=np.uint8)
        results['img'] = results['img'] // 2 + noise
        return results


@HOOKS.register_module()
class DrawsBefore(Hook):
    """Draws from each generator of random numbers, right before the first iteration."""

    priority = 'LOWEST'
    drawn = ()

    def before_train(self, runner):
        DrawsBefore.drawn = (random.random(), np.random.rand(), torch.rand(1).item())


def run(cfg):
    """As MMPose's own tool does."""
    runner = Runner.from_cfg(copy.deepcopy(cfg))
    runner.train()
    return runner


def left_by(runner):
    """All that a run leaves: weights, states and metrics."""
    hub = runner.message_hub
    return (
        {name: value.clone() for name, value in runner.model.state_dict().items()},
        {name: w.state_dict()['state'] for name, w in runner.optim_wrapper.items()},
        {name: history._log_history for name, history in hub.log_scalars.items()},
        {name: value for name, value in hub.runtime_info.items() if 'ann_file' in name},
        DrawsBefore.drawn,
    )


def assert_equal(a, b):
    if isinstance(a, dict):
        assert a.keys() == b.keys()
        for key in a:
            assert_equal(a[key], b[key])
    elif isinstance(a, (list, tuple)):
        assert len(a) == len(b)
        for pair in zip(a, b):
            assert_equal(*pair)
    else:
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b))


@pytest.mark.slow
@pytest.mark.parametrize('method', ['RegDA', 'MeanTeacherRegDA', 'MCD'])
def test_run_after_a_rehearsal_is_the_run_without_to_the_bit(
    method, things, tmp_path, monkeypatch
):
    cfg = config(things, tmp_path)
    cfg.model.adaptation = dict(type=method)
    cfg.custom_hooks = [dict(type='DrawsBefore')]
    insert('source', 1, dict(type='OwnNoise'))(cfg)
    cfg.val_evaluator.source = [
        dict(type='PCKAccuracy', thr=0.2),
        dict(type='CocoMetric', use_area=False, prefix='coco'),
    ]
    put('val_dataloader.source.dataset.metainfo.dataset_name', 'labelled')(cfg)
    rehearsed = left_by(run(cfg))
    calls = []
    monkeypatch.setattr(
        rehearsal_hook, 'rehearse_run', lambda *args: calls.append(args)
    )
    without = left_by(run(cfg))
    assert calls
    assert any('coco' in name for name in rehearsed[2])
    # How long it took is none of this.
    for left in (rehearsed, without):
        for name in [n for n in left[2] if 'time' in n]:
            del left[2][name]
    assert_equal(rehearsed, without)


@pytest.mark.parametrize(
    'name',
    [
        'swapped heatmap_size',
        'target in another order',
    ],
)
def test_mmposes_own_tool_stops_before_the_first_iteration(name, things, tmp_path):
    change, expected = MISTAKES[name]
    cfg = mistaken(things, tmp_path, change)
    runner = Runner.from_cfg(cfg)
    runner.register_hook(Untouched())
    with pytest.raises(InputError) as raised:
        runner.train()
    for part in expected:
        assert part in str(raised.value)


class Untouched(Hook):
    def before_train_iter(self, runner, batch_idx, data_batch=None):
        raise AssertionError('it trains')


def ordinary(cfg):
    """The same network and source without adaptation, and one validation set."""
    cfg.model.type = 'TopdownPoseEstimator'
    cfg.model.pop('adaptation')
    cfg.train_dataloader = cfg.train_dataloader.source
    cfg.val_dataloader = cfg.val_dataloader.source
    cfg.val_evaluator = cfg.val_evaluator.source
    cfg.val_cfg = dict()
    cfg.train_cfg.type = 'SeededTrainLoop'
    cfg.optim_wrapper = dict(optimizer=dict(type='Adam', lr=1e-3))
    cfg.default_hooks.checkpoint.save_best = 'PCK'
    return cfg


def test_ordinary_model_is_rehearsed_too(things, tmp_path):
    cfg = ordinary(config(things, tmp_path))
    assert run(cfg).iter == 3
    cfg.val_evaluator = dict(type='PCKAccuracy', norm_item='head')
    cfg.default_hooks.checkpoint.save_best = None
    runner = Runner.from_cfg(cfg)
    runner.register_hook(Untouched())
    with pytest.raises(InputError, match='PCKAccuracy of val_evaluator cannot be'):
        runner.train()


@pytest.mark.parametrize(
    ('path', 'value', 'message'),
    [
        ('val_dataloader.dataset.ann_file', 'nowhere.json', 'nowhere.json" does not'),
        ('val_dataloader.dataset.annfile', 'train.json', 'val_dataloader .*annfile'),
        ('val_dataloader.dataset.type', 'Unknown', 'val_dataloader .*Unknown'),
        (
            'val_evaluator',
            [dict(type='CocoMetric', ann_file='nowhere.json')],
            'val_evaluator.*nowhere.json',
        ),
    ],
)
def test_ordinary_validation_set_that_cannot_be_read_is_named(
    path, value, message, things, tmp_path
):
    cfg = ordinary(config(things, tmp_path))
    put(path, value)(cfg)
    with pytest.raises(InputError, match=message):
        run(cfg)


def test_validation_alone_is_rehearsed(things, tmp_path):
    cfg = config(things, tmp_path)
    cfg.val_evaluator.target = dict(type='EPE')
    runner = Runner.from_cfg(cfg)
    with pytest.raises(InputError, match='EPE of val_evaluator.target needs labels'):
        runner.val()


def test_weights_that_are_not_finite_are_named_with_where_they_come_from(
    things, tmp_path
):
    cfg = config(things, tmp_path)
    weights = MODELS.build(cfg.model).state_dict()
    weights['backbone.layer2.0.conv1.weight'][0, 0] = float('nan')
    torch.save(dict(state_dict=weights), tmp_path / 'spoiled.pth')
    cfg.load_from = str(tmp_path / 'spoiled.pth')
    with pytest.raises(
        InputError, match=r'"backbone.layer2.0.conv1.weight".*load_from'
    ):
        run(cfg)


def test_weights_that_are_not_there_are_named(things, tmp_path):
    cfg = config(things, tmp_path)
    nowhere = str(tmp_path / 'nowhere.pth')
    cfg.model.backbone.init_cfg = dict(type='Pretrained', checkpoint=nowhere)
    with pytest.raises(InputError, match=f'"{nowhere}" of an init_cfg cannot be used'):
        stages.train(cfg)


@pytest.mark.parametrize('start', ['load_from', 'pretrain', 'resume'])
def test_checkpoint_of_keypoints_in_another_order_is_refused(start, things, tmp_path):
    cfg = config(things, tmp_path / 'first')
    runner = run(cfg)
    path = str(tmp_path / 'first' / 'iter_3.pth')
    assert runner.iter == 3
    other = config(things, tmp_path / 'second')
    other.train_dataloader.source.dataset.metainfo = SWAPPED
    put('train_dataloader.target.dataset.metainfo', SWAPPED)(other)
    for domain in ('source', 'target'):
        put(f'val_dataloader.{domain}.dataset.metainfo', SWAPPED)(other)
    other.train_cfg.max_iters = 4
    if start == 'pretrain':
        other.pretrain = dict(checkpoint=path)
    else:
        other.update(load_from=path, resume=start == 'resume')
    with pytest.raises(InputError, match=f'"{path}" are k0, k1.*are k1, k0.*prefix'):
        stages.train(other)
    if start == 'pretrain':  # A head that starts anew has no order.
        other.pretrain.parts = ('backbone',)
        stages.train(other)


@pytest.mark.parametrize('pretrain', ['a.pth', dict(chekpoint='a.pth')])
def test_what_a_pretraining_does_not_know_is_refused(pretrain, things, tmp_path):
    cfg = config(things, tmp_path)
    cfg.pretrain = pretrain
    with pytest.raises(InputError, match='pretrain is .*some of config, checkpoint'):
        stages.train(cfg)


def test_mistake_in_the_adaptation_is_found_before_its_pretraining(things, tmp_path):
    stage = ordinary(config(things, tmp_path))
    stage.dump(str(tmp_path / 'pretraining.py'))
    cfg = mistaken(things, tmp_path, MISTAKES['source cropped to another size'][0])
    cfg.pretrain = dict(config='pretraining.py', work_dir=str(tmp_path / 'pretraining'))
    cfg.dump(str(tmp_path / 'adaptation.py'))
    cfg = Config.fromfile(tmp_path / 'adaptation.py')
    with pytest.raises(InputError, match='TopdownAffine'):
        stages.train(cfg)
    assert not (tmp_path / 'pretraining').exists()


def test_bug_keeps_its_traceback(things, tmp_path):
    cfg = config(things, tmp_path)
    MISTAKES['a metric that fails'][0](cfg)
    with pytest.raises(InputError) as raised:
        rehearse(cfg)
    assert isinstance(raised.value.__cause__, ZeroDivisionError)
    line = raised.value.__cause__.__traceback__
    while line.tb_next is not None:
        line = line.tb_next
    assert f'{__file__}:{line.tb_lineno}' in str(raised.value)


@pytest.mark.parametrize('batch_size', [1, pytest.param(4, marks=SLOW)])
@pytest.mark.parametrize('method', ADAPTATIONS)
def test_every_method_passes(method, batch_size, things, tmp_path):
    cfg = config(things, tmp_path)
    cfg.model.adaptation = dict(type=method)
    kind, loaders = MODELS.get(method), cfg.train_dataloader
    loaders.labeled_target = copy.deepcopy(loaders.source)
    if kind.views:
        target = loaders.target.dataset
        target.views = {view: copy.deepcopy(target.pipeline) for view in kind.views}
        target.pipeline = []
    cfg.train_dataloader = {domain: loaders[domain] for domain in kind.domains}
    for loader in cfg.train_dataloader.values():
        loader.batch_size = batch_size
    rehearse(cfg)


def test_a_swap_that_mmpose_left_out_is_said(capsys):
    """As in its deepfashion2: vest_kpt9 is swapped with vest_kpt13, and that with
    nothing."""
    metainfo = parse_pose_metainfo(metainfo_named('deepfashion2'))
    dataset = SimpleNamespace(metainfo=metainfo, pipeline=[])
    reader = Reader('val_dataloader', SimpleNamespace(dataset=dataset))
    require_flips([reader], flip_test=True)
    found = ''.join(capsys.readouterr())
    assert found.count('WARNING') == 1 and 'Set its swap="vest_kpt9"' in found


@pytest.mark.parametrize(
    ('keys', 'message'),
    [
        (('source', 'extra'), r'train_dataloader.target is not among .*extra'),
        (('source', 'target', 'extra'), r'train_dataloader.extra is for no domain'),
    ],
)
def test_a_key_that_is_no_domain_is_named(keys, message):
    adaptation = SimpleNamespace(domains=('source', 'target'))
    configs = dict.fromkeys(keys, dict(batch_size=1))
    with pytest.raises(InputError, match=message):
        drawn_dataloaders(SimpleNamespace(adaptation=adaptation), configs)
    configs = dict(source={}, target=None, extra={})
    with pytest.raises(InputError, match=r'train_dataloader.target is None'):
        drawn_dataloaders(SimpleNamespace(adaptation=adaptation), configs)
