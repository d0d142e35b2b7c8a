"""Finding runs again, predicting with them, and choosing what to show."""

import shutil

import numpy as np
import pytest
import torch
from conftest import tiny_config
from mmengine.config import Config
from PIL import Image

from mmregda import InputError
from mmregda.engine import evaluate, train
from mmregda.engine.checkpoints import read_checkpoint, weights_of
from mmregda.visualization import (
    Predictions,
    labeled,
    load_run,
    plot_predictions,
    predict_run,
)
from mmregda.visualization.qualitative import (
    choose_cases,
    choose_differences,
    mean_errors,
)


@pytest.fixture(scope='module')
def trained(hand_pair, tmp_path_factory):
    """The work directory of a run of two iterations."""
    from mmengine.registry import init_default_scope

    init_default_scope('mmpose')
    work_dir = tmp_path_factory.mktemp('runs') / 'tiny'
    cfg = tiny_config(hand_pair, work_dir, max_iters=2)
    cfg.custom_hooks = []
    # A file, as a training from the command line has one.
    path = work_dir.parent / 'tiny.py'
    cfg.dump(str(path))
    cfg = Config.fromfile(path)
    cfg.work_dir = str(work_dir)
    train(cfg)
    return work_dir


def test_run_is_found_again_in_its_work_directory(trained):
    run = load_run(str(trained))
    assert run.checkpoint == str(trained / 'iter_2.pth')
    assert run.cfg.model.adaptation.type == 'RegDA'


def test_run_is_found_again_where_it_was_moved_to(trained, tmp_path):
    for path in ('tiny.py', 'iter_2.pth', 'last_checkpoint'):
        shutil.copy(trained / path, tmp_path)
    assert load_run(str(tmp_path)).checkpoint == str(tmp_path / 'iter_2.pth')


def test_run_is_named_by_config_and_checkpoint(trained):
    run = load_run(f'{trained / "tiny.py"}:{trained / "iter_2.pth"}')
    assert run.checkpoint == str(trained / 'iter_2.pth')
    assert run.cfg.model.adaptation.type == 'RegDA'


@pytest.mark.parametrize(
    'missing, message',
    [
        ('tiny.py', 'holds no config'),
        ('last_checkpoint', '"last_checkpoint".*missing'),
        ('iter_2.pth', 'iter_2.pth", which .*last_checkpoint" names, does not exist'),
    ],
)
def test_what_is_missing_of_a_run_is_named(trained, tmp_path, missing, message):
    shutil.copy(trained / 'tiny.py', tmp_path)
    (tmp_path / 'last_checkpoint').write_text('/nowhere/iter_2.pth\n')
    if missing != 'iter_2.pth':
        (tmp_path / missing).unlink()
    with pytest.raises(InputError, match=message):
        load_run(str(tmp_path))


@pytest.mark.parametrize('place', ['nowhere', 'nowhere.py:weights.pth'])
def test_run_that_does_not_exist_is_named(place):
    with pytest.raises(InputError, match='nowhere'):
        load_run(place)


def test_places_are_labelled_by_what_is_before_the_sign_or_the_folder(tmp_path):
    odd = tmp_path / 'lr=0.1'
    odd.mkdir()
    found = labeled(['a/b/', 'x y=c/d', f'z={odd}', str(odd)])
    assert found == {'b': 'a/b/', 'x y': 'c/d', 'z': str(odd), 'lr=0.1': str(odd)}
    with pytest.raises(InputError, match='"a/run" and "b/run".*label=place'):
        labeled(['a/run', 'b/run'])


@pytest.mark.parametrize('domain', ['source', 'target'])
def test_predictions_score_what_the_evaluation_reports(trained, domain, tmp_path):
    run = load_run(str(trained))
    predictions = predict_run(run, domain)
    cfg = Config.fromfile(trained / 'tiny.py')
    cfg.work_dir = str(tmp_path)
    thr = 0.5  # Two iterations teach little.
    cfg.val_evaluator[domain][0].thr = thr
    expected = evaluate(cfg, run.checkpoint)[f'{domain}/PCK/Avg']
    right = np.where(predictions.visible, predictions.distance <= thr, np.nan)
    assert 0 < expected < 1
    assert np.nanmean(right, axis=0).mean() == pytest.approx(expected, abs=1e-6)


