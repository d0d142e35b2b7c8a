"""Training is bit-identical whatever the target's labels, for every target.

By RegDA, and by a method of two views of the target and of a few labelled images of
it. Labels of those few count, and no others do.
"""

import copy
import json
import pickle
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import scipy.io
import torch
from conftest import CODEC, ROOT, SIZE, tiny_model_config
from layouts import (
    SUBJECTS,
    freihand_poses,
    lsp_joints,
    lspet_joints,
    write_freihand,
    write_human36m,
    write_image,
    write_lsp,
    write_lspet,
    write_surreal,
)
from mmengine.config import Config
from mmengine.runner.checkpoint import CheckpointLoader
from mmpose.registry import DATASETS, MODELS

from mmregda.codecs.view_warps import ViewWarp
from mmregda.datasets import BODY16
from mmregda.engine import stages
from mmregda.models import BaseAdaptation
from mmregda.models.adaptations import minimize

ORDER = np.random.default_rng(1).permutation(21)


def write_rhd(root: Path, number: int = 8) -> None:
    """Left hands with keypoints that are all visible but the first."""
    rng = np.random.default_rng(0)
    for folder in ('training', 'evaluation'):
        annotation = {}
        for i in range(number):
            uv_vis = np.zeros((42, 3))
            uv_vis[:21] = rng.uniform([60, 60, 1], [260, 260, 1], (21, 3))
            uv_vis[i, 2] = 0
            annotation[i] = dict(
                uv_vis=uv_vis, xyz=rng.normal(size=(42, 3)), K=np.eye(3)
            )
            path = root / f'RHD_published_v2/{folder}/color/{i:05d}.png'
            write_image(path, 320, 320, seed=i)
        path = root / f'RHD_published_v2/{folder}/anno_{folder}.pickle'
        path.write_bytes(pickle.dumps(annotation))


def write_h3d(root: Path, number: int = 10) -> None:
    rng = np.random.default_rng(0)
    entries = [
        dict(
            name=f'part1/{i}.jpg',
            keypoint2d=rng.uniform(4, 44, (21, 2)).tolist(),
            without_object=1,
        )
        for i in range(number)
    ]
    for i, entry in enumerate(entries):
        write_image(root / 'H3D_crop' / entry['name'], seed=i)
    (root / 'H3D_crop/annotation.json').write_text(json.dumps(entries))


def write_coco(root: Path, number: int = 8) -> None:
    """COCO's format, which MMPose's own datasets read."""
    rng = np.random.default_rng(0)
    content = dict(images=[], annotations=[], categories=[dict(id=1, name='person')])
    for i in range(number):
        write_image(root / 'coco' / f'{i}.jpg', seed=i)
        content['images'].append(dict(id=i, file_name=f'{i}.jpg', width=48, height=48))
        keypoints = np.full((16, 3), 2.0)
        keypoints[:, :2] = rng.uniform(5, 40, (16, 2))
        content['annotations'].append(
            dict(
                id=i,
                image_id=i,
                category_id=1,
                bbox=[4, 4, 40, 40],
                area=1600,
                iscrowd=0,
                num_keypoints=16,
                keypoints=keypoints.ravel().tolist(),
            )
        )
    (root / 'coco/coco.json').write_text(json.dumps(content))


def edit(path: Path, change) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


# What is done to the labels of each target. RHD, FreiHAND and LSPET have no boxes but
# those around their keypoints: there the extent of the keypoints stays, and
# which of them is where does not.


def shuffle_h3d(root):
    def change(entries):
        labels = [entry['keypoint2d'] for entry in entries]
        for entry, label in zip(entries, labels[1:] + labels[:1]):
            entry['keypoint2d'] = label

    edit(root / 'H3D_crop/annotation.json', change)


def delete_h3d(root):
    def change(entries):
        for entry in entries:
            del entry['keypoint2d']

    edit(root / 'H3D_crop/annotation.json', change)


def shuffle_lsp(root):
    path = root / 'lsp/joints.mat'
    joints = scipy.io.loadmat(path)['joints']
    scipy.io.savemat(path, dict(joints=np.roll(joints[:, ::-1], 1, axis=2)))


def delete_lsp(root):
    (root / 'lsp/joints.mat').unlink()


