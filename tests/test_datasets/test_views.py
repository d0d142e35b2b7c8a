"""Samples know where in their image they lie; views of one image are samples."""

import random
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from layouts import write_image
from mmcv.transforms import BaseTransform
from mmengine.dataset import pseudo_collate
from mmpose.registry import TRANSFORMS
from mmpose.structures import PoseDataSample
from torch.utils.data import DataLoader

from mmregda import InputError
from mmregda.datasets import UnlabeledDataset, UnlabeledImages, unlabeled_images
from mmregda.datasets.collate import PackingCollate
from mmregda.datasets.views import ViewPipeline, views_of

WIDTH, HEIGHT = 96, 128
BOX = dict(type='GetBBoxCenterScale', padding=1.25)
WARP = dict(type='TopdownAffine', input_size=(WIDTH, HEIGHT))
UDP = dict(WARP, use_udp=True)
TURN = dict(type='RandomBBoxTransform', rotate_factor=90, rotate_prob=1.0)
FLIP = dict(type='RandomFlip', prob=1.0)
PACK = dict(type='PackPoseInputs')
JITTER = dict(type='ColorJitter')


@TRANSFORMS.register_module()
class ShearInput(BaseTransform):
    """A transform of one's own that moves pixels, and says where."""

    def __init__(self, shear):
        self.own = np.array([[1, shear, -3.5], [0.2 * shear, 1, 2.25], [0, 0, 1]])

    def transform(self, results):
        size = results['img'].shape[1::-1]
        results['img'] = cv2.warpAffine(results['img'], self.own[:2], size)
        results['image_to_view'] = self.own @ results['image_to_view']
        return results


@TRANSFORMS.register_module()
class PaintImage(BaseTransform):
    """Writes into the image that it is given, as some of MMPose's do."""

    def transform(self, results):
        results['img'][:] = 77
        return results


@TRANSFORMS.register_module()
class HalveImage(BaseTransform):
    def transform(self, results):
        results['img'] = results['img'][::2, ::2].copy()
        return results


def photograph(height=150, width=210):
    """Smooth, so that interpolating twice is as good as once."""
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (12, 16, 3)).astype(np.uint8)
    return cv2.GaussianBlur(cv2.resize(noise, (width, height)), (0, 0), 6)


def info(**changes):
    box = np.array([[40, 20, 150, 130]], dtype=np.float32)
    return dict(
        img=photograph(),
        img_shape=(150, 210),
        img_path='photograph.jpg',
        bbox=box,
        bbox_score=np.ones(1, np.float32),
        hand_type='right',
        flip_indices=[0, 2, 1],
        **changes,
    )


SUB_CROP = dict(type='RandomRotatedSubCrop', rotation=180, area=(0.6, 1.0))
FLIPS = {way: dict(FLIP, direction=way) for way in ('vertical', 'diagonal')}
PIPELINES = {
    'warp': [BOX, WARP],
    'udp': [BOX, UDP],
    'turned': [BOX, TURN, WARP],
    'turned, udp': [BOX, TURN, UDP],
    'sub-crop': [BOX, SUB_CROP, WARP, JITTER],
    'mirrored hand': [dict(type='MirrorRightHand'), BOX, SUB_CROP, WARP],
    'flip': [FLIP, BOX, TURN, WARP],
    'flip, udp': [BOX, FLIP, TURN, UDP],
    'flip of the input': [BOX, TURN, WARP, FLIP],
    'vertical': [BOX, FLIPS['vertical'], TURN, WARP],
    'diagonal': [BOX, TURN, WARP, FLIPS['diagonal']],
    'twice': [dict(type='MirrorRightHand'), BOX, FLIP, TURN, WARP],
    'never': [dict(type='RandomFlip', prob=0.0), BOX, WARP],
    'shear': [BOX, TURN, WARP, dict(type='ShearInput', shear=0.5), FLIP],
    'within': [
        dict(type='RandomApply', transforms=[FLIP], prob=0.5),
        BOX,
        dict(type='RandomChoice', transforms=[[TURN, WARP], [FLIPS['vertical'], UDP]]),
    ],
}


