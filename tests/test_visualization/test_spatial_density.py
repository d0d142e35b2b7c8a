"""Where wrong predictions fall, against double loops and closed forms."""

import json

import numpy as np
import pytest

from mmregda import InputError
from mmregda.visualization import Predictions, error_positions, write_error_positions

SIZE = (100, 100)


def random_test_set(seed=0, num_images=9, num_keypoints=5):
    generator = np.random.default_rng(seed)
    keypoints = generator.uniform(20, 80, (num_images, num_keypoints, 2))
    predicted = generator.uniform(15, 85, keypoints.shape)
    near = generator.random(keypoints.shape[:2]) < 0.4
    noise = generator.normal(0, 4, keypoints.shape)
    predicted[near] = (keypoints + noise)[near]
    visible = generator.random(near.shape) < 0.8
    return predicted, keypoints, visible


def landed(point, k, keypoints, visible, radius):
    """'right', the index of another keypoint, or 'background'; in words."""
    if np.hypot(*(point - keypoints[k])) <= radius:
        return 'right'
    best, nearest = radius, 'background'
    for j in range(len(keypoints)):
        distance = np.hypot(*(point - keypoints[j]))
        if j != k and visible[j] and distance <= best:
            best, nearest = distance, j
    return nearest


def test_counts_are_those_of_a_double_loop():
    predicted, keypoints, visible = random_test_set()
    num_images, num_keypoints = visible.shape
    expected = np.zeros((num_keypoints, num_keypoints + 1), dtype=int)
    for i in range(num_images):
        for k in range(num_keypoints):
            if visible[i, k]:
                place = landed(predicted[i, k], k, keypoints[i], visible[i], 10)
                column = dict(right=k, background=num_keypoints).get(place, place)
                expected[k, column] += 1
    found = error_positions(predicted, keypoints, visible, SIZE, thr=0.1)
    np.testing.assert_array_equal(found.counts, expected)
    # It is a case worth looking at: all three kinds occur.
    summary = found.summary()
    parts = [summary[key] for key in ('right', 'another_keypoint', 'background')]
    assert min(parts) > 0.05
    assert sum(parts) == pytest.approx(1, abs=1e-3)
    np.testing.assert_allclose(found.shares.sum(axis=1), 1)


def test_right_is_what_pck_counts_though_another_keypoint_is_nearer():
    keypoints = np.array([[[50.0, 50.0], [56.0, 50.0]]])
    predicted = np.array([[[55.0, 50.0], [60.0, 90.0]]])
    visible = np.ones((1, 2), dtype=bool)
    # At exactly the threshold, 0.05 of the longer side.
    found = error_positions(predicted, keypoints, visible, (80, 100))
    np.testing.assert_array_equal(found.counts, [[1, 0, 0], [0, 0, 1]])


def test_wrong_prediction_is_at_the_nearest_visible_keypoint():
    keypoints = np.array([[[10.0, 10.0], [50.0, 50.0], [52.0, 50.0], [51.5, 50.0]]])
    predicted = np.full((1, 4, 2), 90.0)
    predicted[0, 0] = (51.4, 50)
    visible = np.array([[True, True, True, False]])
    found = error_positions(predicted, keypoints, visible, SIZE)
    np.testing.assert_array_equal(found.counts[0], [0, 0, 1, 0, 0])
    assert found.counts[3].sum() == 0
    assert found.confusions() == [(0, 2, 1)]


def test_chance_in_the_box_is_the_area_around_other_keypoints():
    # Two keypoints in opposite corners of their box, and discs of radius 30:
    # a quarter of each disc is inside.
    keypoints = np.array([[[0.0, 0.0], [100.0, 100.0]]])
    predicted = np.array([[[50.0, 50.0], [50.0, 50.0]]])
    visible = np.ones((1, 2), dtype=bool)
    found = error_positions(predicted, keypoints, visible, SIZE, thr=0.3)
    quarter = np.pi * 30**2 / 4
    assert found.chance['box'] == pytest.approx(quarter / (100**2 - quarter), abs=3e-3)


def test_chance_at_the_same_distance_is_the_arc_near_another_keypoint():
    # Another keypoint on the circle of the mistake; nearer than 5 to it is
    # the arc of chords up to 5.
    keypoints = np.array([[[50.0, 50.0], [70.0, 50.0]]])
    predicted = np.array([[[30.0, 50.0], [70.0, 50.0]]])
    visible = np.ones((1, 2), dtype=bool)
    found = error_positions(predicted, keypoints, visible, SIZE)
    arc = 2 * 2 * np.arcsin(5 / 2 / 20) / (2 * np.pi)
    assert found.chance['same_distance'] == pytest.approx(arc, abs=1 / 64)


