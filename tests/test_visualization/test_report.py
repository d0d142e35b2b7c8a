"""The figure, its curves and its predictions."""

import json

import cv2
import numpy as np
import pytest
from conftest import tiny_model_config
from mmengine.config import ConfigDict
from mmengine.runner import save_checkpoint
from mmpose.registry import DATASETS, MODELS

from mmregda.visualization import (
    DrawnSample,
    load_scalars,
    predict_samples,
    write_report,
)


def test_scalars_are_those_of_the_latest_run(tmp_path):
    for run, value in (('20260101_000000', 0.1), ('20260102_000000', 0.7)):
        folder = tmp_path / run / 'vis_data'
        folder.mkdir(parents=True)
        lines = [
            dict(accuracy=value, step=50),
            dict(loss=1.5, note='text', step=50),
            dict(accuracy=value + 0.1, step=100),
            dict(unplaced=1.0),
        ]
        text = '\n'.join(json.dumps(line) for line in lines)
        (folder / 'scalars.json').write_text(text)
    scalars = load_scalars(str(tmp_path))
    assert scalars['accuracy'] == ([50, 100], [0.7, pytest.approx(0.8)])
    assert scalars['loss'] == ([50], [1.5])
    assert set(scalars) == {'accuracy', 'loss'}


def test_no_log_gives_no_scalars(tmp_path):
    assert load_scalars(str(tmp_path)) == {}


def test_drawn_keypoints_lie_in_the_networks_input(hand_pair, tmp_path):
    pipeline = [
        dict(type='LoadWholeImage'),
        dict(type='WholeImageBox'),
        dict(type='GetBBoxCenterScale', padding=1.0),
        dict(type='TopdownAffine', input_size=(64, 64)),
        dict(type='PackPoseInputs'),
    ]
    dataset = DATASETS.build(
        dict(
            type='H3DDataset', data_root=str(hand_pair), split='all', pipeline=pipeline
        )
    )
    cfg = ConfigDict(tiny_model_config())
    checkpoint = tmp_path / 'weights.pth'
    save_checkpoint(dict(state_dict=MODELS.build(cfg).state_dict()), str(checkpoint))
    samples = predict_samples(cfg, str(checkpoint), dataset, [0, 3])
    assert len(samples) == 2
    for sample, index in zip(samples, (0, 3)):
        info = dataset.get_data_info(index)
        whole = cv2.imread(info['img_path'])
        # The crop is the whole image: coordinates shrink with it.
        expected = info['keypoints'][0] * 64 / whole.shape[0]
        np.testing.assert_allclose(sample.keypoints, expected, atol=1e-3)
        small = cv2.resize(whole, (64, 64), interpolation=cv2.INTER_AREA)[..., ::-1]
        assert np.abs(sample.image.astype(float) - small).mean() < 25
        assert sample.predicted.shape == (21, 2)


def test_report_shows_every_sample_under_every_method(tmp_path):
    from mmregda.datasets import RHDDataset

    metainfo = RHDDataset._load_metainfo()
    generator = np.random.default_rng(0)

    def sample(color):
        points = generator.uniform(10, 50, (21, 2))
        image = np.full((64, 64, 3), color, dtype=np.uint8)
        return DrawnSample(image, points, points + 3)

    colors = [(250, 30, 30), (30, 250, 30), (30, 30, 250)]
    methods = {'before': [sample(c) for c in colors]}
    methods['after'] = [sample(c) for c in colors]
    steps = [50, 100]
    curves = dict(
        before={'statistics/target/accuracy_f': (steps, [0.2, 0.3])},
        after={
            'statistics/target/accuracy_f': (steps, [0.2, 0.5]),
            'statistics/target/prediction_difference': (steps, [0.4, 0.1]),
        },
    )
    path = tmp_path / 'report.png'
    write_report(str(path), 'title', methods, curves, metainfo)
    image = cv2.imread(str(path))[..., ::-1].astype(int)
    assert image.shape[0] > 300 and image.shape[1] > 600
    for color in colors:
        columns = (np.abs(image - color).max(axis=-1) < 12).sum(axis=0) > 20
        starts = np.flatnonzero(columns[1:] & ~columns[:-1])
        # Ground truth and two methods, side by side.
        assert len(starts) == 3
    assert not list(tmp_path.glob('*.partial'))
