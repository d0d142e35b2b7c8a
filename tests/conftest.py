"""What the tests share: a tiny model, a tiny pair of domains."""

from __future__ import annotations

# ruff: noqa: E402, I001
import mmregda  # noqa: F401 Before torch: it sets how threads wait.

import gc
import inspect
import json
import runpy
import sys
from pathlib import Path
from typing import Callable, Sequence, Union

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.logging import MessageHub, MMLogger
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData, PixelData
from mmengine.visualization import Visualizer
from mmpose.registry import KEYPOINT_CODECS, MODELS
from mmpose.structures import PoseDataSample
from mmpose.visualization import PoseLocalVisualizer
from PIL import Image

# Its first import writes a cache, which a second process would read half written:
# here it is done before there are several.
from yapf.yapflib import yapf_api

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope='session', autouse=True)
def _little_garbage():
    # MMEngine collects it with each dataset that it builds, and looks through all
    # that is imported.
    gc.freeze()


@pytest.fixture(autouse=True)
def _mmpose_scope():
    init_default_scope('mmpose')
    yield
    # MMEngine takes runs of one name that begin within one second for one run, and
    # goes on with the last logger, whose console was this test's.
    for shared in (MMLogger, MessageHub, Visualizer, PoseLocalVisualizer):
        shared._instance_dict.clear()


@pytest.fixture(scope='session', autouse=True)
def _configs_as_they_come():
    # A training writes its config seven times, at seconds of layout each.
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(yapf_api, 'FormatCode', lambda text, **_: (text, True))
        yield


@pytest.fixture(scope='module', autouse=True)
def _two_threads_for_fixtures():
    # Sums depend on how they are divided.
    torch.set_num_threads(2)


@pytest.fixture(autouse=True)
def _two_threads(_two_threads_for_fixtures):
    torch.set_num_threads(2)


@pytest.fixture(scope='session')
def hand_pair(tmp_path_factory) -> Path:
    """A folder that holds a small RHD and a small H3D."""
    from mmregda.synthetic import write_hand_pair

    root = tmp_path_factory.mktemp('hands')
    write_hand_pair(
        root,
        num_source_train=12,
        num_source_test=6,
        num_target=16,
        num_workers=1,
        progress=False,
    )
    return root


