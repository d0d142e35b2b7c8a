"""The benchmark of data: it compares like with like, and it runs."""

import importlib.util
import os
import random
import subprocess
import sys

import numpy as np
import pytest
from conftest import ROOT

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != 'linux', reason='memory is that of Linux'),
]

SCRIPT = ROOT / 'benchmarks' / 'data.py'


@pytest.fixture(scope='module')
def benchmark():
    sys.path.insert(0, str(SCRIPT.parent))
    before = os.environ.get('OMP_NUM_THREADS')
    spec = importlib.util.spec_from_file_location('data_benchmark', SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    sys.path.remove(str(SCRIPT.parent))
    os.environ.pop('OMP_NUM_THREADS')
    if before is not None:
        os.environ['OMP_NUM_THREADS'] = before
    return module


@pytest.fixture
def pipelines(benchmark, hand_pair, monkeypatch):
    """Of RHD and H3D with labels, without anything random."""
    monkeypatch.setenv('RHD_ROOT', str(hand_pair))
    monkeypatch.setenv('H3D_ROOT', str(hand_pair))
    pair = benchmark.load_pair('rhd2h3d')
    found = []
    for loader in (pair.labeled_source_loader, pair.labeled_target_loader):
        for transform in loader.dataset.pipeline:
            if transform.type == 'RandomRotatedSubCrop':
                transform.update(rotation=0, area=(1.0, 1.0))
            elif transform.type == 'ColorJitter':
                transform.strength = 0
            elif transform.type == 'RandomGaussianBlur':
                transform.max_radius = 0
        found.append(benchmark.Pipeline(loader, num_images=6))
        still = dict(area=(1.0, 1.0), jitter=0, blur=0)
        found[-1].reference = benchmark.PILPipeline(0, **still)
    return found


@pytest.mark.parametrize('index', [0, 1], ids=['RHD', 'H3D'])
def test_both_pipelines_make_the_same_of_an_image(pipelines, index):
    pipeline = pipelines[index]
    hands = set()
    for info in pipeline.infos:
        hands.add(info.get('hand_type'))
        ours = pipeline.augment(pipeline.decode(dict(info)))
        batch = dict(inputs=[ours['inputs']], data_samples=[ours['data_samples']])
        normalized = pipeline.preprocessor(batch)['inputs'][0]
        image = pipeline.reference.decode(info['img_path'])
        theirs, heatmaps = pipeline.reference.augment(image, info)
        assert theirs.shape == normalized.shape and theirs.dtype == normalized.dtype
        # They round boxes and interpolate differently; a unit is a deviation.
        assert (theirs - normalized).abs().mean() < 0.15
        expected = ours['data_samples'].gt_fields.heatmaps
        assert heatmaps.shape == expected.shape
        assert (heatmaps - expected).abs().mean() < 0.005
        both = (heatmaps.amax((1, 2)) > 0) & (expected.amax((1, 2)) > 0)
        places = [maps.flatten(1).argmax(1)[both] for maps in (heatmaps, expected)]
        rows, columns = (places[0] // 64 - places[1] // 64), places[0] % 64
        assert rows.abs().max() <= 1
        assert (columns - places[1] % 64).abs().max() <= 1
    if index == 0:
        assert hands == {'left', 'right'}


def test_the_references_keypoints_turn_with_its_image(benchmark):
    from PIL import Image

    spot = np.zeros((100, 100, 3), np.uint8)
    spot[30:33, 60:63] = 255
    random.seed(3)
    for _ in range(5):
        reference = benchmark.PILPipeline(rotation=40, jitter=0, blur=0)
        tensor, heatmaps = reference.augment(
            Image.fromarray(spot),
            dict(
                keypoints=np.array([[[61.5, 31.5]]]),
                keypoints_visible=np.ones((1, 1), np.float32),
            ),
        )
        row, column = divmod(int(tensor[0].argmax()), 256)
        y, x = divmod(int(heatmaps[0].argmax()), 64)
        # The spot is ten pixels wide by now.
        assert abs(4 * x - column) < 11 and abs(4 * y - row) < 11


def draws_of(generator, count):
    return [
        (
            generator.permutation(3),
            generator.uniform(0.75, 1.25, 3),
            generator.uniform(0, 0.8),
        )
        for _ in range(count)
    ]


def test_tensors_recolor_as_the_transforms_do(benchmark):
    generator = np.random.default_rng(0)
    # Neighbours are mostly alike, as in photographs; of pure noise a byte in
    # millions is 3 levels off.
    squares = generator.integers(0, 256, (12, 5, 7, 3), np.uint8)
    images = [image.repeat(8, 0).repeat(8, 1) for image in squares]
    images += [np.zeros_like(images[0]), np.full_like(images[0], 255)]
    draws = draws_of(generator, len(images))
    expected, _ = benchmark.recolor_on_cores(images, draws, rounds=0)
    found = benchmark.recolor(*benchmark.as_tensors(images, draws, 'cpu'))
    levels = benchmark.levels_apart(found, expected)
    assert levels.max() <= benchmark.LEVELS and (levels > 1).mean() < 0.01
    changed = np.abs(np.stack(expected).astype(int) - np.stack(images))
    assert changed.mean() > 10, 'nothing was recoloured, so nothing was compared'


def test_recolouring_that_is_another_has_no_figures(benchmark, pipelines, monkeypatch):
    pair = dict(zip(('RHD, labelled', 'H3D, unlabelled'), pipelines))
    monkeypatch.setattr(benchmark, 'recolor', lambda images, *_: images)
    with pytest.raises(SystemExit, match='levels otherwise than the transforms'):
        benchmark.benchmark_recolouring(pair, rounds=1)


def test_tables_are_printed_for_tiny_sizes(tmp_path):
    arguments = ['--images', 4, '--rounds', 2, '--rhd', 40, '--surreal', 60]
    env = {k: v for k, v in os.environ.items() if not k.endswith('_ROOT')}
    done = subprocess.run(
        [sys.executable, SCRIPT, *map(str, arguments)],
        env=dict(env, TMPDIR=str(tmp_path)),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    rows = [line for line in done.stdout.splitlines() if line.startswith('|')]
    for name in ('RHD, labelled', 'H3D, unlabelled', 'SURREAL, labelled'):
        (row,) = (r for r in rows if r.startswith(f'| {name} |'))
        decode, augment, speed = (float(c) for c in row.split('|')[3:6])
        assert speed == pytest.approx(1000 / (decode + augment), rel=0.1)
    (row,) = (r for r in rows if r.startswith('| RHD, 40 images | bytes'))
    samples, _, peak, *_ = (float(cell) for cell in row.split('|')[3:6])
    assert samples == 40 and peak > 100
    # SURREAL's training split is four fifths.
    assert any(r.startswith('| SURREAL, 60 images | objects | 48 ') for r in rows)
    assert not list(tmp_path.iterdir())
