"""Evidence without labels, against predictors whose answers are known."""

import random

import cv2
import numpy as np
import pytest
import torch
from mmengine.registry import init_default_scope
from mmpose.registry import DATASETS
from mmpose.structures import PoseDataSample
from mmpose.structures.bbox import get_warp_matrix

from mmregda import InputError
from mmregda.datasets import UnlabeledDataset
from mmregda.evaluation.validators import label_free_evidence

SIDE = 64
#: In pixels of the whole image.
POINTS = np.array([[100.0, 90.0], [110.0, 120.0], [95.0, 105.0], [120.0, 100.0]])


class RandomViews:
    """Images that all hold the same points, seen in random rotated crops."""

    def __init__(self, length=12, turn=180, shift=4.0):
        self.length, self.turn, self.shift = length, turn, shift
        self.accesses = []

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        self.accesses.append(index)
        center = np.array([105.0, 104.0]) + np.random.uniform(-1, 1, 2) * self.shift
        angle = random.uniform(-self.turn, self.turn)
        return view(center, random.uniform(80, 100), angle)


def view(center, side, angle):
    matrix = get_warp_matrix(
        np.array(center), np.full(2, float(side)), angle, (SIDE, SIDE)
    )
    meta = dict(input_size=(SIDE, SIDE), image_to_view=np.vstack([matrix, [0, 0, 1]]))
    return dict(inputs=None, data_samples=PoseDataSample(metainfo=meta))


def where(sample, points):
    """The points in a view, as OpenCV warps them: pixels of the input."""
    matrix = sample['data_samples'].image_to_view[:2]
    return torch.as_tensor(cv2.transform(points[None], matrix)[0])


def equivariant(samples):
    points = torch.stack([where(sample, POINTS) for sample in samples])
    return points.float(), torch.full(points.shape[:2], 0.25)


def test_predictor_that_follows_every_view_is_consistent():
    found = label_free_evidence(equivariant, RandomViews())
    assert found == dict(consistency=1, confidence=0.25)


def test_half_of_the_keypoints_lost_is_half_the_consistency():
    def half(samples):
        points, confidence = equivariant(samples)
        # Far apart in any two views, and inside both.
        points[:, :2] = torch.as_tensor(
            np.random.uniform(12, 52, size=(len(samples), 2, 2))
        )
        return points, confidence

    found = label_free_evidence(half, RandomViews(length=200))
    # By chance two points meet within 0.05 sides: about a percent of a view.
    assert 0.5 <= found['consistency'] < 0.53


def test_same_prediction_for_every_image_is_not_consistent():
    def constant(samples):
        points = torch.tensor([20.0, 30.0]).expand(len(samples), 4, 2)
        return points, torch.ones(points.shape[:2])

    turned = label_free_evidence(constant, RandomViews())['consistency']
    still = RandomViews(turn=0, shift=0.0)
    assert turned < 0.3
    # Views that hardly differ cannot tell.
    assert label_free_evidence(constant, still)['consistency'] > 0.6


@pytest.mark.parametrize(('offset', 'same'), [(4.6, 1.0), (4.9, 0.0)])
def test_threshold_is_of_the_mean_side_of_two_views_in_the_image(offset, same):
    """A predictor that is off by as much of the image in the second view."""

    class NearAndFar(RandomViews):
        def __getitem__(self, index):
            super().__getitem__(index)
            far = self.accesses.count(index) == 2
            return view((105.0, 104.0), 128 if far else 64, 30 * far)

    def predict(samples):
        points, _ = equivariant(samples)
        for i, sample in enumerate(samples):
            far = np.linalg.det(sample['data_samples'].image_to_view) < 0.5
            moved = POINTS + np.array([0.0, offset]) * far
            points[i] = where(sample, moved)
        return points, torch.ones(points.shape[:2])

    # 0.05 of (64 + 128) / 2 is 4.8 pixels of the image.
    found = label_free_evidence(predict, NearAndFar(length=3))
    assert found['consistency'] == same