def test_predictions_lie_on_the_images(trained):
    found = predict_run(load_run(str(trained)), 'target')
    for index in range(len(found.dataset)):
        info = found.dataset.get_data_info(index)
        whole = Image.open(info['img_path']).convert('RGB')
        # The crop is the whole image: coordinates shrink with it.
        expected = info['keypoints'][0] * found.input_size[0] / whole.width
        np.testing.assert_allclose(found.keypoints[index], expected, atol=1e-3)
        small = np.asarray(whole.resize(found.input_size, Image.BOX), dtype=float)
        assert np.abs(found.image(index) - small).mean() < 25


def test_unknown_domain_is_named(trained):
    run = load_run(str(trained))
    run.cfg.val_dataloader.pop('target')
    with pytest.raises(InputError, match='no "target"'):
        predict_run(run, 'target')


def test_predictions_are_the_same_with_labels_and_without(trained):
    run = load_run(str(trained))
    known = predict_run(run, 'target')
    run.cfg.val_dataloader.target.dataset.labeled = False
    unknown = predict_run(run, 'target')
    np.testing.assert_allclose(unknown.predicted, known.predicted, atol=1e-4)
    assert known.labeled and not unknown.labeled
    assert unknown.keypoints.shape == known.keypoints.shape


def test_weights_of_another_model_are_refused(trained, tmp_path):
    run = load_run(str(trained))
    state = dict(weights_of(read_checkpoint(run.checkpoint), run.checkpoint))
    state.pop('head.final_layer.bias')
    run.checkpoint = str(tmp_path / 'other.pth')
    torch.save(dict(state_dict=state), run.checkpoint)
    with pytest.raises(InputError, match='head.final_layer.bias'):
        predict_run(run)


def test_mean_error_counts_labelled_keypoints_alone():
    keypoints = np.zeros((2, 2, 2))
    predicted = np.array([[[3.0, 4.0], [10.0, 0.0]], [[3.0, 4.0], [99.0, 99.0]]])
    visible = np.array([[True, True], [False, False]])
    predictions = Predictions(None, keypoints, predicted, visible, (50, 100))
    np.testing.assert_allclose(mean_errors(predictions), [7.5, np.nan])


def test_cases_are_chosen_by_the_change_of_error():
    #                     0   1   2   3   4   5   6   7   8
    baseline = np.array([30, 20, 10, 50, 10, 10, 40, 90, np.nan])
    change = np.array([-25, +5, -3, -2, +20, -4, 0, -1, 0])
    cases = choose_cases(baseline, baseline + change, per_case=1)
    assert [(case.index, case.reason) for case in cases] == [
        (0, 'largest improvement'),
        (3, 'median change'),  # of -25 -4 -3 -2 -1 0 5 20: -1.5
        (4, 'largest deterioration'),
        (7, 'largest error'),
    ]


def test_no_image_is_a_case_twice():
    # The image that got worse most is the worst as well.
    errors = np.array([1.0, 2.0, 3.0, 4.0, 5.0])
    cases = choose_cases(np.ones(5), errors, per_case=2)
    indices = [case.index for case in cases]
    assert sorted(indices) == [0, 1, 2, 3, 4]
    assert indices[:2] == [0, 1]


def test_without_labels_cases_are_chosen_by_the_difference():
    difference = np.array([3.0, 9.0, 0.5, 4.0, 2.0])
    cases = choose_differences(difference, per_case=2)
    assert [(case.index, case.reason) for case in cases] == [
        (1, 'largest difference'),
        (3, 'largest difference'),
        (0, 'median difference'),
        (4, 'median difference'),
        (2, 'smallest difference'),
    ]