def shuffle_lspet(root):
    path = root / 'lspet/joints.mat'
    scipy.io.savemat(path, dict(joints=scipy.io.loadmat(path)['joints'][::-1]))


def delete_lspet(root):
    path = root / 'lspet/joints.mat'
    joints = scipy.io.loadmat(path)['joints']
    for joint in joints.transpose(2, 0, 1):
        shown = joint[joint[:, 2] > 0, :2]
        low, high = shown.min(axis=0), shown.max(axis=0)
        joint[::2, :2], joint[1::2, :2] = low, high
        joint[:, 2] = 1
    scipy.io.savemat(path, dict(joints=joints))


def shuffle_human36m(root):
    def change(content):
        frames = content['2']['1']
        for key, frame in list(frames.items()):
            frames[key] = (700 - np.array(frame))[::-1].tolist()

    for path in (root / 'Human36M/annotations').glob('*_joint_3d.json'):
        edit(path, change)


def delete_human36m(root):
    for name in ('joint_3d', 'camera'):
        for path in (root / 'Human36M/annotations').glob(f'*_{name}.json'):
            path.unlink()


def change_rhd(root, change):
    path = root / 'RHD_published_v2/training/anno_training.pickle'
    annotation = pickle.loads(path.read_bytes())
    for image in annotation.values():
        change(image)
    path.write_bytes(pickle.dumps(annotation))


def shuffle_rhd(root):
    def change(image):
        image['uv_vis'][:21] = image['uv_vis'][ORDER]
        image['uv_vis'][:21, 2] = image['uv_vis'][ORDER, 2]

    change_rhd(root, change)


def delete_rhd(root):
    def change(image):
        hand = image['uv_vis'][:21]
        low, high = hand[:, :2].min(axis=0), hand[:, :2].max(axis=0)
        hand[::2, :2], hand[1::2, :2] = low, high
        hand[:, 2] = 1
        del image['xyz'], image['K']

    change_rhd(root, change)


def shuffle_freihand(root):
    def change(poses):
        poses[:] = [[pose[i] for i in ORDER] for pose in poses]

    edit(root / 'FreiHAND_pub_v2/training_xyz.json', change)


def shuffle_surreal(root):
    def change(entries):
        for entry in entries:
            entry['keypoint2d'].reverse()

    for path in (root / 'surreal_processed').rglob('run*.json'):
        edit(path, change)


def delete_surreal(root):
    def change(entries):
        entries[:] = [dict(name=entry['name']) for entry in entries]

    for path in (root / 'surreal_processed').rglob('run*.json'):
        edit(path, change)


def shuffle_coco(root):
    def change(content):
        for entry in content['annotations']:
            keypoints = np.array(entry['keypoints']).reshape(16, 3)
            keypoints[:, 2] = np.arange(16) % 3
            entry['keypoints'] = keypoints[::-1].ravel().tolist()
            entry['area'], entry['num_keypoints'] = 7, 10

    edit(root / 'coco/coco.json', change)


def target_of(pair):
    """The dataset and how it is read, from the pair's config."""
    loader = Config.fromfile(ROOT / f'configs/_base_/pairs/{pair}.py')
    return loader.unlabeled_target_loader.dataset


def swapped(kind, folder, pair, **kwargs):
    """Another dataset in place of a pair's target."""
    dataset = target_of(pair)
    dataset.dataset = dict(
        type=kind, data_root=folder, split='train', labeled=False, **kwargs
    )
    return dataset


TARGETS = dict(
    h3d=('rhd2h3d', None, write_h3d, [shuffle_h3d, delete_h3d]),
    rhd=('freihand2rhd', None, write_rhd, [shuffle_rhd, delete_rhd]),
    lsp=(
        'surreal2lsp',
        None,
        lambda root: write_lsp(root, lsp_joints(8), 40, 56),
        [shuffle_lsp, delete_lsp],
    ),
    lspet=(
        'surreal2lsp',
        lambda: swapped('LSPExtendedDataset', '', 'surreal2lspet'),
        lambda root: write_lspet(root, lspet_joints(8), 40, 56),
        [shuffle_lspet, delete_lspet],
    ),
    human36m=(
        'surreal2human36m',
        None,
        lambda root: write_human36m(root, 6, SUBJECTS, 1000, 1000),
        [shuffle_human36m, delete_human36m],
    ),
    freihand=(
        'freihand2rhd',
        lambda: swapped('FreiHANDDataset', '', 'freihand2rhd', version='gs'),
        lambda root: write_freihand(root, *freihand_poses(8), range(8), 224),
        [shuffle_freihand],
    ),
    surreal=(
        'surreal2lsp',
        lambda: swapped('SURREALDataset', '', 'surreal2lsp'),
        lambda root: write_surreal(root, number=4, side=48),
        [shuffle_surreal, delete_surreal],
    ),
    coco=(
        'surreal2lsp',
        lambda: dict(
            target_of('surreal2human36m'),
            dataset=dict(
                type='CocoDataset',
                metainfo=BODY16,
                ann_file='coco/coco.json',
                data_prefix=dict(img='coco/'),
            ),
        ),
        write_coco,
        [shuffle_coco],
    ),
)
CASES = [(name, change) for name, case in TARGETS.items() for change in case[3]]