def test_chance_at_the_same_distance_stays_inside_the_image():
    # The lower right quarter alone is inside, and the other keypoint there.
    keypoints = np.array([[[0.0, 0.0], [30.0, 30.0]]])
    predicted = np.array([[[60.0, 0.0], [30.0, 30.0]]])
    visible = np.ones((1, 2), dtype=bool)
    found = error_positions(predicted, keypoints, visible, SIZE, thr=0.2)
    half = np.arccos((60**2 + 1800 - 400) / (2 * 60 * np.sqrt(1800)))
    expected = 2 * half / (np.pi / 2)
    assert found.chance['same_distance'] == pytest.approx(expected, abs=1 / 16)


def test_chance_over_other_images_is_that_of_a_triple_loop():
    predicted, keypoints, visible = random_test_set(seed=1)
    num_images, num_keypoints = visible.shape
    another = total = 0
    for i in range(num_images):
        for j in range(num_images):
            for k in range(num_keypoints):
                wrong = landed(predicted[i, k], k, keypoints[i], visible[i], 10)
                if i == j or not (visible[i, k] and visible[j, k]) or wrong == 'right':
                    continue
                place = landed(predicted[i, k], k, keypoints[j], visible[j], 10)
                another += place not in ('right', 'background')
                total += place != 'right'
    found = error_positions(predicted, keypoints, visible, SIZE, thr=0.1)
    assert found.chance['other_images'] == pytest.approx(another / total)


@pytest.mark.parametrize('kind', ['box', 'same_distance'])
def test_predictions_made_by_chance_are_found_at_its_level(kind):
    generator = np.random.default_rng(2)
    shape = (400, 6)
    keypoints = generator.uniform(40, 60, (*shape, 2))
    if kind == 'box':
        low, high = keypoints.min(1, keepdims=True), keypoints.max(1, keepdims=True)
        predicted = low + generator.random(keypoints.shape) * (high - low)
    else:
        angle = generator.uniform(0, 2 * np.pi, shape)
        distance = generator.uniform(3, 20, shape)
        offset = np.stack([np.cos(angle), np.sin(angle)], axis=-1)
        predicted = keypoints + distance[..., None] * offset
    visible = np.ones(shape, dtype=bool)
    found = error_positions(predicted, keypoints, visible, SIZE, thr=0.03)
    observed = found.summary()['another_keypoint_of_wrong']
    assert 0.1 < observed < 0.9
    # Some two thousand mistakes: a standard error of a hundredth.
    assert found.chance[kind] == pytest.approx(observed, abs=0.03)


def test_what_is_not_defined_is_not_a_figure():
    keypoints = np.full((1, 2, 2), 50.0)
    visible = np.ones((1, 2), dtype=bool)
    summary = error_positions(keypoints, keypoints, visible, SIZE).summary()
    assert summary['right'] == 1
    assert summary['another_keypoint_of_wrong'] is None
    assert set(summary['chance'].values()) == {None}
    unseen = error_positions(keypoints, keypoints, ~visible, SIZE).summary()
    assert unseen['right'] is None and unseen['num_keypoints'] == 0


class Named:
    metainfo = dict(keypoint_id2name=dict(enumerate('abcde')))


def test_figure_and_its_figures_are_written_together(tmp_path):
    first, second = (
        Predictions(Named(), keypoints, predicted, visible, SIZE)
        for predicted, keypoints, visible in [random_test_set()]
        for predicted in (predicted, keypoints)
    )
    path = tmp_path / 'folder' / 'errors.png'
    found = write_error_positions(str(path), dict(before=first, after=second), thr=0.1)
    assert path.read_bytes().startswith(b'\x89PNG')
    content = json.loads(path.with_suffix('.json').read_text())
    assert content['before']['keypoints'] == list('abcde')
    np.testing.assert_array_equal(content['before']['counts'], found['before'].counts)
    assert content['after']['right'] == 1
    text = path.with_suffix('.md').read_text()
    (row,) = (line for line in text.split('\n') if line.startswith('| after | 100'))
    assert row.split(' | ')[1:5] == ['100.0', '0.0', '0.0', '-']
    k, j, count = found['before'].confusions(1)[0]
    assert f'{"abcde"[k]} at {"abcde"[j]} ({count})' in text
    assert len(list(path.parent.iterdir())) == 3


def test_runs_of_different_test_sets_are_not_compared(tmp_path):
    first, second = (
        Predictions(Named(), keypoints, predicted, visible, SIZE)
        for predicted, keypoints, visible in (random_test_set(0), random_test_set(1))
    )
    with pytest.raises(InputError, match='"one" and "two".*same test set'):
        write_error_positions(str(tmp_path / 'a.png'), dict(one=first, two=second))
    assert not list(tmp_path.iterdir())
