"""tools/compare.py: two models on photographs, and the page that shows them."""

import copy
import json
import re
import shutil
import subprocess

import numpy as np
import pytest
import torch
from conftest import tiny_model_config
from mmengine.config import Config
from PIL import Image
from trained import write_model

from mmregda import InputError
from mmregda.apis import images_to_predict
from mmregda.apis.compare import (
    Labels,
    against_labels,
    as_seen_by,
    augmented,
    displacements,
    mean_pck,
    paired_bootstrap,
)
from mmregda.visualization.comparison_page import write_comparison


def predictions(points, box=(0, 0, 100, 50), names=('k0', 'k1', '<k2>')):
    """As predict_images gives them: one box of (K, 2) keypoints in each image."""
    annotations = [
        dict(
            id=i + 1,
            image_id=i,
            category_id=1,
            bbox=list(box),
            keypoints=np.column_stack([p, np.full(len(p), 2)]).ravel().tolist(),
            keypoint_scores=[0.5] * len(p),
        )
        for i, p in enumerate(points)
    ]
    images = [dict(id=i, file_name=f'{i}.png') for i in range(len(points))]
    category = dict(id=1, name='x', keypoints=list(names), skeleton=[[1, 2]])
    return dict(
        images=images, annotations=annotations, categories=[category], left_out=[]
    )


def test_displacement_is_in_units_of_the_longer_side():
    points = np.random.default_rng(0).uniform(0, 100, (4, 3, 2))
    moved = displacements(predictions(points), predictions(points + (3, 4)))
    np.testing.assert_allclose(moved, np.full((4, 3), 0.05))


def test_labels_are_of_the_box_that_overlaps_and_visible_keypoints(tmp_path):
    points = np.full((2, 3, 2), 10.0)
    one, other = predictions(points), predictions(points + (30, 0))
    # Image 0 has another box, too, with other labels.
    keypoints = [[10, 10, 2, 10, 14, 1, 99, 99, 0], [10, 10, 2] * 3]
    boxes = [[1, 0, 99, 50], [60, 0, 40, 50]]
    content = dict(
        images=[dict(id=7, file_name='0.png')],
        categories=[dict(id=1, keypoints=['k0', 'k1', '<k2>'])],
        annotations=[
            dict(image_id=7, bbox=box, keypoints=k) for box, k in zip(boxes, keypoints)
        ],
    )
    path = tmp_path / 'labels.json'
    path.write_text(json.dumps(content))
    labels = against_labels(str(path), one, other)
    nan = np.nan
    expected = [
        [[0, 0.04, nan], [nan] * 3],
        [[0.3, np.hypot(0.3, 0.04), nan], [nan] * 3],
    ]
    np.testing.assert_allclose(labels.distance, expected)
    assert labels.images.tolist() == [0, 1]

    content['categories'][0]['keypoints'] = ['k1', 'k0', '<k2>']
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match='channel 0 would be trained as "k0"'):
        against_labels(str(path), one, other)
    for broken in ('{', '{}', '[]', '{"images": 3}'):
        path.write_text(broken)
        with pytest.raises(InputError, match='labels.json'):
            against_labels(str(path), one, other)


def test_bootstrap_is_that_of_a_loop_over_drawn_images():
    rng = np.random.default_rng(0)
    # Three boxes in each image, some keypoints without a label.
    distance = rng.uniform(0, 0.1, (2, 30, 4))
    distance[1] *= 0.8
    distance[:, rng.uniform(size=(30, 4)) < 0.3] = np.nan
    images = np.repeat(np.arange(10), 3)
    found = paired_bootstrap(Labels(distance, images), thr=0.05, num_draws=4000)

    def pck(rows):
        with np.errstate(invalid='ignore'):
            taken = distance[:, rows]
            right = (taken <= 0.05).sum(axis=1) / (~np.isnan(taken)).sum(axis=1)
        return np.nanmean(right, axis=-1)

    whole = pck(np.arange(30))
    draws = []
    for _ in range(4000):
        drawn = rng.integers(0, 10, 10)
        draws.append(pck(np.concatenate([np.flatnonzero(images == i) for i in drawn])))
    draws = np.array(draws)
    columns = (*draws.T, draws[:, 1] - draws[:, 0])
    values = (*whole, whole[1] - whole[0])
    for (value, low, high), column, expected in zip(found[:3], columns, values):
        assert value == pytest.approx(expected)
        assert (low, high) == pytest.approx(
            np.percentile(column, [2.5, 97.5]), abs=0.02
        )
    assert found.num_images == 10
    assert [mean_pck(one, 0.05) for one in distance] == pytest.approx(list(whole))


