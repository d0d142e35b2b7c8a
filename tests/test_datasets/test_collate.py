"""A batch arrives from a worker as it was sent, in one piece."""

from multiprocessing.reduction import ForkingPickler

import numpy as np
import pytest
import torch
from conftest import random_batch
from mmengine.dataset import pseudo_collate
from torch.utils.data import DataLoader

from mmregda.datasets.collate import PackingCollate

TENSORS = [
    torch.arange(7, dtype=torch.uint8),
    torch.randn(3, 5),
    torch.randn(4, 6, dtype=torch.float64).t()[1:, ::2],
    torch.tensor(5),
    torch.zeros(0, 3),
    torch.tensor([True, False]),
    torch.randn(2, 3).bfloat16(),
    torch.randn(1, 2, 3, 4).to(memory_format=torch.channels_last),
]


class Samples(torch.utils.data.Dataset):
    """Of MMPose's kind, with a label that only some have."""

    def __len__(self):
        return 6

    def __getitem__(self, index):
        batch = random_batch(1, 4, seed=index, labeled=index % 2 == 0)
        (image,), (sample,) = batch['inputs'], batch['data_samples']
        sample.set_metainfo(dict(number=index, shape=np.array([index, 1])))
        return dict(inputs=image, data_samples=sample)


def test_every_kind_of_tensor_comes_back():
    content = dict(tensors=TENSORS, again=TENSORS[1], text='a', array=np.eye(2))
    sent = PackingCollate(lambda samples: samples)(content)
    found = ForkingPickler.loads(ForkingPickler.dumps(sent))
    assert set(found) == set(content) and found['text'] == 'a'
    assert np.array_equal(found['array'], np.eye(2))
    assert torch.equal(found['again'], TENSORS[1])
    for tensor, expected in zip(found['tensors'], TENSORS):
        assert tensor.dtype == expected.dtype and tensor.shape == expected.shape
        assert torch.equal(tensor, expected)


def test_batch_for_a_gpu_is_pinned_where_it_arrives(monkeypatch):
    pinned = []

    def pin_memory(tensor):
        pinned.append(tensor)
        return tensor.clone()

    monkeypatch.setattr(torch.Tensor, 'pin_memory', pin_memory)
    for pin in (False, True):
        sent = PackingCollate(lambda samples: samples, pin)(TENSORS)
        found = ForkingPickler.loads(ForkingPickler.dumps(sent))
        assert all(map(torch.equal, found, TENSORS))
        assert len(pinned) == pin
        # PyTorch keeps pinned memory for a copy that is under way by its storage.
        assert len({tensor.untyped_storage()._cdata for tensor in found}) == 1


@pytest.mark.parametrize('num_workers', [1, 2])
def test_batches_of_workers_are_those_without(num_workers):
    collate = PackingCollate(pseudo_collate)
    loader = DataLoader(Samples(), 3, num_workers=num_workers, collate_fn=collate)
    plain = DataLoader(Samples(), 3, collate_fn=pseudo_collate)
    for batch, expected in zip(loader, plain):
        assert list(batch) == ['inputs', 'data_samples']
        assert all(map(torch.equal, batch['inputs'], expected['inputs']))
        for sample, other in zip(batch['data_samples'], expected['data_samples']):
            assert sample.number == other.number
            assert np.array_equal(sample.shape, other.shape)
            assert ('gt_fields' in sample) == ('gt_fields' in other)
            if 'gt_fields' in other:
                maps, expected_maps = sample.gt_fields, other.gt_fields
                assert torch.equal(maps.heatmaps, expected_maps.heatmaps)
                weights = sample.gt_instance_labels.keypoint_weights
                expected_weights = other.gt_instance_labels.keypoint_weights
                assert torch.equal(weights, expected_weights)


def test_one_tensor_is_sent(monkeypatch):
    batch = pseudo_collate([Samples()[i] for i in range(6)])
    sent = []
    dispatch = ForkingPickler._extra_reducers
    reduce_tensor = dispatch[torch.Tensor]

    def count(tensor):
        sent.append(tensor)
        return reduce_tensor(tensor)

    monkeypatch.setitem(dispatch, torch.Tensor, count)
    ForkingPickler.dumps(batch)
    assert len(sent) == 6 + 2 * 3
    sent.clear()
    ForkingPickler.dumps(PackingCollate(lambda samples: samples)(batch))
    assert len(sent) == 1
