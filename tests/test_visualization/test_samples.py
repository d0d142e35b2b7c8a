"""What training sees, against what it was made from."""

import cv2
import numpy as np
import pytest
import torch
from conftest import CODEC, ROOT, SIZE, tiny_config
from mmengine.config import Config
from mmengine.structures import InstanceData, PixelData
from mmpose.registry import KEYPOINT_CODECS
from mmpose.structures import PoseDataSample

from mmregda import InputError
from mmregda.datasets import RHDDataset
from mmregda.visualization import (
    TrainingSample,
    draw_samples,
    write_sample_sheet,
)
from mmregda.visualization.samples import encoded_keypoints

POINTS = np.array([[[10.0, 20.0], [40.0, 33.0], [60.0, 5.0]]], dtype=np.float32)
WEIGHTS = np.array([[1.0, 0.0, 1.0]], dtype=np.float32)


def packed(encoder):
    """A sample whose targets are of an encoder of MMPose's."""
    codec = KEYPOINT_CODECS.build(dict(encoder, input_size=(SIZE, SIZE)))
    encoded = codec.encode(POINTS.copy(), WEIGHTS.copy())
    sample = PoseDataSample()
    if 'heatmaps' in encoded:
        sample.gt_fields = PixelData(heatmaps=torch.from_numpy(encoded['heatmaps']))
    labels = InstanceData()
    for key in codec.label_mapping_table:
        labels.set_field(torch.from_numpy(np.asarray(encoded[key])), key)
    sample.gt_instance_labels = labels
    return sample


@pytest.mark.parametrize(
    'encoder, cell',
    [
        (dict(type='MSRAHeatmap', heatmap_size=(16, 16), sigma=1), 4),
        (dict(type='UDPHeatmap', heatmap_size=(16, 16), sigma=1), 4),
        (dict(type='SimCCLabel', simcc_split_ratio=2.0, sigma=3.0), 0.5),
    ],
    ids=lambda value: value.get('type') if isinstance(value, dict) else '',
)
def test_targets_are_read_where_they_were_written(encoder, cell):
    keypoints, present = encoded_keypoints(packed(encoder), (SIZE, SIZE), 3)
    np.testing.assert_array_equal(present, [True, False, True])
    np.testing.assert_allclose(keypoints[present], POINTS[0, present], atol=cell)


def test_a_target_of_no_known_kind_is_not_read():
    assert encoded_keypoints(PoseDataSample(), (SIZE, SIZE)) is None


def by_name(samples, data_root, split='train'):
    """The annotation of each drawn sample, by its caption and box."""
    dataset = RHDDataset(data_root=str(data_root), split=split)
    infos = [dataset.get_data_info(i) for i in range(len(dataset))]
    names = ['/'.join(info['img_path'].split('/')[-2:]) for info in infos]
    return [
        [info for info, name in zip(infos, names) if name == s.caption] for s in samples
    ]


def plain(cfg):
    """Without what is random, so that a sample can be made a second time."""
    for loader in cfg.train_dataloader.values():
        loader.dataset.pipeline = [
            transform
            for transform in loader.dataset.pipeline
            if not transform.type.startswith(('Random', 'Color'))
        ]
    return cfg


def test_source_is_drawn_as_the_network_gets_it(hand_pair):
    cfg = plain(tiny_config(hand_pair, 'unused'))
    samples = draw_samples(cfg, num=5)
    assert list(samples) == ['source', 'target']
    for sample, infos in zip(samples['source'], by_name(samples['source'], hand_pair)):
        assert sample.image.shape == (SIZE, SIZE, 3)
        distances = []
        for info in infos:  # An image may have two hands.
            x1, y1, x2, y2 = info['bbox'][0]
            expected = (info['keypoints'][0] - (x1, y1)) * SIZE / (x2 - x1)
            if info['hand_type'] == 'right':
                # The middle of the mirrored image is that of the image.
                expected[:, 0] = SIZE - expected[:, 0]
            seen = info['keypoints_visible'][0] > 0
            if (seen == sample.visible).all():
                distances.append(np.abs(sample.keypoints - expected)[seen].max())
        # A cell of the heatmap is four pixels, and is rounded to.
        assert min(distances) < 3.5


def test_target_is_drawn_without_labels_in_its_own_colours(hand_pair):
    cfg = plain(tiny_config(hand_pair, 'unused'))
    for sample in draw_samples(cfg, num=4)['target']:
        assert sample.keypoints is None
        file = hand_pair / 'H3D_crop' / sample.caption
        whole = cv2.cvtColor(cv2.imread(str(file)), cv2.COLOR_BGR2RGB)
        small = cv2.resize(whole, (SIZE, SIZE), interpolation=cv2.INTER_AREA)
        as_rgb = np.abs(sample.image.astype(float) - small).mean()
        as_bgr = np.abs(sample.image[..., ::-1].astype(float) - small).mean()
        assert as_rgb < 25 and as_rgb < as_bgr


