"""PCK by group, against a double loop over samples and keypoints."""

import math

import numpy as np
import pytest
from mmengine.evaluator import Evaluator
from mmengine.structures import InstanceData
from mmpose.structures import PoseDataSample

from mmregda import InputError
from mmregda.datasets.keypoints import HAND21, metainfo_of
from mmregda.evaluation import GroupedPCKAccuracy

GROUPS = dict(
    MCP=[1, 5, 9, 13, 17],
    PIP=[2, 6, 10, 14, 18],
    DIP=[3, 7, 11, 15, 19],
    Fingertip=[4, 8, 12, 16, 20],
    Avg=list(range(21)),
)


def sample(predicted, truth, visible, box=(0, 0, 256, 256), dtype=np.float32):
    return dict(
        pred_instances=dict(keypoints=np.asarray(predicted, dtype)[None]),
        gt_instances=dict(
            keypoints=np.asarray(truth, dtype)[None],
            keypoints_visible=np.asarray(visible, dtype)[None],
            bboxes=np.asarray(box, dtype)[None],
        ),
    )


def random_samples(num, seed=0, num_keypoints=21):
    rng = np.random.default_rng(seed)
    samples = []
    for _ in range(num):
        truth = rng.uniform(0, 256, (num_keypoints, 2))
        error = rng.normal(0, 9, (num_keypoints, 2))
        corner = rng.uniform(-20, 20, 2)
        box = [*corner, *(corner + rng.uniform(100, 300, 2))]
        samples.append(
            sample(truth + error, truth, rng.random(num_keypoints) < 0.7, box)
        )
    return samples


def naive_pck(samples, groups, thr):
    """The definition, keypoint by keypoint."""
    num_keypoints = samples[0]['gt_instances']['keypoints'].shape[1]
    accuracy = {}
    for k in range(num_keypoints):
        correct = []
        for one in samples:
            truth = one['gt_instances']
            if truth['keypoints_visible'][0][k]:
                x, y = one['pred_instances']['keypoints'][0][k]
                true_x, true_y = truth['keypoints'][0][k]
                x1, y1, x2, y2 = truth['bboxes'][0]
                side = max(float(x2) - float(x1), float(y2) - float(y1))
                distance = math.hypot(
                    float(x) - float(true_x), float(y) - float(true_y)
                )
                correct.append(distance <= thr * side)
        if correct:
            accuracy[k] = sum(correct) / len(correct)
    result = {}
    for name, indices in groups.items():
        known = [accuracy[k] for k in indices if k in accuracy]
        result[f'PCK/{name}'] = sum(known) / len(known) if known else float('nan')
    return result


def measured(samples, batch_size=None, **kwargs):
    metric = GroupedPCKAccuracy(**dict(dict(groups='hand21'), **kwargs))
    for start in range(0, len(samples), batch_size or len(samples)):
        metric.process([], samples[start : start + (batch_size or len(samples))])
    return metric.evaluate(len(samples))


@pytest.mark.parametrize('thr', [0.02, 0.05, 0.2])
def test_equals_the_definition(thr):
    samples = random_samples(40)
    expected = naive_pck(samples, GROUPS, thr)
    assert measured(samples, thr=thr) == pytest.approx(expected, abs=1e-6)
    assert len(set(expected.values())) > 1


def test_threshold_is_a_twentieth_unless_told():
    samples = random_samples(20)
    assert measured(samples) == measured(samples, thr=0.05)


def test_several_batches_give_what_one_batch_gives():
    samples = random_samples(23)
    assert measured(samples, batch_size=5) == measured(samples)


def test_evaluating_twice_gives_the_same():
    metric = GroupedPCKAccuracy(groups='hand21')
    samples = random_samples(5)
    metric.process([], samples)
    first = metric.evaluate(5)
    metric.process([], samples)
    assert metric.evaluate(5) == first