def assert_is_seen(sample, image):
    """A view shows what its map takes there of the image."""
    view = sample['inputs'].permute(1, 2, 0).numpy()
    matrix = sample['data_samples'].image_to_view
    expected = cv2.warpAffine(image, matrix[:2], view.shape[1::-1])
    ones = np.full(image.shape[:2], 255, np.uint8)
    # At a border, two interpolations are not one; what is black had left the input.
    whole = cv2.warpAffine(ones, matrix[:2], view.shape[1::-1]) == 255
    whole = (whole & view.any(-1)).astype(np.uint8)
    whole = cv2.erode(whole, np.ones((5, 5))) > 0
    assert whole.mean() > 0.3
    difference = np.abs(view.astype(int) - expected)[whole]
    assert difference.max() <= 4 and difference.mean() < 0.5
    # Half a pixel off, it would be seen.
    for off in ((0.5, 0), (0, -0.5)):
        other = cv2.warpAffine(
            image, matrix[:2] + [[0, 0, off[0]], [0, 0, off[1]]], view.shape[1::-1]
        )
        assert np.abs(view.astype(int) - other)[whole].mean() > 2 * difference.mean()


@pytest.mark.parametrize('seed', range(3))
@pytest.mark.parametrize('name', PIPELINES)
def test_sample_knows_where_in_the_image_it_lies(name, seed):
    random.seed(seed)
    np.random.seed(seed)
    transforms = [t for t in PIPELINES[name] if t is not JITTER]
    sample = ViewPipeline([*transforms, PACK])(info())
    assert sample['data_samples'].image_to_view.shape == (3, 3)
    assert_is_seen(sample, photograph())
    mirrored = np.linalg.det(sample['data_samples'].image_to_view) < 0
    assert name == 'within' or mirrored == (
        name in ('mirrored hand', 'flip', 'flip, udp', 'flip of the input', 'vertical')
        or name == 'shear'
    )


def test_mirrored_hands_are_told_from_others():
    maps = []
    for side in ('left', 'right'):
        pipeline = ViewPipeline([dict(type='MirrorRightHand'), BOX, WARP, PACK])
        sample = pipeline(dict(info(), hand_type=side))
        maps.append(sample['data_samples'].image_to_view)
    assert np.linalg.det(maps[0]) > 0 > np.linalg.det(maps[1])


def test_labels_go_where_the_map_takes_them():
    keypoints = np.array([[[50.0, 40], [100, 80], [120, 60]]], dtype=np.float32)
    labeled = info(keypoints=keypoints, keypoints_visible=np.ones((1, 3)))
    pipeline = ViewPipeline([FLIP, BOX, TURN, UDP, dict(PACK, pack_transformed=True)])
    sample = pipeline(labeled)['data_samples']
    expected = cv2.transform(keypoints, sample.image_to_view[:2])[0, [0, 2, 1]]
    found = sample.gt_instances.transformed_keypoints[0]
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_transform_that_resizes_and_does_not_say_so_is_refused():
    with pytest.raises(InputError, match=r'HalveImage.*\(210, 150\) to \(105, 75\)'):
        ViewPipeline([dict(type='HalveImage'), BOX, WARP, PACK])(info())


def test_what_a_warp_needs_is_packed_whatever_else_is():
    views = dict(teacher=[WARP, dict(PACK, meta_keys=('img_path',))])
    (view,) = ViewPipeline([BOX], views)(info()).values()
    assert set(view['data_samples'].metainfo_keys()) == {
        *('img_path', 'image_to_view', 'input_size', 'flip_indices')
    }


@TRANSFORMS.register_module()
class Anew(BaseTransform):
    """Makes new results, of what it knows."""

    def transform(self, results):
        return {key: results[key] for key in results if key != 'image_to_view'}


def test_transform_that_makes_new_results_loses_nothing():
    anew = dict(type='Anew')
    views = dict(teacher=[anew, FLIP, WARP, anew, PACK])
    (view,) = ViewPipeline([anew, BOX], views)(info()).values()
    expected = ViewPipeline([BOX], dict(teacher=[FLIP, WARP, PACK]))(info())
    found, other = (s['data_samples'] for s in (view, expected['teacher']))
    np.testing.assert_array_equal(found.image_to_view, other.image_to_view)


@pytest.mark.parametrize(
    'views', [{}, [WARP], dict(teacher=[]), dict(teacher=WARP), {'': [WARP]}]
)
def test_views_that_are_none_are_refused(views):
    with pytest.raises(InputError, match='views is .* dict.teacher='):
        ViewPipeline([BOX], views)


VIEWS = dict(
    teacher=[WARP, PACK],
    student=[SUB_CROP, FLIP, UDP, dict(type='PaintImage'), PACK],
)