@MODELS.register_module()
class EveryDomain(BaseAdaptation):
    """Learns of labels where it may have them, and of one view what the other says."""

    domains = ('source', 'target', 'labeled_target')
    views = ('teacher', 'student')

    def __init__(self, head=None):
        super().__init__()

    def step(self, model, batches, optim_wrapper):
        loss = 0
        for domain in ('source', 'labeled_target'):
            logits = model.head(model.extract_feat(batches[domain]['inputs']))
            loss = loss + model.supervised_loss(logits, batches[domain]['data_samples'])
        teacher, student = (batches['target'][view] for view in self.views)
        warp = ViewWarp.between(teacher['data_samples'], student['data_samples'])
        with torch.no_grad():
            said = model.head(model.extract_feat(teacher['inputs'])).sigmoid()
        said, inside = warp.maps(said, model.head.decoder.scale_factor)
        seen = model.head(model.extract_feat(student['inputs'])).sigmoid()
        loss = loss + 100 * ((seen - said).square() * inside).mean()
        minimize(loss, optim_wrapper, ('feature_extractor', 'head'))
        return dict(loss=loss.detach())


METHODS = ('RegDA', pytest.param('EveryDomain', marks=pytest.mark.slow))


@pytest.fixture(autouse=True)
def _config_is_not_pretty_printed(monkeypatch):
    # For the log alone, four times a run; it takes longer than two iterations.
    monkeypatch.setattr(Config, 'pretty_text', '')


@pytest.fixture(scope='module')
def sources(tmp_path_factory):
    root = tmp_path_factory.mktemp('sources')
    write_rhd(root)
    write_surreal(root, number=4, side=48)
    write_freihand(root, *freihand_poses(8), side=224)
    return root


def few_labels(cfg: Config, root: Path) -> dict:
    """The dataloader of a target's labelled images, as the pair's config reads them."""
    loader = copy.deepcopy(cfg.train_dataloader.source)
    loader.dataset = copy.deepcopy(cfg.train_dataloader.target.dataset['dataset'])
    loader.dataset.update(data_root=str(root), pipeline=cfg.labeled_pipeline)
    if 'labeled' in loader.dataset:
        loader.dataset.labeled = True
    return loader


def split_into_views(cfg: Config) -> None:
    """Give the target's images to a teacher as they are, to a student augmented."""
    pipeline = copy.deepcopy(cfg.unlabeled_pipeline)
    types = [transform.type for transform in pipeline]
    begin, warp = (types.index(t) for t in ('GetBBoxCenterScale', 'TopdownAffine'))
    cfg.train_dataloader.target.dataset.update(
        pipeline=pipeline[: begin + 1],
        views=dict(
            teacher=[pipeline[warp], pipeline[-1]], student=pipeline[begin + 1 :]
        ),
    )


def transforms_in(value):
    if isinstance(value, dict):
        if value.get('type') in ('TopdownAffine', 'GenerateTarget'):
            yield value
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        for item in value:
            yield from transforms_in(item)