def test_a_wrong_encoder_shows(hand_pair):
    right = draw_samples(tiny_config(hand_pair, 'unused'), num=3)['source']
    cfg = tiny_config(hand_pair, 'unused')
    for transform in cfg.train_dataloader.source.dataset.pipeline:
        if transform.type == 'GenerateTarget':
            # Made for an input of twice the side.
            transform.encoder = dict(CODEC, input_size=(2 * SIZE, 2 * SIZE))
    wrong = draw_samples(cfg, num=3)['source']
    for good, bad in zip(right, wrong):
        np.testing.assert_array_equal(good.image, bad.image)
        both = good.visible & bad.visible
        # At the border may be the flank of a Gaussian from beyond.
        both &= ((good.keypoints > 0) & (good.keypoints < SIZE - 4)).all(axis=1)
        assert both.any()
        # Drawn where the network would learn them: at half their coordinates.
        np.testing.assert_allclose(
            bad.keypoints[both], good.keypoints[both] / 2, atol=4.01
        )


def test_the_seed_decides_what_is_drawn(hand_pair):
    cfg = tiny_config(hand_pair, 'unused')
    first, again, other = (draw_samples(cfg, num=3, seed=s) for s in (1, 1, 2))
    for domain in ('source', 'target'):
        for a, b in zip(first[domain], again[domain]):
            np.testing.assert_array_equal(a.image, b.image)
        assert any(
            (a.image != b.image).any() for a, b in zip(first[domain], other[domain])
        )


def test_before_augmentation_is_the_file_with_its_annotation(hand_pair):
    cfg = tiny_config(hand_pair, 'unused')
    samples = draw_samples(cfg, num=4, stage='before')
    matched = by_name(samples['source'], hand_pair)
    for sample, infos in zip(samples['source'], matched):
        whole = cv2.imread(infos[0]['img_path'])[..., ::-1]
        np.testing.assert_array_equal(sample.image, whole)
        assert any(
            (sample.box == info['bbox'][0]).all()
            and (sample.keypoints == info['keypoints'][0]).all()
            for info in infos
        )
    assert all(s.keypoints is None for s in samples['target'])


def test_configs_without_a_target_have_one_column(hand_pair):
    cfg = tiny_config(hand_pair, 'unused')
    cfg.train_dataloader.target = None
    assert list(draw_samples(cfg, num=2)) == ['source']
    cfg.train_dataloader = cfg.train_dataloader.source
    samples = draw_samples(cfg, num=1000)
    assert list(samples) == ['train']
    # Each sample once at most.
    images = {s.image.tobytes() for s in samples['train']}
    assert len(images) == len(samples['train']) > 10


def test_each_view_of_the_target_has_its_column(hand_pair):
    cfg = plain(tiny_config(hand_pair, 'unused'))
    (alone,) = draw_samples(cfg, num=1)['target']
    dataset = cfg.train_dataloader.target.dataset
    flip = dict(type='RandomFlip', prob=1.0)
    packed = dataset.pipeline[-2:]
    dataset.update(
        pipeline=dataset.pipeline[:-2],
        views=dict(teacher=packed, student=[*packed[:-1], flip, packed[-1]]),
    )
    samples = draw_samples(cfg, num=3)
    assert list(samples) == ['source', 'target teacher', 'target student']
    np.testing.assert_array_equal(samples['target teacher'][0].image, alone.image)
    for teacher, student in zip(samples['target teacher'], samples['target student']):
        assert teacher.caption == student.caption
        assert teacher.keypoints is student.keypoints is None
        np.testing.assert_array_equal(teacher.image, student.image[:, ::-1])
    before = draw_samples(cfg, num=3, stage='before')
    assert list(before) == ['source', 'target']


@pytest.mark.parametrize('changes', [dict(train_dataloader=None), dict()])
def test_a_config_without_training_data_is_refused(changes):
    with pytest.raises(InputError, match='no train_dataloader'):
        draw_samples(Config(changes))


def test_data_that_mmpose_cannot_read_is_named(tmp_path):
    coco = dict(type='CocoDataset', ann_file=str(tmp_path / 'none.json'))
    with pytest.raises(InputError, match='annotation file .*none.json'):
        draw_samples(dict(train_dataloader=dict(source=dict(dataset=coco))))


def test_an_unknown_stage_is_refused():
    with pytest.raises(InputError, match='stage'):
        draw_samples(Config.fromfile(ROOT / 'configs/oracle_h3d.py'), stage='during')


def colored(color, count, labeled):
    metainfo = RHDDataset._load_metainfo()
    metainfo = dict(metainfo, num_keypoints=21) if labeled else {}
    generator = np.random.default_rng(0)
    return [
        TrainingSample(
            np.full((64, 64, 3), color, np.uint8),
            f'folder/{index}.png',
            metainfo,
            generator.uniform(10, 50, (21, 2)) if labeled else None,
            np.arange(21) % 2 == 0 if labeled else None,
        )
        for index in range(count)
    ]


def blocks(path, color):
    """Number of images of a colour, counted along rows and columns."""
    image = cv2.imread(str(path))[..., ::-1].astype(int)
    found = np.abs(image - color).max(axis=-1) < 12
    counts = []
    for axis in (0, 1):
        line = found.sum(axis=axis) > 20
        counts.append(int((line[1:] & ~line[:-1]).sum()))
    return tuple(counts)


def test_a_sheet_has_both_domains_side_by_side(tmp_path):
    red, green = (250, 30, 30), (30, 250, 30)
    samples = dict(source=colored(red, 3, True), target=colored(green, 4, False))
    path = tmp_path / 'folder' / 'sheet.png'
    write_sample_sheet(str(path), samples)
    assert blocks(path, red) == (2, 2)
    assert blocks(path, green) == (2, 2)
