"""Anyone's own data: the examples' configs, from the data to predictions."""

import json
import os
import shutil

import numpy as np
import pytest
import torch
from conftest import ROOT, SIZE
from mmengine.config import Config, ConfigDict
from mmengine.runner.checkpoint import CheckpointLoader
from mmpose.registry import DATASETS
from PIL import Image

from mmregda import compat
from mmregda.apis import images_to_predict, predict_images
from mmregda.apis.labelling import write_label_first
from mmregda.datasets import HAND21
from mmregda.engine import stages
from mmregda.visualization import load_scalars

EXAMPLES = ROOT / 'configs' / 'examples'
REAL = ROOT.parent / 'shared' / 'data' / 'real' / 'freihand'


def coco_hands(pair, order=range(21)):
    """The rendered target as MMPose's hand datasets want it, in some order."""
    folder = pair / 'H3D_crop'
    images, annotations = [], []
    for index, entry in enumerate(json.loads((folder / 'annotation.json').read_text())):
        path = str(folder / entry['name'])
        images.append(dict(id=index, file_name=path, width=224, height=224))
        keypoints = [[*entry['keypoint2d'][i], 2] for i in order]
        annotations.append(
            dict(
                id=index,
                image_id=index,
                category_id=1,
                bbox=[20, 20, 180, 180],
                area=180 * 180,
                iscrowd=0,
                segmentation=[],
                keypoints=np.ravel(keypoints).tolist(),
            )
        )
    category = dict(id=1, name='hand')
    return dict(images=images, annotations=annotations, categories=[category])


def write_coco(root, content, *names):
    (root / 'annotations').mkdir(parents=True, exist_ok=True)
    for name in names:
        (root / 'annotations' / f'{name}.json').write_text(json.dumps(content))


@pytest.fixture(scope='module')
def source(hand_pair, tmp_path_factory):
    root = tmp_path_factory.mktemp('source') / 'freihand'
    write_coco(root, coco_hands(hand_pair), 'freihand_train', 'freihand_val')
    return root


@pytest.fixture(scope='module')
def photographs(tmp_path_factory):
    """Whole images of every kind, at two depths."""
    root = tmp_path_factory.mktemp('target') / 'photographs'
    (root / 'holiday').mkdir(parents=True)
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (6, 12, 16, 3), np.uint8)
    scenes = [Image.fromarray(p).resize((160, 120)) for p in pixels]
    exif = Image.Exif()
    exif[0x0112] = 6
    scenes[0].save(root / 'turned.jpg', exif=exif)
    scenes[1].convert('L').save(root / 'grey.png')
    scenes[2].convert('RGBA').save(root / 'transparent.png')
    scenes[3].convert('CMYK').save(root / 'holiday' / 'print.jpg')
    scenes[4].save(root / 'holiday' / 'a.gif', save_all=True, append_images=scenes[:2])
    deep = np.asarray(scenes[5].convert('L')).astype(np.uint16) * 257
    Image.fromarray(deep).save(root / 'holiday' / 'deep.png')
    return root