@pytest.mark.parametrize('outside_first', [False, True])
def test_prediction_outside_the_other_view_does_not_count(outside_first):
    class LeftAndRight(RandomViews):
        """Views side by side that overlap by half."""

        def __getitem__(self, index):
            super().__getitem__(index)
            right = (self.accesses.count(index) == 2) != outside_first
            return view((100.0 + 32 * right, 100.0), 64, 0)

    def predict(samples):
        # At x = 16: outside of the right view if seen in the left one.
        points = torch.tensor([16.0, 30.0]).expand(len(samples), 4, 2)
        return points, torch.ones(points.shape[:2])

    found = label_free_evidence(predict, LeftAndRight(length=3))
    assert np.isnan(found['consistency'])


def test_views_are_the_same_for_every_model_and_leave_no_trace():
    random.seed(7)
    np.random.seed(7)
    expected = random.random(), np.random.rand()
    random.seed(7)
    np.random.seed(7)
    seen = []

    def spy(samples):
        seen.append([where(sample, POINTS) for sample in samples])
        return equivariant(samples)

    label_free_evidence(spy, RandomViews(), batch_size=5)
    assert (random.random(), np.random.rand()) == expected
    first, seen[:] = list(seen), []
    label_free_evidence(spy, RandomViews(), batch_size=5)
    for a, b in zip(first, seen):
        for points, again in zip(a, b):
            assert torch.equal(points, again)


def test_each_chosen_image_is_seen_twice():
    dataset = RandomViews(length=100)
    label_free_evidence(equivariant, dataset, num_samples=5)
    assert sorted(dataset.accesses) == sorted([0, 25, 50, 74, 99] * 2)


# --- a predictor that is right, whatever MMPose does to the image --------------

#: Of a dot's three channels, which are light; keypoints 0 and 1 change places.
COLOURS = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0], [0, 1, 1]])
FLIP_INDICES = [1, 0, 2, 3, 4]
DOTS = np.array([[140, 120], [110, 170], [165, 150], [120, 130], [150, 185]])


class Dots:
    """Ever the same image: a dot of its own colour for each keypoint."""

    metainfo = dict(flip_indices=FLIP_INDICES)

    def __init__(self, flip_indices=FLIP_INDICES):
        self.flip_indices = flip_indices
        self.image = np.zeros((300, 280, 3), dtype=np.uint8)
        for point, colour in zip(DOTS, COLOURS):
            cv2.circle(
                self.image, tuple(map(int, point)), 5, (255 * colour).tolist(), -1
            )

    def __len__(self):
        return 10

    def get_data_info(self, index):
        info = dict(
            img=self.image.copy(),
            bbox=np.array([[60.0, 70.0, 210.0, 230.0]], dtype=np.float32),
        )
        if self.flip_indices is not None:
            info['flip_indices'] = self.flip_indices
        return info


def find_dots(samples):
    """Where the dots are in what the network sees: their centres of mass."""
    points = torch.zeros(len(samples), len(COLOURS), 2)
    for i, sample in enumerate(samples):
        image = sample['inputs'].permute(1, 2, 0).numpy().astype(float) / 255
        for k, colour in enumerate(COLOURS):
            # 0 where a channel that is to be light is dark, or the other way.
            mass = np.where(colour, image, 1 - image).prod(axis=2)
            mass[image.max(axis=2) < 0.1] = 0
            y, x = np.indices(mass.shape)
            points[i, k, 0] = (x * mass).sum() / mass.sum()
            points[i, k, 1] = (y * mass).sum() / mass.sum()
        if np.linalg.det(sample['data_samples'].image_to_view) < 0:
            points[i] = points[i, FLIP_INDICES]  # A right hand is a left one there.
    return points, torch.ones(points.shape[:2])


def pipeline(input_size, turn, flip=0.0, use_udp=False):
    return [
        dict(type='LoadWholeImage'),
        dict(type='GetBBoxCenterScale', padding=1.4),
        dict(type='RandomFlip', direction='horizontal', prob=flip),
        dict(
            type='RandomBBoxTransform',
            shift_factor=0.05,
            scale_factor=(0.8, 1.1),
            rotate_factor=turn,
            rotate_prob=1.0,
        ),
        dict(type='TopdownAffine', input_size=input_size, use_udp=use_udp),
        dict(type='PackPoseInputs'),
    ]


@pytest.fixture(autouse=True)
def scope():
    init_default_scope('mmpose')