def test_each_view_is_an_ordinary_sample_of_the_image():
    views = dict(VIEWS, student=[SUB_CROP, UDP, FLIP, PACK])
    sample = ViewPipeline([dict(type='MirrorRightHand'), BOX], views)(info())
    assert list(sample) == ['teacher', 'student']
    for view in sample.values():
        assert list(view) == ['inputs', 'data_samples']
        assert isinstance(view['data_samples'], PoseDataSample)
        assert_is_seen(view, photograph())


def test_one_view_leaves_the_others_alone():
    alone = ViewPipeline([BOX], dict(teacher=VIEWS['teacher']))(info())['teacher']
    for order in (('teacher', 'student'), ('student', 'teacher')):
        sample = ViewPipeline([BOX], {name: VIEWS[name] for name in order})(info())
        assert torch.equal(sample['teacher']['inputs'], alone['inputs'])
        assert (sample['student']['inputs'] == 77).all()
        boxes = sample['teacher']['data_samples'].gt_instances.bboxes
        np.testing.assert_array_equal(boxes, info()['bbox'])


def test_an_ordinary_sample_is_its_only_view():
    ordinary = dict(inputs=0, data_samples=1)
    assert views_of(ordinary) == {'': ordinary}
    assert views_of(dict(a=ordinary, b=ordinary)) == dict(a=ordinary, b=ordinary)


@pytest.fixture
def folder(tmp_path):
    for i in range(6):
        write_image(tmp_path / f'{i}.jpg', 60 + i, 50, seed=i)
    return tmp_path


READ = [dict(type='LoadWholeImage'), dict(type='WholeImageBox'), BOX]
TWICE = {name: [TURN, JITTER, WARP, PACK] for name in ('teacher', 'student')}


def dataset_of(kind: str, folder: Path):
    if kind == 'UnlabeledImages':
        return UnlabeledImages(folder, pipeline=READ, views=TWICE)
    inner = dict(type='UnlabeledImages', root=str(folder))
    return UnlabeledDataset(inner, READ, views=TWICE)


@pytest.mark.parametrize('kind', ['UnlabeledDataset', 'UnlabeledImages'])
def test_image_is_decoded_once_for_all_views(folder, monkeypatch, kind):
    from mmregda.datasets import transforms

    read = []

    def counted(path, **kwargs):
        read.append(Path(path).name)
        return original(path, **kwargs)

    original = unlabeled_images.read_image
    for module in (unlabeled_images, transforms):
        monkeypatch.setattr(module, 'read_image', counted)
    dataset = dataset_of(kind, folder)
    for i in range(6):
        sample = dataset[i]
        teacher, student = sample['teacher'], sample['student']
        assert not torch.equal(teacher['inputs'], student['inputs'])
        assert Path(teacher['data_samples'].img_path).name == f'{i}.jpg'
        assert Path(student['data_samples'].img_path).name == f'{i}.jpg'
    assert read == [f'{i}.jpg' for i in range(6)]


@pytest.mark.parametrize('num_workers', [0, 2])
def test_batches_of_views_arrive_as_they_were_collated(folder, num_workers):
    dataset = UnlabeledImages(
        folder,
        pipeline=READ,
        views=dict(teacher=[WARP, PACK], student=[FLIP, UDP, PACK]),
    )
    loader = DataLoader(
        dataset,
        batch_size=3,
        num_workers=num_workers,
        collate_fn=PackingCollate(pseudo_collate) if num_workers else pseudo_collate,
    )
    for begin, batch in zip((0, 3), loader):
        assert list(batch) == ['teacher', 'student']
        for name, view in batch.items():
            expected = [dataset[begin + i][name] for i in range(3)]
            for image, one in zip(view['inputs'], expected):
                assert torch.equal(image, one['inputs'])
            for sample, one in zip(view['data_samples'], expected):
                assert sample.id == one['data_samples'].id
                np.testing.assert_array_equal(
                    sample.image_to_view, one['data_samples'].image_to_view
                )


def test_damaged_image_is_replaced_in_all_views(folder):
    whole = (folder / '3.jpg').read_bytes()
    # Its two ends are there.
    (folder / '3.jpg').write_bytes(whole[:200] + whole[-2:])
    dataset = UnlabeledImages(
        folder, pipeline=READ, views=TWICE, skip_corrupt=True, max_refetch=20
    )
    sample = dataset[3]
    names = {view['data_samples'].img_path for view in sample.values()}
    assert len(names) == 1 and Path(names.pop()).name != '3.jpg'