def shrink(node):
    """Small enough for a test: the images, the batches, no workers."""
    if isinstance(node, (dict, ConfigDict)):
        if 'input_size' in node:
            node['input_size'] = (SIZE, SIZE)
        if 'heatmap_size' in node:
            node['heatmap_size'] = (SIZE // 4, SIZE // 4)
        if 'batch_size' in node:
            node.update(batch_size=4, num_workers=0, persistent_workers=False)
        node = node.values()
    if not isinstance(node, str) and hasattr(node, '__iter__'):
        for child in node:
            shrink(child)


def example(name, work_dir, monkeypatch, **environment):
    for variable, value in environment.items():
        monkeypatch.setenv(variable, str(value))
    cfg = Config.fromfile(EXAMPLES / name)
    cfg.work_dir = str(work_dir)
    cfg.model.backbone = dict(type='ResNet', depth=18, base_channels=8, stem_channels=8)
    cfg.model.head.update(in_channels=64, deconv_out_channels=(16, 16, 16))
    shrink(cfg._cfg_dict)
    cfg.randomness = dict(seed=0)
    cfg.train_cfg.update(max_iters=2, val_interval=2)
    cfg.default_hooks.checkpoint.interval = 2
    return cfg


def photographs_example(work_dir, monkeypatch, source, photographs, **environment):
    return example(
        'regda_res50_freihand2photographs.py',
        work_dir,
        monkeypatch,
        FREIHAND=source,
        IMAGES=photographs,
        **environment,
    )


@pytest.fixture(scope='module')
def trained(source, photographs, tmp_path_factory):
    """Config file, checkpoint and metrics after two iterations."""
    # Sums depend on how they are divided, and this precedes what each test sets.
    torch.set_num_threads(2)
    work_dir = tmp_path_factory.mktemp('own')
    with pytest.MonkeyPatch.context() as monkeypatch:
        cfg = photographs_example(work_dir, monkeypatch, source, photographs)
    statistics = dict(type='DisparityStatisticsHook', interval=1, num_samples=2)
    cfg.custom_hooks.append(statistics)
    cfg.dump(str(work_dir / 'config.py'))
    metrics = stages.train(cfg)
    return work_dir / 'config.py', work_dir / 'iter_2.pth', metrics


def weights_of(work_dir):
    path = str(work_dir / 'iter_2.pth')
    return CheckpointLoader.load_checkpoint(path, map_location='cpu')['state_dict']


def test_example_adapts_to_a_folder_and_selects_on_the_source(trained):
    config, checkpoint, metrics = trained
    assert checkpoint.is_file()
    assert 0 <= metrics['source/AUC'] <= 1
    assert not [name for name in metrics if name.startswith('target/')]
    assert list(config.parent.glob('best_source_AUC_*.pth'))


def test_images_without_labels_are_drawn_while_training(trained):
    config, _, _ = trained
    drawn = sorted(config.parent.glob('*/vis_data/vis_image/target_*.png'))
    names = [path.name.rsplit('_', 1)[0] for path in drawn]
    order = ['grey', 'a', 'deep', 'print', 'transparent', 'turned']
    assert names == [f'target_{index}_{stem}' for index, stem in enumerate(order)]
    for path in drawn:
        with Image.open(path) as img:
            expected = (240, 160) if 'turned' in path.name else (320, 120)
            assert img.size == expected  # upright: the image, and its prediction


def test_statistics_of_images_without_labels_are_those_that_need_none(trained):
    scalars = load_scalars(str(trained[0].parent))
    found = {
        domain: {
            name.rpartition('/')[2]
            for name in scalars
            if name.startswith(f'statistics/{domain}/')
        }
        for domain in ('source', 'target')
    }
    accuracies = {'accuracy_f', 'accuracy_adversary', 'accuracy_difference'}
    assert found['target'] == {'prediction_difference'}
    assert found['source'] == {'prediction_difference', *accuracies}
    steps, values = scalars['statistics/target/prediction_difference']
    assert steps == [1, 2] and all(0 <= value <= 1 for value in values)


def test_nothing_but_the_images_changes_training(
    source, photographs, tmp_path, monkeypatch, trained
):
    """Neither what lies beside them, nor whether any are looked at."""
    cfg = photographs_example(tmp_path, monkeypatch, source, photographs)
    del cfg.val_dataloader['target'], cfg.val_evaluator['target']
    names = ['annotation.json', 'turned.json', 'holiday/boxes.csv']
    # In place: the paths are metainfo too.
    try:
        for name in names:
            content = dict(keypoints=[[1, 2]] * 21, name='turned.jpg')
            (photographs / name).write_text(json.dumps(content))
        metrics = stages.train(cfg)
    finally:
        for name in names:
            (photographs / name).unlink()
    assert metrics == trained[2]
    assert_same_weights(weights_of(tmp_path), weights_of(trained[1].parent))


def assert_same_weights(one, other):
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        assert torch.equal(tensor, other[name]), name


def boxes_with(labels):
    names = ['turned.jpg', 'grey.png', 'holiday/print.jpg', 'holiday/deep.png']
    return dict(
        images=[dict(id=i, file_name=name) for i, name in enumerate(names)],
        annotations=[
            dict(id=10 + i, image_id=i % 4, bbox=[10 + i, 5, 60, 80 + i], **labels(i))
            for i in range(6)
        ],
    )


def test_labels_in_the_boxes_file_change_no_weight(
    source, photographs, tmp_path, monkeypatch, trained
):
    rng = np.random.default_rng(0)
    found = []
    for run, labels in enumerate(
        [
            lambda i: {},
            lambda i: dict(
                keypoints=rng.uniform(0, 99, 63).tolist(), num_keypoints=i, area=i
            ),
        ]
    ):
        path = tmp_path / 'boxes.json'
        path.write_text(json.dumps(boxes_with(labels)))
        cfg = photographs_example(
            tmp_path / str(run), monkeypatch, source, photographs, BOXES=path
        )
        assert len(DATASETS.build(cfg.train_dataloader.target.dataset)) == 6
        stages.train(cfg)
        found.append(weights_of(tmp_path / str(run)))
    assert_same_weights(*found)
    # It is the boxes that training saw, not the whole images.
    whole = weights_of(trained[1].parent)
    assert any(not torch.equal(found[0][name], whole[name]) for name in whole)


def direct_predictions(config, checkpoint):
    """By image: the model's keypoints on each, without MMPose's inferencer."""
    from mmengine.dataset import pseudo_collate
    from mmpose.apis import init_model

    model = init_model(str(config), str(checkpoint), device='cpu')
    dataset = DATASETS.build(model.cfg.test_dataloader.dataset)
    found = {}
    for sample in dataset:
        with torch.no_grad():
            (result,) = model.test_step(pseudo_collate([sample]))
        found[result.img_path] = result.pred_instances.keypoints
    return found


@pytest.mark.parametrize('how', ['MMPoseInferencer', 'inference_topdown'])
def test_the_adapted_checkpoint_drops_into_mmposes_inference(
    trained, photographs, tmp_path, how, monkeypatch
):
    from mmpose.apis import MMPoseInferencer, inference_topdown, init_model

    # As the tools do; the variable is set here so that it goes away again.
    monkeypatch.setenv('TORCH_FORCE_WEIGHTS_ONLY_LOAD', '1')
    compat.refuse_unsafe_checkpoints()
    config, checkpoint, _ = trained
    expected = direct_predictions(config, checkpoint)
    assert len(expected) == 6
    flat = {path: k for path, k in expected.items() if 'holiday' not in path}
    if how == 'MMPoseInferencer':
        out = tmp_path / 'predictions'
        inferencer = MMPoseInferencer(
            str(config), str(checkpoint), det_model='whole_image', device='cpu'
        )
        list(inferencer(str(photographs), out_dir=str(out)))
        pictures = os.listdir(out / 'visualizations')
        assert len(pictures) == len(flat) == 3
        found = {
            path: [
                instance['keypoints']
                for instance in json.loads(
                    (
                        out / f'predictions/{os.path.basename(path)[:-4]}.json'
                    ).read_text()
                )
            ]
            for path in flat
        }
    else:
        model = init_model(str(config), str(checkpoint), device='cpu')
        # A box in place of the size that the file has before it is turned.
        sizes = {path: (120, 160) if 'turned' in path else (160, 120) for path in flat}
        found = {
            path: inference_topdown(model, path, [[0, 0, *size]])[
                0
            ].pred_instances.keypoints
            for path, size in sizes.items()
        }
    for path, keypoints in flat.items():
        np.testing.assert_allclose(found[path], keypoints, atol=1e-3, err_msg=path)


def test_the_target_needs_no_wrapper_and_carries_no_labels(
    source, photographs, tmp_path, monkeypatch
):
    cfg = photographs_example(tmp_path, monkeypatch, source, photographs)
    for sample in DATASETS.build(cfg.train_dataloader.target.dataset):
        assert sample['inputs'].shape == (3, SIZE, SIZE)
        assert 'gt_fields' not in sample['data_samples']
        assert 'keypoints' not in sample['data_samples'].gt_instances


@pytest.mark.skipif(not REAL.is_dir(), reason=f'no real FreiHAND images at {REAL}')
def test_real_freihand_is_a_source(photographs, tmp_path, monkeypatch):
    root = tmp_path / 'freihand'
    (root / 'annotations').mkdir(parents=True)
    for path in REAL.glob('*.jpg'):
        shutil.copy(path, root)
    for split in ('train', 'val'):
        name = f'freihand_{split}.json'
        shutil.copy(REAL / 'test_freihand.json', root / 'annotations' / name)
    cfg = photographs_example(tmp_path / 'run', monkeypatch, root, photographs)
    assert len(DATASETS.build(cfg.train_dataloader.source.dataset)) == 8
    metrics = stages.train(cfg)
    assert 0 <= metrics['source/AUC'] <= 1
    assert (tmp_path / 'run' / 'iter_2.pth').is_file()


# Predictions, corrected


@pytest.fixture(scope='module')
def corrected(trained, tmp_path_factory):
    """What labelling tools are given; nobody had to correct anything."""
    config, checkpoint, _ = trained
    cfg, folder = Config.fromfile(config), tmp_path_factory.mktemp('first')
    # Inside of the images, at whose border MMPose cuts off a pixel more.
    (folder / 'boxes.json').write_text(json.dumps(boxes_with(lambda i: {})))
    root = cfg.train_dataloader.target.dataset.root
    dataset = images_to_predict(cfg, root, str(folder / 'boxes.json'))
    found = predict_images(cfg, str(checkpoint), dataset, device='cpu')
    doubt = [1 - annotation['score'] for annotation in found['annotations']]
    names = write_label_first(str(folder), found, doubt, dataset.root, num=4)
    assert len(set(names)) == 4
    return folder / 'coco.json'


def test_corrected_predictions_are_a_validation_set(
    source, photographs, tmp_path, monkeypatch, trained, corrected
):
    cfg = photographs_example(
        tmp_path, monkeypatch, source, photographs, LABELS=corrected
    )
    metrics = stages.evaluate(cfg, str(trained[1]))
    # Of the model that has predicted them.
    assert metrics['target/PCK'] == 1 and metrics['target/EPE'] < 0.01
    assert metrics['source/PCK'] < 1


def test_corrected_predictions_are_a_few_labels_to_learn_from(
    source, photographs, tmp_path, monkeypatch, corrected
):
    cfg = photographs_example(tmp_path, monkeypatch, source, photographs, FEW=corrected)
    assert len(DATASETS.build(cfg.train_dataloader.labeled_target.dataset)) == 6
    cfg.model.adaptation = dict(type='FewLabels')
    stages.train(cfg)
    assert (tmp_path / 'iter_2.pth').is_file()


# Keypoints in another order

# RHD's published order: each finger from its tip.
FROM_THE_TIP = [0] + [root + 3 - i for root in (1, 5, 9, 13, 17) for i in range(4)]


@pytest.fixture
def two_orders(hand_pair, source, tmp_path, monkeypatch):
    rhd = tmp_path / 'rhd'
    content = coco_hands(hand_pair, FROM_THE_TIP)
    write_coco(rhd, content, 'rhd_train', 'rhd_test')
    target = tmp_path / 'freihand'
    shutil.copytree(source, target)
    annotations = target / 'annotations'
    shutil.copy(annotations / 'freihand_val.json', annotations / 'freihand_test.json')
    return example(
        'regda_res50_rhd2freihand.py',
        tmp_path / 'run',
        monkeypatch,
        RHD=rhd,
        FREIHAND=target,
    )


def test_converted_source_has_its_keypoints_where_the_target_has_them(
    hand_pair, two_orders
):
    entries = json.loads((hand_pair / 'H3D_crop' / 'annotation.json').read_text())
    domains = {
        domain: DATASETS.build(loader.dataset)
        for domain, loader in two_orders.val_dataloader.items()
    }
    names = [keypoint['name'] for keypoint in HAND21['keypoint_info'].values()]
    for dataset in domains.values():
        # FreiHAND calls the index finger forefinger and the little one pinky.
        own = [dataset.metainfo['keypoint_id2name'][i] for i in range(21)]
        assert [name[-1] for name in own] == [name[-1] for name in names]
    for i in (0, 5):
        truth = np.array(entries[i]['keypoint2d'])
        for dataset in domains.values():
            instances = dataset[i]['data_samples'].gt_instances
            np.testing.assert_allclose(instances.keypoints[0], truth, atol=1e-3)
    unconverted = domains['source'].get_data_info(0)['keypoints'][0]
    assert not np.allclose(unconverted, entries[0]['keypoint2d'], atol=1)


def test_example_with_converted_keypoints_trains(two_orders):
    metrics = stages.train(two_orders)
    for domain in ('source', 'target'):
        assert 0 <= metrics[f'{domain}/AUC'] <= 1
    assert metrics.keys() >= {'source/PCK', 'target/PCK', 'source/EPE', 'target/EPE'}
