"""No label of the target reaches a sample, whatever the dataset is."""

import json
import pickle
import random
import shutil

import cv2
import numpy as np
import pytest
import torch
from mmengine.dataset import pseudo_collate
from mmengine.runner import Runner
from mmpose.registry import DATASETS

from mmregda import InputError
from mmregda.datasets import HAND21, UnlabeledDataset

LABEL_FREE = {
    'id',
    'img_id',
    'img_path',
    'bbox',
    'bbox_score',
    'hand_type',
    'dataset_name',
    'upper_body_ids',
    'lower_body_ids',
    'flip_pairs',
    'flip_indices',
    'skeleton_links',
}
AUGMENT = [
    dict(type='GetBBoxCenterScale', padding=1.0),
    dict(type='RandomRotatedSubCrop', rotation=180, area=(0.6, 1.0)),
    dict(type='TopdownAffine', input_size=(64, 64)),
    dict(type='ColorJitter', strength=0.25),
    dict(type='RandomGaussianBlur', max_radius=0.8),
    dict(type='PackPoseInputs'),
]
LOAD = dict(
    rhd=[dict(type='LoadWholeImage'), dict(type='MirrorRightHand')],
    h3d=[dict(type='LoadWholeImage'), dict(type='WholeImageBox')],
    coco=[dict(type='LoadWholeImage')],
)


def config(kind, root):
    if kind == 'rhd':
        return dict(type='RHDDataset', data_root=str(root), split='train')
    if kind == 'h3d':
        return dict(type='H3DDataset', data_root=str(root), split='train')
    return dict(
        type='CocoDataset',
        metainfo=HAND21,
        data_root=str(root),
        ann_file='coco.json',
        data_prefix=dict(img='H3D_crop/'),
    )


def unlabeled(kind, root):
    return UnlabeledDataset(config(kind, root), [*LOAD[kind], *AUGMENT])


def packed(dataset):
    random.seed(0)
    np.random.seed(0)
    return [dataset[i] for i in range(len(dataset))]


def write_coco(root):
    """An annotation in COCO's format of H3D's images, with every kind of label."""
    entries = json.loads((root / 'H3D_crop' / 'annotation.json').read_text())
    images, annotations = [], []
    for i, entry in enumerate(entries):
        img = cv2.imread(str(root / 'H3D_crop' / entry['name']))
        height, width = img.shape[:2]
        keypoints = np.concatenate([entry['keypoint2d'], np.full((21, 1), 2)], axis=1)
        images.append(dict(id=i, file_name=entry['name'], width=width, height=height))
        annotations.append(
            dict(
                id=100 + i,
                image_id=i,
                category_id=1,
                bbox=[5, 6, width - 20, height - 20],
                keypoints=keypoints.ravel().tolist(),
                num_keypoints=21,
                area=float(np.ptp(keypoints[:, 0])),
                segmentation=[keypoints[:, :2].ravel().tolist()],
                iscrowd=0,
            )
        )
    content = dict(
        images=images,
        annotations=annotations,
        categories=[dict(id=1, name='hand')],
    )
    (root / 'coco.json').write_text(json.dumps(content))


def shuffle_labels(root, change):
    """Rewrites every annotation; ``change`` maps keypoints (K, D) to others."""
    path = root / 'RHD_published_v2' / 'training' / 'anno_training.pickle'
    with open(path, 'rb') as file:
        rhd = pickle.load(file)
    for image in rhd.values():
        for half in (slice(21), slice(21, 42)):
            image['uv_vis'][half] = change(image['uv_vis'][half])
            image['xyz'][half] = change(image['xyz'][half])
    path.write_bytes(pickle.dumps(rhd))
    path = root / 'H3D_crop' / 'annotation.json'
    h3d = json.loads(path.read_text())
    for entry in h3d:
        for key in ('keypoint2d', 'keypoint3d'):
            entry[key] = change(np.array(entry[key])).tolist()
    path.write_text(json.dumps(h3d))
    path = root / 'coco.json'
    coco = json.loads(path.read_text())
    for entry in coco['annotations']:
        keypoints = np.array(entry['keypoints']).reshape(21, 3)
        keypoints[:, :2] = change(keypoints[:, :2])
        entry['keypoints'] = keypoints.ravel().tolist()
        entry['segmentation'] = [keypoints[:, :2].ravel().tolist()]
        entry['area'] = entry['area'] / 2
        entry['num_keypoints'] = 7
    path.write_text(json.dumps(coco))


@pytest.fixture(scope='module')
def root(hand_pair, tmp_path_factory):
    root = tmp_path_factory.mktemp('labels') / 'original'
    shutil.copytree(hand_pair, root)
    write_coco(root)
    return root