@pytest.mark.parametrize('use_udp', [False, True])
@pytest.mark.parametrize('flip', [0.0, 0.5])
@pytest.mark.parametrize('turn', [0, 45, 160])
@pytest.mark.parametrize(
    'input_size', [(96, 128), (128, 96), (128, 128), (64, 160), (192, 256)]
)
def test_predictor_that_finds_the_points_is_consistent(input_size, turn, flip, use_udp):
    dataset = UnlabeledDataset(Dots(), pipeline(input_size, turn, flip, use_udp))
    found = label_free_evidence(find_dots, dataset, thr=0.02)
    assert found['consistency'] == 1


def test_stretched_predictions_of_an_oblong_input_are_not_consistent():
    """What a warp sees that scales both axes by the width."""

    def stretched(samples):
        points, confidence = find_dots(samples)
        points[..., 1] *= 96 / 128
        return points, confidence

    dataset = UnlabeledDataset(Dots(), pipeline((96, 128), 160))
    assert label_free_evidence(stretched, dataset)['consistency'] < 0.9


def test_mirrored_views_of_unknown_left_and_right_do_not_count():
    dataset = UnlabeledDataset(Dots(None), pipeline((64, 64), 30, flip=0.5))
    seen = []

    def predict(samples):
        seen.extend(s['data_samples'].image_to_view for s in samples)
        return find_dots(samples)

    found = label_free_evidence(predict, dataset)
    mirrored = np.linalg.det(np.stack(seen)) < 0
    assert 0 < mirrored.sum() < len(mirrored)
    # Views of one kind agree; of two they would not, as keypoints 0 and 1 differ.
    assert found['consistency'] == 1


def test_sample_that_does_not_know_where_it_lies_is_said():
    class Lost(RandomViews):
        def __getitem__(self, index):
            meta = dict(input_size=(SIDE, SIDE))
            return dict(inputs=None, data_samples=PoseDataSample(metainfo=meta))

    def predict(samples):
        return torch.zeros(len(samples), 4, 2), torch.zeros(len(samples), 4)

    with pytest.raises(InputError, match='image_to_view'):
        label_free_evidence(predict, Lost())


@pytest.mark.parametrize('views', [False, True])
def test_projects_own_target_gives_all_that_is_needed(hand_pair, views):
    from conftest import ROOT
    from mmengine.config import Config

    from mmregda.benchmark.plan import _evidence_dataset

    cfg = Config.fromfile(ROOT / 'configs/benchmark/hands.py')
    loader = cfg.train_dataloader.target
    loader.dataset.dataset.data_root = str(hand_pair)
    if views:
        transforms = loader.dataset.pipeline
        box = next(i for i, t in enumerate(transforms) if 'GetBBox' in t.type) + 1
        loader.dataset.pipeline = transforms[:box]
        loader.dataset.views = dict(a=transforms[box:], b=transforms[box:])
    dataset = DATASETS.build(_evidence_dataset(cfg))

    def center(samples):
        """Predicts the middle of the whole image, which any view can find."""
        points = []
        for sample in samples:
            assert sample['inputs'].shape == (3, 128, 128)
            assert 'keypoints' not in sample['data_samples'].gt_instances
            # Images of the rendered target have 224 pixels.
            points.append(where(sample, np.full((4, 2), 112.0)))
        return torch.stack(points), torch.ones(len(points), 4)

    found = label_free_evidence(center, dataset)
    assert found['consistency'] > 0.99


def test_a_target_that_is_never_augmented_is_seen_in_random_views():
    from conftest import ROOT
    from mmengine.config import Config

    from mmregda.benchmark.plan import _evidence_dataset

    def kinds(pipeline):
        return [transform['type'] for transform in pipeline]

    cfg = Config.fromfile(ROOT / 'configs/benchmark/bodies.py')
    target = cfg.train_dataloader.target.dataset
    assert 'RandomRotatedSubCrop' not in kinds(target.pipeline)
    found = _evidence_dataset(cfg)
    assert kinds(found.pipeline) == kinds(cfg.unlabeled_pipeline)
    assert found.pipeline[:-1] == cfg.unlabeled_pipeline[:-1]
    # A pipeline of one's own is kept.
    target.pipeline = [dict(type='LoadWholeImage'), dict(type='PackPoseInputs')]
    assert kinds(_evidence_dataset(cfg).pipeline) == kinds(target.pipeline)