def test_an_invisible_keypoint_does_not_count():
    samples = random_samples(10)
    before = measured(samples)
    for one in samples:
        hidden = one['gt_instances']['keypoints_visible'][0] == 0
        assert hidden.any()
        one['pred_instances']['keypoints'][0][hidden] += 1000
    assert measured(samples) == before


def test_a_keypoint_that_is_never_visible_is_left_out_of_the_mean():
    visible = np.ones(21)
    visible[5] = 0
    truth = np.full((21, 2), 50.0)
    predicted = truth.copy()
    predicted[[1, 5]] += 100
    found = measured([sample(predicted, truth, visible)])
    assert found['PCK/MCP'] == pytest.approx(3 / 4)
    assert found['PCK/Avg'] == pytest.approx(19 / 20)


def test_a_group_that_is_never_visible_is_not_a_number():
    visible = np.ones(21)
    visible[GROUPS['DIP']] = 0
    truth = np.full((21, 2), 50.0)
    found = measured([sample(truth, truth, visible)] * 2)
    assert math.isnan(found['PCK/DIP'])
    assert found['PCK/PIP'] == found['PCK/Avg'] == 1


@pytest.mark.parametrize('dtype', [np.float32, np.float64])
@pytest.mark.parametrize('side, distance', [(160, 8), (256, 12.8), (320, 16), (20, 1)])
def test_a_distance_of_exactly_the_threshold_is_correct(side, distance, dtype):
    truth = np.zeros((21, 2))
    on_it = truth + [distance, 0]
    box = (0, 0, side, side)
    found = measured([sample(on_it, truth, np.ones(21), box, dtype)])
    assert found['PCK/Avg'] == 1
    beyond = truth + [distance * 1.0001, 0]
    found = measured([sample(beyond, truth, np.ones(21), box, dtype)])
    assert found['PCK/Avg'] == 0


@pytest.mark.parametrize('box', [(10, 20, 210, 60), (10, 20, 50, 220)])
def test_the_larger_side_of_a_box_is_its_side(box):
    truth = np.zeros((21, 2))
    within, beyond = truth + [9.9, 0], truth + [0, 10.1]
    assert measured([sample(within, truth, np.ones(21), box)])['PCK/Avg'] == 1
    assert measured([sample(beyond, truth, np.ones(21), box)])['PCK/Avg'] == 0


def test_a_prediction_that_is_not_a_number_is_wrong():
    truth = np.zeros((21, 2))
    predicted = truth.copy()
    predicted[3] = np.nan
    found = measured([sample(predicted, truth, np.ones(21))])
    assert found['PCK/DIP'] == pytest.approx(4 / 5)


def test_groups_may_be_given_as_lists_of_any_body():
    samples = random_samples(15, num_keypoints=16)
    groups = dict(Knee=[1, 4], Ankle=(0, 5), Head=[9])
    expected = naive_pck(samples, groups, 0.05)
    assert measured(samples, groups=groups) == pytest.approx(expected, abs=1e-6)


def test_an_unknown_set_of_groups_is_named():
    with pytest.raises(InputError, match='"hand22".*hand21'):
        GroupedPCKAccuracy(groups='hand22')


def test_works_in_an_evaluator_on_packed_samples():
    raw = random_samples(9, seed=3)
    packed = []
    for one in raw:
        data_sample = PoseDataSample()
        data_sample.pred_instances = InstanceData(**one['pred_instances'])
        data_sample.gt_instances = InstanceData(**one['gt_instances'])
        packed.append(data_sample)
    evaluator = Evaluator([dict(type='GroupedPCKAccuracy', groups='hand21')])
    evaluator.dataset_meta = metainfo_of(HAND21, 'rhd')
    evaluator.process(data_samples=packed[:4], data_batch=None)
    evaluator.process(data_samples=packed[4:], data_batch=None)
    expected = naive_pck(raw, GROUPS, 0.05)
    assert evaluator.evaluate(9) == pytest.approx(expected, abs=1e-6)