@pytest.fixture
def changed(root, tmp_path):
    """Changes the labels in place: the paths of the images are metainfo too."""
    shutil.copytree(root, tmp_path / 'backup')
    yield lambda change: shuffle_labels(root, change)
    shutil.rmtree(root)
    shutil.copytree(tmp_path / 'backup', root)


def assert_same_to_the_bit(one, other):
    assert type(one) is type(other)
    if isinstance(one, dict):
        assert list(one) == list(other)
        for key in one:
            assert_same_to_the_bit(one[key], other[key])
    elif isinstance(one, (list, tuple)):
        assert len(one) == len(other)
        for a, b in zip(one, other):
            assert_same_to_the_bit(a, b)
    elif isinstance(one, torch.Tensor):
        assert_same_to_the_bit(one.numpy(), other.numpy())
    elif isinstance(one, np.ndarray):
        assert one.dtype == other.dtype and one.shape == other.shape
        assert one.tobytes() == other.tobytes()
    else:
        assert one == other


def content(sample):
    """Everything that a packed sample holds."""
    data_sample = sample['data_samples']
    return dict(
        inputs=sample['inputs'],
        metainfo=data_sample.metainfo,
        data=data_sample.to_dict(),
    )


KINDS = ['rhd', 'h3d', 'coco']


@pytest.mark.parametrize('kind', KINDS)
def test_shuffled_labels_change_no_bit_of_a_sample(root, changed, kind):
    labels = DATASETS.build(config(kind, root)).get_data_info(0)['keypoints']
    before = packed(unlabeled(kind, root))
    order = np.random.default_rng(0).permutation(21)
    # Within a hand: RHD's boxes stay, which come from the extent of the labels.
    changed(lambda keypoints: keypoints[order])
    after = packed(unlabeled(kind, root))
    assert len(before) == len(after) > 3
    for one, other in zip(before, after):
        assert_same_to_the_bit(content(one), content(other))
    now = DATASETS.build(config(kind, root)).get_data_info(0)['keypoints']
    assert (now != labels).any()


@pytest.mark.parametrize('kind', ['h3d', 'coco'])
@pytest.mark.parametrize(
    'change',
    [
        lambda keypoints: np.random.default_rng(1).uniform(1, 90, keypoints.shape),
        lambda keypoints: np.full_like(keypoints, 7),
        lambda keypoints: 1000 - keypoints,
    ],
    ids=['random', 'constant', 'far'],
)
def test_any_other_labels_change_no_bit_of_a_sample(root, changed, kind, change):
    before = packed(unlabeled(kind, root))
    changed(change)
    after = packed(unlabeled(kind, root))
    assert len(before) == len(after) > 3
    for one, other in zip(before, after):
        assert_same_to_the_bit(content(one), content(other))


def test_only_the_box_follows_labels_where_it_is_made_of_them(root, changed):
    def raw(dataset):
        return [dataset.get_data_info(i) for i in range(len(dataset))]

    def squeezed(keypoints):
        moved = keypoints.copy()
        if keypoints[:, :2].max() > 1:  # Of pixels, not of metres.
            center = keypoints[:, :2].mean(axis=0)
            moved[:, :2] = center + 0.97 * (keypoints[:, :2] - center)
        return moved

    before = raw(unlabeled('rhd', root))
    changed(squeezed)
    after = raw(unlabeled('rhd', root))
    assert len(before) == len(after) > 3
    for one, other in zip(before, after):
        assert (one.pop('bbox') != other.pop('bbox')).any()
        assert_same_to_the_bit(one, other)


@pytest.mark.parametrize('kind', KINDS)
def test_what_enters_the_pipeline_is_free_of_labels(root, kind):
    dataset = unlabeled(kind, root)
    labeled = dataset.dataset.get_data_info(0)
    assert {'keypoints', 'keypoints_visible'} <= set(labeled)
    assert ('raw_ann_info' in labeled) == (kind == 'coco')
    for i in range(len(dataset)):
        assert set(dataset.get_data_info(i)) <= LABEL_FREE


@pytest.mark.parametrize('kind', KINDS)
def test_what_leaves_the_pipeline_is_free_of_labels(root, kind):
    for sample in packed(unlabeled(kind, root)):
        assert sample['inputs'].shape == (3, 64, 64)
        data_sample = sample['data_samples']
        assert set(data_sample.keys()) <= {'gt_instances', 'gt_instance_labels'}
        assert set(data_sample.gt_instance_labels.keys()) == set()
        instances = data_sample.gt_instances
        # MMPose's warp makes up the visibility of what has no keypoints.
        assert set(instances.keys()) == {
            'bboxes',
            'bbox_scores',
            'bbox_scales',
            'keypoints_visible',
        }
        np.testing.assert_array_equal(instances.keypoints_visible, np.ones((1, 1, 1)))
        assert not {'raw_ann_info', 'category_id'} & set(data_sample.metainfo)