def test_what_is_equal_is_no_real_difference_and_what_is_always_better_is():
    rng = np.random.default_rng(0)
    one = rng.uniform(0, 0.1, (20, 5))
    same = paired_bootstrap(Labels(np.stack([one, one]), np.arange(20)))
    assert same.difference == (0, 0, 0) and not same.is_real
    better = paired_bootstrap(Labels(np.stack([one, one / 4]), np.arange(20)))
    assert better.difference[1] > 0 and better.is_real
    # The same values, but the models are not better on the same images.
    other = paired_bootstrap(Labels(np.stack([one, one[::-1]]), np.arange(20)))
    assert not other.is_real


@pytest.fixture
def page(tmp_path):
    """A page of 300 images, and how far keypoints are from each other in each."""
    rng = np.random.default_rng(0)
    (tmp_path / 'images').mkdir()
    for i in range(300):
        pixels = np.full((50, 100, 3), i % 250, np.uint8)
        Image.fromarray(pixels).save(tmp_path / f'images/{i}.png')
    points = rng.uniform(0, 50, (300, 3, 2))
    found = predictions(points), predictions(points + rng.normal(0, 5, (300, 3, 2)))
    moved = displacements(*found)
    path = tmp_path / 'page.html'
    rows = [('<b>score</b>', '1', '2', '')]
    models = ('a.pth', '</script>.pth')
    write_comparison(
        str(path), 'A & B', models, found, moved, str(tmp_path / 'images'), rows
    )
    return path, moved


def test_page_holds_all_and_asks_for_nothing(page):
    path, moved = page
    text = path.read_text()
    assert '&lt;b&gt;score' in text and 'A &amp; B' in text
    assert '&lt;/script&gt;.pth' in text
    # No address but the name space of SVG.
    assert set(re.findall(r'https?://[^\s"\']+', text)) == {
        'http://www.w3.org/2000/svg'
    }
    data, pictures = (
        json.loads(re.search(f'<script id="{name}"[^>]*>(.*?)</script>', text)[1])
        for name in ('data', 'pictures')
    )
    assert len(pictures) == 300
    order = np.argsort(-moved.mean(axis=1))
    assert [item['file'] for item in data['items']] == [f'{i}.png' for i in order]
    # What is drawn lies as far apart as the models put it: 130 units to the side.
    a, b = np.array([item['points'] for item in data['items']]).swapaxes(0, 1)
    apart = np.linalg.norm(a - b, axis=-1) / 192 * 1.3
    np.testing.assert_allclose(apart, moved[order], atol=2e-3)


DRIVE = """
<script>
const said = [];
const press = key =>
  document.body.dispatchEvent(new KeyboardEvent('keydown', {key, bubbles: true}));
const put = (id, value) => {
  $(id).value = value;
  $(id).dispatchEvent(new Event('input'));
};
const heading = () => document.querySelector('#detail h2').textContent;
const drawnA = () => getComputedStyle(document.querySelector('#detail .of-a')).display;
const first = () => $('grid').firstChild && $('grid').firstChild.title;
setTimeout(() => {
  said.push(document.querySelectorAll('#grid img').length, first());
  put('keypoint', '2'); said.push(first());
  put('keypoint', ''); put('file', '17'); said.push($('count').textContent);
  put('score', '0.4'); said.push($('count').textContent, first());
  put('score', '1'); put('file', '');
  press('ArrowRight'); press('ArrowRight'); press('ArrowRight');
  said.push($('dialog').open, heading());
  press('ArrowLeft'); said.push(heading());
  press('a'); said.push(drawnA());
  press('b'); press('a');
  said.push(drawnA());
  document.querySelector('#detail button[title=next]').click();
  said.push(heading());
  document.querySelector('#detail button[title=close]').click();
  said.push($('dialog').open);
  press('ArrowRight'); said.push(heading());
  document.title = JSON.stringify(said);
}, 500);
</script>
"""
CHROMIUM = next(filter(None, map(shutil.which, ('chromium', 'google-chrome'))), None)


@pytest.mark.slow
@pytest.mark.skipif(not CHROMIUM, reason='there is no Chromium: apt install chromium')
def test_page_is_filtered_and_stepped_through_in_a_browser(page):
    path, moved = page
    path.write_text(path.read_text() + DRIVE)
    options = ['--headless', '--no-sandbox', '--disable-gpu', '--dump-dom']
    options += ['--virtual-time-budget=5000', '--window-size=1200,900']
    done = subprocess.run(
        [CHROMIUM, *options, path.as_uri()], capture_output=True, text=True, timeout=120
    )
    said = json.loads(re.search('<title>(.*?)</title>', done.stdout)[1])
    order = [f'{i}.png' for i in np.argsort(-moved.mean(axis=1))]
    assert 5 < said[0] < 100  # Only those in sight are drawn.
    assert said[1] == order[0]
    assert said[2] == f'{np.argmax(moved[:, 2])}.png'
    num = sum('17' in str(i) for i in range(300))
    assert said[3] == f'{num} of 300 boxes'
    assert said[4:6] == ['0 of 300 boxes', None]  # All have a score of 0.5.
    assert said[6:8] == [True, f'3 of 300: {order[2]}']
    assert said[8] == f'2 of 300: {order[1]}'
    assert said[9:11] == ['none', 'inline']
    third = f'3 of 300: {order[2]}'
    assert said[11:] == [third, False, third]


