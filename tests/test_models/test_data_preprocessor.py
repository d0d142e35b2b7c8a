"""Batches reach the model as MMPose's own preprocessor hands them over."""

import copy

import numpy as np
import pytest
import torch
from conftest import random_batch, tiny_model_config
from mmpose.registry import MODELS
from mmpose.structures import MultilevelPixelData

STACKED = dict(list=list, stacked=torch.stack)


def build(name, **changes):
    cfg = dict(tiny_model_config()['data_preprocessor'], type=name)
    return MODELS.build(dict(cfg, **changes))


def everything_in(element):
    """All fields, of what is within as well, by their path."""
    found = {}
    for name, value in element.all_items():
        if hasattr(value, 'all_items'):
            found.update({f'{name}.{k}': v for k, v in everything_in(value).items()})
        else:
            found[name] = value
    return found


def assert_same(batch, other):
    assert torch.equal(batch['inputs'], other['inputs'])
    assert len(batch['data_samples']) == len(other['data_samples'])
    for sample, expected in zip(batch['data_samples'], other['data_samples']):
        assert type(sample) is type(expected)
        assert set(sample.metainfo_keys()) == set(expected.metainfo_keys())
        assert set(sample.keys()) == set(expected.keys())
        found, expected = everything_in(sample), everything_in(expected)
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            assert type(found[name]) is type(value)
            assert np.array_equal(found[name], value)


ORDERS = [{}, dict(bgr_to_rgb=False), dict(bgr_to_rgb=False, rgb_to_bgr=True)]


@pytest.mark.parametrize('order', ORDERS)
@pytest.mark.parametrize('labeled', [True, False])
@pytest.mark.parametrize('form', STACKED)
def test_what_comes_out_is_what_mmpose_makes_of_it(form, labeled, order):
    batch = random_batch(3, 5, seed=0, labeled=labeled)
    batch['inputs'] = STACKED[form](batch['inputs'])
    for training in (True, False):
        ours, theirs = (
            build(name, **order)(copy.deepcopy(batch), training)
            for name in ('PromptPoseDataPreprocessor', 'PoseDataPreprocessor')
        )
        assert_same(ours, theirs)


@pytest.mark.parametrize('device', ['cpu', 'meta'])
def test_labels_of_several_levels_are_moved_as_mmpose_moves_them(device):
    batch = random_batch(2, 5, seed=0)
    for sample in batch['data_samples']:
        maps = sample.gt_fields.heatmaps
        sample.gt_fields = MultilevelPixelData(heatmaps=[maps, maps[:, ::2, ::2]])
    ours, theirs = (
        build(name).to(device)(copy.deepcopy(batch), True)['data_samples']
        for name in ('PromptPoseDataPreprocessor', 'PoseDataPreprocessor')
    )
    for sample, expected in zip(ours, theirs):
        assert type(sample.gt_fields) is MultilevelPixelData
        assert sample.gt_fields.shape == expected.gt_fields.shape
        levels = sample.gt_fields.levels()
        for held in (sample.gt_fields.heatmaps, [level.heatmaps for level in levels]):
            assert {maps.device.type for maps in held} == {device}
            if device == 'cpu':
                for maps, other in zip(held, expected.gt_fields.heatmaps):
                    assert torch.equal(maps, other)


def test_images_of_several_sizes_are_padded_as_mmpose_pads_them():
    batch = random_batch(2, 5, seed=0)
    batch['inputs'][1] = batch['inputs'][1][:, :40]
    ours, theirs = (
        build(name, pad_size_divisor=32)(copy.deepcopy(batch), True)
        for name in ('PromptPoseDataPreprocessor', 'PoseDataPreprocessor')
    )
    assert_same(ours, theirs)


def test_batch_itself_stays_as_it_was():
    batch = random_batch(2, 5, seed=0)
    before = copy.deepcopy(batch)
    moved = build('PromptPoseDataPreprocessor').to('meta')(batch, training=True)
    for sample, original in zip(moved['data_samples'], batch['data_samples']):
        assert sample.gt_fields.heatmaps.is_meta
        sample.set_metainfo(dict(later=1))
        sample.pred_instances = copy.copy(sample.gt_instances)
        sample.gt_instances.later = sample.gt_instances.bboxes
        assert not original.gt_fields.heatmaps.is_meta
    for sample, original in zip(batch['data_samples'], before['data_samples']):
        assert everything_in(sample).keys() == everything_in(original).keys()
        assert set(sample.keys()) == set(original.keys())
    for image, original in zip(batch['inputs'], before['inputs']):
        assert torch.equal(image, original)