class Photographs:
    """Images of one colour each, and a line for a skeleton."""

    metainfo = dict(
        num_keypoints=2,
        skeleton_links=[(0, 1)],
        skeleton_link_colors=np.array([[255, 255, 255]]),
        keypoint_colors=np.array([[255, 255, 255]] * 2),
    )
    colors = [(200, 30, 30), (30, 200, 30), (30, 30, 200), (200, 30, 200)]

    def __init__(self, files='abcd'):
        self.files = files

    def __len__(self):
        return len(self.colors)

    def get_data_info(self, index):
        return dict(img_path=f'somewhere/{self.files[index]}.png')

    def __getitem__(self, index):
        color = torch.tensor(self.colors[index][::-1], dtype=torch.uint8)
        return dict(inputs=color[:, None, None].expand(3, 40, 40).contiguous())


def photographed(errors, labeled=True, files='abcd'):
    keypoints = np.full((4, 2, 2), 10.0)
    predicted = keypoints + np.array(errors, dtype=float)[:, None, None]
    visible = np.full((4, 2), labeled)
    keypoints = keypoints * labeled
    return Predictions(Photographs(files), keypoints, predicted, visible, (40, 40))


def columns_and_rows(image, color):
    """How often a colour starts anew, from left to right and downwards."""
    found = np.abs(image - color).max(axis=-1) < 12
    counts = []
    for axis in (0, 1):
        line = found.sum(axis=axis) > 20
        counts.append(int(np.sum(line[1:] & ~line[:-1])))
    return tuple(counts)


def test_every_run_shows_every_case(tmp_path):
    runs = {
        name: photographed(errors)
        for name, errors in zip('abcde', np.random.default_rng(0).random((5, 4)))
    }
    runs['e'] = photographed([0, 5, 8, 9])
    runs['a'] = photographed([9, 5, 1, 9])
    path = tmp_path / 'images.png'
    cases = plot_predictions(str(path), runs, per_case=1)
    assert [case.index for case in cases] == [0, 1, 2, 3]
    image = np.asarray(Image.open(path).convert('RGB')).astype(int)
    for color in Photographs.colors:
        # Ground truth and five runs, in one row.
        assert columns_and_rows(image, color) == (6, 1)


def test_images_without_labels_are_drawn_where_runs_differ(tmp_path):
    runs = dict(
        a=photographed([1, 2, 3, 4], labeled=False),
        b=photographed([1, 8, 4, 9], labeled=False),
    )
    path = tmp_path / 'images.png'
    cases = plot_predictions(str(path), runs, per_case=1)
    # They are 0, 6, 1 and 5 apart in x and y; as near to the median are two.
    assert [case.index for case in cases] in ([1, 2, 0], [1, 3, 0])
    image = np.asarray(Image.open(path).convert('RGB')).astype(int)
    for case in cases:
        color = Photographs.colors[case.index]
        assert columns_and_rows(image, color) == (3, 1)  # the image and two runs


def test_other_images_without_labels_are_no_same_test_set(tmp_path):
    runs = dict(
        a=photographed([1, 2, 3, 4], labeled=False),
        b=photographed([1, 7, 4, 9], labeled=False, files='abce'),
    )
    with pytest.raises(InputError, match='"a" and "b".*files differ'):
        plot_predictions(str(tmp_path / 'images.png'), runs)


def test_choice_starts_from_the_runs_that_are_named(tmp_path):
    runs = dict(
        a=photographed([9, 9, 9, 0]),
        b=photographed([5, 5, 5, 5]),
        c=photographed([5, 1, 5, 9]),
    )
    path = str(tmp_path / 'images.png')
    cases = plot_predictions(path, runs, baseline='b', compared='c', per_case=1)
    assert [case.index for case in cases] == [1, 0, 3, 2]
    with pytest.raises(InputError, match='"d", but a, b, c'):
        plot_predictions(path, runs, baseline='d')