METHODS = sorted(mmregda.models.METHODS)
FRAGMENTS = sorted((ROOT / 'configs/_base_/adaptations').glob('*.py'))
SGD = dict(type='SGD', lr=0.01, momentum=0.9)
SIZE = 64
CODEC = dict(
    type='MSRAHeatmap',
    input_size=(SIZE, SIZE),
    heatmap_size=(SIZE // 4, SIZE // 4),
    sigma=2,
)


def tiny_model_config(num_keypoints: int = 21, **adaptation) -> dict:
    """A ResNet-18 of few channels with heatmaps of 16 x 16."""
    return dict(
        type='DomainAdaptiveTopdown',
        data_preprocessor=dict(
            type='PoseDataPreprocessor',
            mean=[123.675, 116.28, 103.53],
            std=[58.395, 57.12, 57.375],
            bgr_to_rgb=True,
        ),
        backbone=dict(type='ResNet', depth=18, stem_channels=8, base_channels=8),
        neck=dict(type='DeconvNeck', in_channels=64, out_channels=(16, 16, 16)),
        head=dict(
            type='HeatmapHead',
            in_channels=16,
            out_channels=num_keypoints,
            deconv_out_channels=None,
            conv_out_channels=(16,),
            conv_kernel_sizes=(3,),
            loss=dict(type='KeypointKLLoss'),
            decoder=CODEC,
        ),
        train_cfg=dict(compute_acc=False),
        test_cfg=dict(flip_test=False),
        adaptation=adaptation or dict(type='RegDA'),
    )


def arguments_of(kind: type) -> set:
    """The names of a component's arguments, those of its bases included."""
    owners = [owner for owner in kind.__mro__[:-1] if '__init__' in vars(owner)]
    return {n for o in owners for n in inspect.signature(o.__init__).parameters}


def random_batch(
    batch_size: int, num_keypoints: int, seed: int, labeled: bool = True
) -> dict:
    """A batch of noise as MMPose's dataloaders give it."""
    generator = torch.Generator().manual_seed(seed)
    side = SIZE // 4
    inputs, samples = [], []
    for _ in range(batch_size):
        image = torch.randint(0, 256, (3, SIZE, SIZE), generator=generator)
        inputs.append(image.to(torch.uint8))
        sample = PoseDataSample(
            metainfo=dict(
                img_shape=(SIZE, SIZE),
                input_size=(SIZE, SIZE),
                input_center=torch.tensor([SIZE / 2, SIZE / 2]).numpy(),
                input_scale=torch.tensor([SIZE, SIZE]).numpy(),
            )
        )
        sample.gt_instances = InstanceData(
            bboxes=torch.tensor([[0.0, 0.0, SIZE, SIZE]]).numpy(),
            bbox_scores=torch.ones(1).numpy(),
        )
        if labeled:
            heatmaps = torch.rand(num_keypoints, side, side, generator=generator) ** 8
            weights = (torch.rand(1, num_keypoints, generator=generator) > 0.2).float()
            sample.gt_fields = PixelData(heatmaps=heatmaps)
            sample.gt_instance_labels = InstanceData(keypoint_weights=weights)
        samples.append(sample)
    return dict(inputs=inputs, data_samples=samples)


def batches_of(
    method: str,
    num_keypoints: int,
    seed: int,
    sizes: Sequence[int] = (2, 2, 2),
    batch: Callable = random_batch,
) -> dict:
    """What a method draws: a batch of noise of each domain, in the views it takes.

    Args:
        sizes: Of source, target and labelled target.
        batch: Makes a batch, as :func:`random_batch` does.
    """
    kind = MODELS.get(method)
    found = {}
    for i, domain in enumerate(('source', 'target', 'labeled_target')):
        if domain in kind.domains:
            number, labeled = 3 * seed + i, domain != 'target'
            found[domain] = batch(sizes[i], num_keypoints, number, labeled=labeled)
    if kind.views:
        found['target'] = views_of_batch(found['target'], kind.views, num_keypoints)
    return found


def views_of_batch(batch: dict, views: Sequence[str], num_keypoints: int) -> dict:
    """A batch of images in several views, each turned and moved in its own way.

    The pixels of the views are the same: who reads them reads noise. The last image is
    mirrored in the last view.
    """
    found = {}
    for number, view in enumerate(views, 1):
        found[view] = dict(inputs=list(batch['inputs']), data_samples=[])
        for i, sample in enumerate(batch['data_samples']):
            cos, sin = np.cos(0.3 * number * (i + 1)), np.sin(0.3 * number * (i + 1))
            turn = np.array([[cos, -sin, 20 * number], [sin, cos, 0], [0, 0, 1]])
            centre = np.array([[1, 0, SIZE / 2], [0, 1, SIZE / 2], [0, 0, 1]])
            if number == len(views) and i + 1 == len(batch['inputs']):
                turn[0] *= -1
            sample = sample.clone()
            sample.set_metainfo(
                dict(
                    image_to_view=centre @ turn @ np.linalg.inv(centre),
                    flip_indices=[1, 0, *range(2, num_keypoints)]
                    if num_keypoints > 1
                    else [0],
                )
            )
            found[view]['data_samples'].append(sample)
    return found


def tiny_config(
    pair: Path, work_dir: Union[str, Path], max_iters: int = 4, **changes
) -> Config:
    """The paper's config, with a tiny network, batches of 2 and few iterations."""
    cfg = Config.fromfile(ROOT / 'configs/regda_rhd2h3d.py')
    cfg.work_dir = str(work_dir)
    # MMEngine keeps logs apart by name and second, and two may begin within one.
    cfg.experiment_name = Path(work_dir).name
    cfg.pretrain = None
    cfg.model = tiny_model_config()
    loaders = [*cfg.train_dataloader.values(), *cfg.val_dataloader.values()]
    for loader in loaders:
        loader.update(batch_size=2, num_workers=0, persistent_workers=False)
        dataset = loader.dataset
        for transform in dataset.pipeline:
            if transform.type == 'TopdownAffine':
                transform.input_size = (SIZE, SIZE)
            elif transform.type == 'GenerateTarget':
                transform.encoder = CODEC
        (dataset.get('dataset') or dataset).data_root = str(pair)
    cfg.train_cfg.update(max_iters=max_iters, val_interval=max_iters)
    cfg.default_hooks.checkpoint.update(interval=2, max_keep_ckpts=-1)
    cfg.default_hooks.logger.interval = 2
    cfg.custom_hooks[1].update(interval=2, num_samples=3)
    cfg.merge_from_dict(changes)
    return cfg


def write_pretrain_config(cfg: Config, path: Path, max_iters: int = 2) -> None:
    """Stage 1 of a tiny config, as a file."""
    stage = Config.fromfile(ROOT / 'configs/source_only_rhd2h3d.py')
    stage.train_dataloader = dict(cfg.train_dataloader.source)
    stage.val_dataloader = cfg.val_dataloader
    stage.model = tiny_model_config()
    stage.model.type = 'TopdownPoseEstimator'
    stage.model.pop('adaptation')
    # Stage 1's head is a lone 1x1 convolution.
    stage.model.head.update(conv_out_channels=None, conv_kernel_sizes=None)
    stage.train_cfg.update(max_iters=max_iters, val_interval=max_iters)
    stage.dump(str(path))


def write_things(root: Path, number: int = 12) -> None:
    """A source in COCO's layout, of 4 keypoints, and a target without labels.

    Beside ``train.json`` there are ``named.json``, which names its keypoints,
    ``two_sizes.json``, whose first image is wider, and ``images/damaged.jpg``.
    """
    rng = np.random.default_rng(0)
    for folder in ('source/images', 'target'):
        (root / folder).mkdir(parents=True)

    def write(path: str, width: int, height: int) -> None:
        coarse = rng.integers(0, 256, (6, 6, 3), np.uint8)
        Image.fromarray(coarse).resize((width, height)).save(root / path, quality=95)

    images, annotations = [], []
    for i in range(number):
        write(f'target/t{i:02d}.jpg', 120, 90)
        write(f'source/images/s{i:02d}.jpg', 96, 80)
        points = rng.uniform(0.2, 0.8, (4, 2)) * (96, 80)
        keypoints = [float(v) for x, y in points for v in (x, y, 2)]
        images.append(dict(id=i, file_name=f's{i:02d}.jpg', width=96, height=80))
        annotations.append(
            dict(
                id=i,
                image_id=i,
                category_id=1,
                iscrowd=0,
                bbox=[8, 6, 80, 68],
                area=80 * 68,
                num_keypoints=4,
                keypoints=keypoints,
            )
        )
    write('source/images/wide.jpg', 160, 80)
    (root / 'source/images/damaged.jpg').write_bytes(b'\xff\xd8\xff no image')
    category = dict(id=1, name='thing')
    names = dict(keypoints=['k0', 'k1', 'left_k', 'right_k'])

    def save(name: str, images: list, annotations: list, **known) -> None:
        content = dict(images=images, annotations=annotations)
        content['categories'] = [dict(category, **known)]
        (root / 'source' / name).write_text(json.dumps(content))

    save('train.json', images, annotations)
    save('named.json', images, annotations, **names)
    wide = dict(images[0], file_name='wide.jpg', width=160)
    save('two_sizes.json', [wide, *images[1:]], annotations)


SIMCC_CODEC = dict(
    type='SimCCLabel',
    input_size=(SIZE, SIZE),
    sigma=(2.5, 3.0),
    simcc_split_ratio=2.0,
    normalize=False,
)


def tiny_simcc_config(num_keypoints: int = 21, **adaptation) -> dict:
    """The tiny network with RTMPose's head: 128 bins along each axis."""
    cfg = tiny_model_config(num_keypoints, **adaptation)
    cfg['head'] = dict(
        type='RTMCCHead',
        in_channels=16,
        out_channels=num_keypoints,
        input_size=(SIZE, SIZE),
        in_featuremap_size=(SIZE // 4, SIZE // 4),
        final_layer_kernel_size=3,
        gau_cfg=dict(
            hidden_dims=32,
            s=16,
            expansion_factor=2,
            dropout_rate=0.0,
            drop_path=0.0,
            act_fn='SiLU',
            use_rel_bias=False,
            pos_enc=False,
        ),
        loss=dict(type='KLDiscretLoss', beta=10.0, label_softmax=True),
        decoder=SIMCC_CODEC,
    )
    return cfg


def random_simcc_batch(
    batch_size: int, num_keypoints: int, seed: int, labeled: bool = True
) -> dict:
    """A batch of noise, labelled at random places as ``SimCCLabel`` does."""
    batch = random_batch(batch_size, num_keypoints, seed, labeled)
    codec = KEYPOINT_CODECS.build(SIMCC_CODEC)
    rng = np.random.default_rng(seed)
    for sample in batch['data_samples'] if labeled else ():
        keypoints = rng.uniform(0, SIZE - 1, (1, num_keypoints, 2))
        encoded = codec.encode(keypoints, np.ones((1, num_keypoints), np.float32))
        for axis in 'xy':
            key = f'keypoint_{axis}_labels'
            sample.gt_instance_labels[key] = torch.from_numpy(encoded[key])
    return batch


@pytest.fixture
def command(monkeypatch, capsys):
    """A tool as a user calls it, in this process: what it says."""
    # The tools set it; set here, it goes away again.
    monkeypatch.setenv('TORCH_FORCE_WEIGHTS_ONLY_LOAD', '1')
    monkeypatch.setenv('COLUMNS', '200')

    def call(tool, *arguments):
        path = str(ROOT / 'tools' / tool)
        monkeypatch.setattr(sys, 'argv', [path, *map(str, arguments)])
        try:
            runpy.run_path(path, run_name='__main__')
        except SystemExit as stopped:
            if stopped.code:
                return str(stopped.code)
        return capsys.readouterr().out

    return call