def test_each_model_sees_images_by_its_own_input_size(tmp_path):
    model = tiny_model_config()
    write_model(tmp_path, model)
    cfg = Config.fromfile(tmp_path / 'trained.py')
    other = copy.deepcopy(cfg)
    for loader in (other.val_dataloader, other.train_dataloader):
        loader.target.dataset.pipeline[4].input_size = (48, 96)
    dataset = images_to_predict(cfg)
    for seen in (as_seen_by(other, dataset), augmented(other, dataset)):
        assert seen[0]['inputs'].shape == (3, 96, 48)
        assert seen[0]['data_samples'].img_path == dataset[0]['data_samples'].img_path
    assert dataset[0]['inputs'].shape == (3, 64, 64)


def test_both_models_see_the_same_random_views(tmp_path):
    write_model(tmp_path, tiny_model_config())
    cfg = Config.fromfile(tmp_path / 'trained.py')
    other = copy.deepcopy(cfg)
    pipeline = cfg.train_dataloader.target.dataset.pipeline
    turn = dict(type='RandomBBoxTransform', rotate_prob=1.0)
    cfg.train_dataloader.target.dataset.pipeline = [
        *pipeline[:4],
        turn,
        *pipeline[4:],
    ]
    other.val_dataloader.target.dataset.pipeline[4].input_size = (96, 96)
    dataset = images_to_predict(cfg)
    maps = []
    for each in (cfg, other):
        np.random.seed(0)
        sample = augmented(cfg, dataset, each)[0]['data_samples']
        maps.append(sample.image_to_view)
    assert abs(maps[0][0, 1]) > 0.01  # It is turned.
    np.testing.assert_allclose(maps[1][:2], 1.5 * maps[0][:2], atol=1e-3)


def test_page_of_names_that_are_no_text_can_be_written(page, tmp_path):
    found = predictions(np.zeros((1, 3, 2)))
    found['left_out'] = ['image "\udcff.jpg" is damaged']
    moved, root = np.zeros((1, 3)), str(tmp_path / 'images')
    path = tmp_path / 'other.html'
    write_comparison(str(path), 'A', ('a', 'b'), (found, found), moved, root)
    assert '\\udcff.jpg' in path.read_text()


def test_tool_says_what_is_known_without_labels_and_with_some(command, tmp_path):
    model = tiny_model_config()
    model['head']['decoder'] = {**model['head']['decoder'], 'type': 'GaussianHeatmap'}
    write_model(tmp_path, model, num_images=6)
    names = 'trained.py', 'trained.pth', 'other.pth'
    content = torch.load(tmp_path / 'trained.pth', weights_only=True)
    weight = content['state_dict']['head.final_layer.weight']
    weight += 0.5 * torch.randn(
        weight.shape, generator=torch.Generator().manual_seed(0)
    )
    torch.save(content, tmp_path / 'other.pth')
    config, one, other = (tmp_path / name for name in names)

    # The first model's own predictions as labels.
    command('predict.py', config, one, '--draw', 'none', '--out', tmp_path)
    labels = json.loads((tmp_path / 'predictions.json').read_text())
    for annotation in labels['annotations']:
        annotation['keypoints'][2::3] = [2] * 21
        annotation['score'] = 1
    (tmp_path / 'labels.json').write_text(json.dumps(labels))
    page = tmp_path / 'out/page.html'
    options = ['--labels', tmp_path / 'labels.json', '--out', page, '--device', 'cpu']
    said = ' '.join(command('compare.py', config, one, other, *options).split())
    for part in (
        'confidence',
        'consistency',
        'not measured',
        '100.0 % (100.0 to 100.0)',
    ):
        assert part in said
    assert 'a real difference' in said and '6 images' in said
    assert 'of 126 keypoints moved by more than 5 % of the box' in said
    assert f'{page}: 0.' in said
    first = json.loads((page.parent / 'label_first/coco.json').read_text())
    assert len(first['images']) == 6

    # The same model twice; of the config's train pipeline nothing is left.
    cfg = Config.fromfile(config)
    cfg.train_dataloader = None
    cfg.dump(str(config))
    options = ['--images', tmp_path / 'photographs', '--out', page]
    said = ' '.join(command('compare.py', config, one, one, *options).split())
    assert '0.0 % of 126 keypoints' in said and 'trains on no target' in said