def train(
    method: str, name: str, sources: Path, root: Path, few: Path, work_dir: Path
) -> dict:
    """Two iterations on the data of the pair's config: the final weights."""
    pair, target, *_ = TARGETS[name]
    cfg = Config.fromfile(ROOT / f'configs/regda_{pair}.py')
    cfg.work_dir, cfg.pretrain, cfg.custom_hooks = str(work_dir), None, []
    cfg.model = tiny_model_config(cfg.model.head.out_channels, type=method)
    cfg.visualizer.vis_backends = []
    cfg.val_dataloader = cfg.val_evaluator = cfg.val_cfg = None
    cfg.train_cfg.update(max_iters=2, val_interval=2)
    cfg.default_hooks.checkpoint.update(interval=2, save_best=None)
    loaders = cfg.train_dataloader
    if target is not None:
        loaders.target.dataset = target()
    if method == 'EveryDomain':
        loaders.labeled_target = few_labels(cfg, few)
        split_into_views(cfg)
        cfg.optim_wrapper.pop('adversary')
        cfg.param_scheduler.pop('adversary')
    for loader in loaders.values():
        loader.update(batch_size=2, num_workers=0, persistent_workers=False)
    for transform in transforms_in(loaders):
        if transform.type == 'TopdownAffine':
            transform.input_size = (SIZE, SIZE)
        else:
            transform.encoder = CODEC
    loaders.source.dataset.data_root = str(sources)
    loaders.target.dataset.dataset.data_root = str(root)
    stages.train(cfg)
    path = str(work_dir / 'iter_2.pth')
    return CheckpointLoader.load_checkpoint(path, map_location='cpu')['state_dict']


@pytest.fixture(scope='module')
def trained(sources, tmp_path_factory):
    """The target's folder and the weights of each method, trained once."""
    from mmengine.registry import init_default_scope

    init_default_scope('mmpose')
    roots, results = {}, {}

    def of(method, name):
        if name not in roots:
            roots[name] = tmp_path_factory.mktemp(name)
            TARGETS[name][2](roots[name])
        root = roots[name]
        if (method, name) not in results:
            work_dir = tmp_path_factory.mktemp(f'{name}_run')
            weights = train(method, name, sources, root, root, work_dir)
            results[method, name] = weights
        return root, results[method, name]

    return of


def labels_of(name: str, root: Path):
    """All keypoints of a target, read with its labels; None if they are gone."""
    pair, target, *_ = TARGETS[name]
    config = dict((target() if target else target_of(pair))['dataset'])
    config.update(data_root=str(root))
    if 'labeled' in config:
        config.update(labeled=True)
    try:
        dataset = DATASETS.build(config)
    except RuntimeError:
        return None
    return np.concatenate(
        [dataset.get_data_info(i)['keypoints'] for i in range(len(dataset))]
    )


@pytest.mark.parametrize('method', METHODS)
@pytest.mark.parametrize(
    'name, change', CASES, ids=[change.__name__ for _, change in CASES]
)
def test_training_is_bit_identical_whatever_the_targets_labels(
    trained, sources, tmp_path, name, change, method
):
    root, expected = trained(method, name)
    labels = labels_of(name, root)
    assert labels is not None
    shutil.copytree(root, tmp_path / 'target')
    change(tmp_path / 'target')
    changed = labels_of(name, tmp_path / 'target')
    assert changed is None or (changed != labels).any()
    found = train(method, name, sources, tmp_path / 'target', root, tmp_path / 'run')
    assert found.keys() == expected.keys()
    for key, tensor in found.items():
        assert torch.equal(tensor, expected[key]), key


@pytest.mark.slow
@pytest.mark.parametrize('name', TARGETS)
def test_labels_of_the_labelled_target_do_change_the_weights(
    trained, sources, tmp_path, name
):
    root, before = trained('EveryDomain', name)
    few = tmp_path / 'few'
    shutil.copytree(root, few)
    shuffle = TARGETS[name][3][0]
    shuffle(few)
    after = train('EveryDomain', name, sources, root, few, tmp_path / 'run')
    key = 'head.final_layer.weight'
    assert not torch.equal(before[key], after[key])


@pytest.mark.slow
@pytest.mark.parametrize('method', METHODS)
def test_other_images_of_the_target_do_change_the_weights(
    trained, sources, tmp_path, method
):
    root, before = trained(method, 'lsp')
    shutil.copytree(root, tmp_path / 'target')
    for path in (tmp_path / 'target/lsp/images').glob('*.jpg'):
        cv2.imwrite(str(path), 255 - cv2.imread(str(path)))
    after = train(method, 'lsp', sources, tmp_path / 'target', root, tmp_path / 'run')
    name = 'backbone.conv1.weight'
    assert not torch.equal(before[name], after[name])
