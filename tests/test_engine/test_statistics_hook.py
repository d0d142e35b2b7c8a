"""The statistics hook, with every kind of adversary."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import tiny_model_config
from mmpose.registry import DATASETS, MODELS

from mmregda.engine import DisparityStatisticsHook


@pytest.fixture(scope='module')
def dataset(hand_pair):
    from mmengine.registry import init_default_scope

    init_default_scope('mmpose')
    pipeline = [
        dict(type='LoadWholeImage'),
        dict(type='WholeImageBox'),
        dict(type='GetBBoxCenterScale', padding=1.0),
        dict(type='TopdownAffine', input_size=(64, 64)),
        dict(type='PackPoseInputs'),
    ]
    return DATASETS.build(
        dict(
            type='H3DDataset', data_root=str(hand_pair), split='all', pipeline=pipeline
        )
    )


def statistics_of(adaptation, dataset, thr):
    """A model with heads that see something, and what the hook computes."""
    torch.manual_seed(0)
    model = MODELS.build(tiny_model_config(**adaptation))
    for module in model.modules():
        if getattr(module, 'final_layer', None) is not None:
            torch.nn.init.normal_(module.final_layer.weight, std=0.3)
    loop = SimpleNamespace(dataloader=SimpleNamespace(dataset=dataset))
    runner = SimpleNamespace(
        model=model, val_loop=SimpleNamespace(loops=dict(target=loop))
    )
    hook = DisparityStatisticsHook(num_samples=len(dataset), thr=thr)
    hook.before_train(runner)
    model.train()
    values = {name: float(value) for name, value in hook.compute(model).items()}
    assert model.training
    return model, values


def positions(logits):
    """Argmax (K, 2) of one sample's heatmaps, in parts of their sides."""
    rows, columns = zip(
        *(np.unravel_index(h.argmax(), h.shape) for h in logits.numpy())
    )
    height, width = logits.shape[1:]
    return np.stack([np.divide(columns, width), np.divide(rows, height)], axis=-1)


@pytest.mark.parametrize('method', ['RegDA', 'DisparityDiscrepancy', 'MCD'])
@torch.no_grad()
def test_statistics_are_those_of_a_loop_over_keypoints(method, dataset):
    thr = 0.3
    model, found = statistics_of(dict(type=method), dataset, thr)
    model.eval()
    right, right_adversary, same = [], [], []
    for sample in dataset:
        data = model.data_preprocessor(
            dict(inputs=[sample['inputs']], data_samples=[sample['data_samples']])
        )
        feats = model.extract_feat(data['inputs'])
        f = positions(model.head(feats)[0])
        f_adversary = positions(model.adaptation.adversary(feats)[0])
        # The crop is the whole, square image.
        instances = sample['data_samples'].gt_instances
        truth = instances.keypoints[0] / instances.bboxes[0, 2]
        for k in range(21):
            right.append(np.hypot(*(f[k] - truth[k])) <= thr)
            right_adversary.append(np.hypot(*(f_adversary[k] - truth[k])) <= thr)
            same.append(np.hypot(*(f[k] - f_adversary[k])) <= thr)
    expected = dict(
        accuracy_f=np.mean(right),
        accuracy_adversary=np.mean(right_adversary),
        accuracy_difference=np.mean(right) - np.mean(right_adversary),
        prediction_difference=1 - np.mean(same),
    )
    assert 0.05 < expected['accuracy_f'] < 0.95
    assert 0.05 < expected['prediction_difference'] < 0.95
    assert set(found) == {f'statistics/target/{name}' for name in expected}
    for name, value in expected.items():
        assert found[f'statistics/target/{name}'] == pytest.approx(value, abs=1e-5)


@pytest.mark.parametrize('method', ['DANN', 'DAN', 'SourceOnly'])
def test_method_without_a_second_regressor_logs_the_accuracy_of_the_first(
    method, dataset
):
    _, found = statistics_of(dict(type=method), dataset, thr=0.3)
    assert set(found) == {'statistics/target/accuracy_f'}


@pytest.mark.parametrize('codec', ['MSRAHeatmap', 'UDPHeatmap'])
@pytest.mark.parametrize('input_size', [(96, 64), (64, 128), (192, 256)])
def test_accuracy_is_of_the_longer_side_of_any_input(hand_pair, codec, input_size):
    """f is off by a tenth of the height, and f' by no more than a label is."""
    size = tuple(side // 4 for side in input_size)
    codec = dict(type=codec, input_size=input_size, heatmap_size=size, sigma=2)
    udp = codec['type'] == 'UDPHeatmap'
    pipeline = [
        dict(type='LoadWholeImage'),
        dict(type='WholeImageBox'),
        dict(type='GetBBoxCenterScale', padding=1.3),
        dict(type='TopdownAffine', input_size=input_size, use_udp=udp),
        dict(type='GenerateTarget', encoder=codec),
        dict(type='PackPoseInputs'),
    ]
    dataset = DATASETS.build(
        dict(
            type='H3DDataset', data_root=str(hand_pair), split='all', pipeline=pipeline
        )
    )
    cfg = tiny_model_config(type='RegDA')
    cfg['head'] = dict(cfg['head'], decoder=codec)
    model = MODELS.build(cfg)
    encoded = torch.stack([s['data_samples'].gt_fields.heatmaps for s in dataset])
    shift = round(0.1 * size[1])
    model.extract_feat = lambda inputs: (encoded.roll(shift, dims=-2),)
    model.head.forward = lambda feats: feats[0]
    model.adaptation.adversary.forward = lambda feats: encoded
    loop = SimpleNamespace(dataloader=SimpleNamespace(dataset=dataset))
    runner = SimpleNamespace(
        model=model, val_loop=SimpleNamespace(loops=dict(target=loop))
    )
    off = shift * 4 / max(input_size)
    for thr, right in ((off + 4 / max(input_size), 1), (off - 4 / max(input_size), 0)):
        hook = DisparityStatisticsHook(num_samples=len(dataset), thr=thr)
        hook.before_train(runner)
        found = {
            name.rpartition('/')[2]: float(value)
            for name, value in hook.compute(model).items()
        }
        assert found['accuracy_f'] == right
        assert found['prediction_difference'] == 1 - right
        # Labels are rounded to heatmap pixels, in x and in y.
        assert thr < 3 / max(input_size) or found['accuracy_adversary'] == 1