def test_a_transform_of_ones_own_finds_no_labels(root):
    pipeline = [*LOAD['h3d'], lambda results: results['keypoints']]
    with pytest.raises(KeyError, match='keypoints'):
        UnlabeledDataset(config('h3d', root), pipeline)[0]


def test_wraps_a_dataset_or_its_config(root):
    built = DATASETS.build(config('h3d', root))
    dataset = UnlabeledDataset(built, [])
    assert dataset.dataset is built
    assert len(dataset) == len(built)
    assert dataset.metainfo['dataset_name'] == 'h3d'
    assert_same_to_the_bit(dataset.metainfo, built.metainfo)
    expected = built.get_data_info(0)
    assert_same_to_the_bit(
        dataset.get_data_info(0), {k: v for k, v in expected.items() if k in LABEL_FREE}
    )


def test_a_lazy_dataset_is_read_when_the_loader_asks(root):
    lazy = dict(config('h3d', root), lazy_init=True)
    dataset = UnlabeledDataset(lazy, [*LOAD['h3d'], *AUGMENT])
    dataset.full_init()
    assert len(dataset) == len(unlabeled('h3d', root))


def test_mmengines_loader_gives_ordinary_batches(root):
    loader = Runner.build_dataloader(
        dict(
            batch_size=4,
            num_workers=0,
            sampler=dict(type='DefaultSampler', shuffle=False),
            collate_fn=dict(type='pseudo_collate'),
            dataset=dict(
                type='UnlabeledDataset',
                dataset=config('h3d', root),
                pipeline=[*LOAD['h3d'], *AUGMENT],
            ),
        ),
        seed=0,
    )
    batch = next(iter(loader))
    assert set(batch) == {'inputs', 'data_samples'}
    assert len(batch['inputs']) == 4
    assert set(batch) == set(pseudo_collate(packed(unlabeled('h3d', root))))


LABELED = [
    dict(type='LoadImage'),
    dict(type='GetBBoxCenterScale'),
    dict(type='RandomFlip'),
    dict(type='RandomBBoxTransform'),
    dict(type='TopdownAffine', input_size=(48, 64)),
    dict(
        type='GenerateTarget',
        encoder=dict(
            type='MSRAHeatmap', input_size=(48, 64), heatmap_size=(12, 16), sigma=2
        ),
    ),
    dict(type='PackPoseInputs'),
]


def test_the_sources_pipeline_shows_the_same_images_without_labels(root):
    write_coco(root)
    # Of a hand no keypoint is another's mirror image, so that any may be flipped.
    coco = config('coco', root)
    unlabeled = packed(UnlabeledDataset(coco, LABELED))
    labeled = packed(DATASETS.build(dict(coco, pipeline=LABELED)))
    assert len({sample['data_samples'].flip for sample in unlabeled}) == 2
    for one, other in zip(unlabeled, labeled):
        assert torch.equal(one['inputs'], other['inputs'])
        assert 'heatmaps' in other['data_samples'].gt_fields
        assert 'gt_fields' not in one['data_samples']
        assert 'keypoints' not in one['data_samples'].gt_instances


def test_what_needs_keypoints_is_left_out_wherever_it_is_and_named(root, monkeypatch):
    said = []
    monkeypatch.setattr(
        'mmregda.datasets.pipelines.print_log', lambda text, **_: said.append(text)
    )
    half = dict(type='mmpose.RandomHalfBody', prob=1.0)
    choice = dict(type='RandomChoice', transforms=[[half], [LABELED[2], half]])
    pipeline = [*LABELED[:2], dict(type='RandomApply', transforms=[half]), choice]
    views = dict(teacher=[half, *LABELED[3:]], student=LABELED[4:])
    sample = UnlabeledDataset(
        config('h3d', root),
        [LABELED[0]] + [dict(type='WholeImageBox'), *pipeline[1:]],
        views,
    )[0]
    assert set(sample) == {'teacher', 'student'}
    assert sample['teacher']['inputs'].shape == (3, 64, 48)
    assert said == [
        'UnlabeledDataset of H3DDataset: left out of the pipeline, as there are no '
        'labels: RandomHalfBody, GenerateTarget'
    ]


@pytest.mark.parametrize('name', ['RandomHalfBody', 'KeypointConverter'])
def test_an_unlabelled_pipeline_that_needs_keypoints_is_refused(root, name):
    pipeline = [*LABELED[:2], dict(type=name), LABELED[4], LABELED[6]]
    with pytest.raises(InputError, match=f'{name} in the pipeline .* Leave it out'):
        UnlabeledDataset(config('h3d', root), pipeline)
