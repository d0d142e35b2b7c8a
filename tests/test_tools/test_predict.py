"""tools/predict.py: predictions on a folder of images, as files."""

import csv
import importlib.util
import json
import os
import sys

import cv2
import numpy as np
import pytest
import torch
from conftest import CODEC, ROOT, SIZE, tiny_config, tiny_model_config
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmpose.registry import DATASETS, MODELS, TRANSFORMS
from PIL import Image

from mmregda.apis import images_to_predict
from mmregda.datasets import HAND21

CAMERA_HELD_SIDEWAYS = 6
BOXES = [
    ('turned.jpg', 10, 30, 50, 70),
    ('grey.png', 0, 0, 160, 120),
    ('holiday/scene.png', 20.5, 10.25, 60, 50),
    ('holiday/scene.png', 90, 40, 64, 64),
]


@pytest.fixture(scope='module')
def photographs(tmp_path_factory):
    root = tmp_path_factory.mktemp('images') / 'photographs'
    (root / 'holiday').mkdir(parents=True)
    pixels = np.random.default_rng(0).integers(0, 256, (3, 12, 16, 3), np.uint8)
    scenes = [Image.fromarray(p).resize((160, 120)) for p in pixels]
    exif = Image.Exif()
    exif[0x0112] = CAMERA_HELD_SIDEWAYS
    scenes[0].save(root / 'turned.jpg', exif=exif)
    scenes[1].convert('L').save(root / 'grey.png')
    scenes[2].save(root / 'holiday' / 'scene.png')
    return root


@pytest.fixture(scope='module')
def boxes(tmp_path_factory):
    path = tmp_path_factory.mktemp('boxes') / 'boxes.csv'
    with open(path, 'w', newline='') as file:
        csv.writer(file).writerows(BOXES)
    return path


@pytest.fixture(scope='module')
def config(photographs, tmp_path_factory):
    """A config whose target is the folder, and flips to test as MMPose does."""
    read = [dict(type='LoadWholeImage'), dict(type='GetBBoxCenterScale')]
    pipeline = [
        *read,
        dict(type='TopdownAffine', input_size=CODEC['input_size']),
        dict(type='PackPoseInputs'),
    ]
    folder = dict(type='UnlabeledImages', root=str(photographs), metainfo='hand21')
    loader = dict(batch_size=2, num_workers=0)
    cfg = Config(
        dict(
            default_scope='mmpose',
            custom_imports=dict(imports=['mmregda']),
            model=tiny_model_config(),
            train_dataloader=dict(
                target=dict(loader, dataset=dict(folder, pipeline=pipeline, indices=1))
            ),
            test_dataloader=dict(
                loader, dataset=dict(folder, pipeline=pipeline, test_mode=True)
            ),
        )
    )
    cfg.model.test_cfg = dict(flip_test=True, flip_mode='heatmap', shift_heatmap=True)
    path = tmp_path_factory.mktemp('config') / 'tiny.py'
    cfg.dump(str(path))
    return path


@pytest.fixture(scope='module')
def checkpoint(config):
    init_default_scope('mmpose')  # before what each test sets
    torch.manual_seed(0)
    model = MODELS.build(Config.fromfile(config).model)
    # A normalisation that has seen nothing would let the input fade away.
    model.train()
    model.extract_feat(torch.randn(8, 3, SIZE, SIZE))
    torch.nn.init.normal_(model.head.final_layer.weight)
    path = config.parent / 'weights.pth'
    torch.save(dict(state_dict=model.state_dict(), meta={}), path)
    return path


@pytest.fixture
def predict(monkeypatch, capsys):
    """The tool as a user calls it: exit status, what it says, what it wrote."""
    # The tool sets it; set here, it goes away again.
    monkeypatch.setenv('TORCH_FORCE_WEIGHTS_ONLY_LOAD', '1')
    spec = importlib.util.spec_from_file_location('predict', ROOT / 'tools/predict.py')
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)

    def call(*arguments, out):
        command = ['predict.py', *map(str, arguments), '--out', str(out)]
        monkeypatch.setattr(sys, 'argv', [*command, '--device', 'cpu'])
        with pytest.raises(SystemExit) as exit_status:
            tool.main()
        path = out / 'predictions.json'
        found = json.loads(path.read_text()) if path.exists() else None
        return exit_status.value.code, capsys.readouterr(), found

    return call


def upright(path):
    """The pixels as a second reader has them, blue first."""
    image = cv2.imread(str(path), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    turned = path.name == 'turned.jpg'
    return np.ascontiguousarray(np.rot90(image, -1)) if turned else image


def assert_as_mmpose(found, boxes, photographs, config, checkpoint):
    """The predictions are those of MMPose's own inference on the same boxes."""
    from mmpose.apis import inference_topdown, init_model

    model = init_model(str(config), str(checkpoint), device='cpu')
    model.dataset_meta = images_to_predict(Config.fromfile(config)).metainfo
    names = {image['id']: image['file_name'] for image in found['images']}
    assert len(found['annotations']) == len(boxes)
    for annotation, (name, x, y, w, h) in zip(found['annotations'], boxes):
        assert names[annotation['image_id']] == name
        assert annotation['bbox'] == [x, y, w, h]
        image = upright(photographs / name)
        box = np.array([[x, y, x + w, y + h]])
        (expected,) = inference_topdown(model, image, box)
        expected = expected.pred_instances
        points, visible = np.hsplit(np.reshape(annotation['keypoints'], (21, 3)), [2])
        scores = np.array(annotation['keypoint_scores'])
        np.testing.assert_allclose(points, expected.keypoints[0], atol=1e-3)
        np.testing.assert_allclose(scores, expected.keypoint_scores[0], atol=1e-4)
        assert annotation['score'] == pytest.approx(scores.mean(), abs=1e-4)
        assert len(np.unique(points.round(), axis=0)) > 5  # they are told apart
        h, w = image.shape[:2]
        outside = ((points < -0.5) | (points > (w - 0.5, h - 0.5))).any(axis=1)
        expected = np.where(outside, 0, np.where(scores < 0.3, 1, 2))
        np.testing.assert_array_equal(visible[:, 0], expected)
        assert annotation['num_keypoints'] == (~outside).sum()


def test_each_image_of_the_configs_target_is_a_crop(
    predict, config, checkpoint, photographs, tmp_path
):
    status, said, found = predict(config, checkpoint, out=tmp_path)
    assert status == 0, said.err
    assert f'3 predictions on 3 images: {tmp_path}/predictions.json' in said.out
    sizes = {
        image['file_name']: (image['width'], image['height'])
        for image in found['images']
    }
    whole = {
        'grey.png': (160, 120),
        'turned.jpg': (120, 160),
        'holiday/scene.png': (160, 120),
    }
    assert sizes == whole
    boxes = [
        (image['file_name'], 0, 0, *whole[image['file_name']])
        for image in found['images']
    ]
    assert_as_mmpose(found, boxes, photographs, config, checkpoint)
    assert found['left_out'] == []
    (category,) = found['categories']
    names = [keypoint['name'] for keypoint in HAND21['keypoint_info'].values()]
    assert category['keypoints'] == names
    links = [link['link'] for link in HAND21['skeleton_info'].values()]
    by_name = [tuple(names[end - 1] for end in link) for link in category['skeleton']]
    assert by_name == links


def test_each_box_is_predicted_in_pixels_of_the_upright_image(
    predict, config, checkpoint, photographs, boxes, tmp_path
):
    status, said, found = predict(
        config, checkpoint, photographs, '--boxes', boxes, out=tmp_path
    )
    assert status == 0, said.err
    assert [image['file_name'] for image in found['images']] == [
        *('turned.jpg', 'grey.png', 'holiday/scene.png')
    ]
    assert_as_mmpose(found, BOXES, photographs, config, checkpoint)


def test_pictures_are_upright_and_show_the_predictions(
    predict, config, checkpoint, photographs, boxes, tmp_path
):
    arguments = (config, checkpoint, photographs, '--boxes', boxes)
    status, said, found = predict(*arguments, '--draw', 'all', out=tmp_path)
    assert status == 0, said.err
    pictures = tmp_path / 'pictures'
    drawn = sorted(str(p.relative_to(pictures)) for p in pictures.rglob('*.*'))
    assert drawn == ['grey.png.jpg', 'holiday/scene.png.jpg', 'turned.jpg.jpg']
    for name in ('grey.png', 'holiday/scene.png', 'turned.jpg'):
        before = upright(photographs / name).astype(int)
        after = cv2.imread(str(pictures / f'{name}.jpg')).astype(int)
        assert after.shape == before.shape
        changed = np.abs(after - before).max(axis=2) > 90
        (image,) = (i for i in found['images'] if i['file_name'] == name)
        for annotation in found['annotations']:
            if annotation['image_id'] == image['id']:
                x, y, w, h = (int(value) for value in annotation['bbox'])
                assert changed[y : y + h, x : x + w].any()
        if name != 'grey.png':  # whose box is the whole image
            assert not changed[:5].any()

    predict(*arguments, '--draw', '2', out=tmp_path / 'two')
    assert len(list((tmp_path / 'two/pictures').rglob('*.jpg'))) == 2
    names = (tmp_path / 'two/label_first/images.txt').read_text().split()
    assert sorted(names) == ['grey.png', 'holiday/scene.png', 'turned.jpg']
    nothing = ('--draw', 'none', '--label-first', 'none')
    predict(*arguments, *nothing, out=tmp_path / 'none')
    assert os.listdir(tmp_path / 'none') == ['predictions.json']


def test_coco_reads_the_file(predict, config, checkpoint, photographs, boxes, tmp_path):
    arguments = (config, checkpoint, photographs, '--draw', 'none', '--boxes')
    _, _, found = predict(*arguments, boxes, out=tmp_path)
    path = tmp_path / 'predictions.json'
    try:
        from xtcocotools.coco import COCO
    except ImportError:
        from pycocotools.coco import COCO
    results = COCO(str(path)).loadRes(found['annotations'])
    assert results.getAnnIds() == [1, 2, 3, 4]
    assert [len(results.getAnnIds(imgIds=[i])) for i in results.getImgIds()] == [
        1,
        1,
        2,
    ]


def test_file_is_a_labelled_dataset_of_mmpose(
    predict, config, checkpoint, photographs, boxes, tmp_path
):
    """As it is, and so after its keypoints were corrected."""
    arguments = (config, checkpoint, photographs, '--draw', 'none', '--boxes')
    _, _, found = predict(*arguments, boxes, out=tmp_path)
    dataset = DATASETS.build(
        dict(
            type='CocoDataset',
            data_root=str(photographs),
            data_prefix=dict(img=''),
            ann_file=str(tmp_path / 'predictions.json'),
            metainfo=HAND21,
            pipeline=[],
        )
    )
    assert len(dataset) == len(BOXES)
    for i, annotation in enumerate(found['annotations']):
        info = dataset.get_data_info(i)
        expected = np.reshape(annotation['keypoints'], (21, 3))
        np.testing.assert_allclose(info['keypoints'][0], expected[:, :2], atol=1e-3)
        visible = info['keypoints_visible'][0]
        np.testing.assert_array_equal(visible > 0, expected[:, 2] > 0)


def test_boxes_of_a_small_score_are_not_predicted(
    predict, config, checkpoint, photographs, tmp_path
):
    path = tmp_path / 'boxes.csv'
    path.write_text(
        'path,x,y,w,h,score\ngrey.png,1,2,30,40,0.6\ngrey.png,9,9,9,9,0.4\n'
    )
    arguments = (config, checkpoint, '--boxes', path, '--draw', 'none')
    _, _, found = predict(*arguments, out=tmp_path)
    assert [a['bbox_score'] for a in found['annotations']] == [0.6, 0.4]
    _, _, found = predict(*arguments, '--min-score', '0.5', out=tmp_path)
    assert [a['bbox'] for a in found['annotations']] == [[1, 2, 30, 40]]


def test_damaged_images_and_boxes_are_named_and_the_others_predicted(
    predict, config, checkpoint, photographs, tmp_path
):
    images = tmp_path / 'images'
    images.mkdir()
    whole = (photographs / 'turned.jpg').read_bytes()
    (images / 'whole.jpg').write_bytes(whole)
    (images / 'cut.jpg').write_bytes(whole[: len(whole) // 2])
    # Its two ends are there; decoding alone tells.
    content = bytearray((photographs / 'grey.png').read_bytes())
    place = content.index(b'IDAT') + 4
    content[place:-12] = bytes(len(content) - 12 - place)
    (images / 'inside.png').write_bytes(content)
    names = ['cut.jpg', 'inside.png', 'inside.png', 'nowhere.jpg', 'whole.jpg']
    rows = [f'{name},{x},0,50,50\n' for x, name in enumerate(names)]
    boxes = tmp_path / 'boxes.csv'
    boxes.write_text(''.join(rows) + 'whole.jpg,0,0,0,9\n')
    status, said, found = predict(
        config, checkpoint, images, '--boxes', boxes, out=tmp_path / 'out'
    )
    assert status == 1
    assert [image['file_name'] for image in found['images']] == ['whole.jpg']
    (annotation,) = found['annotations']
    assert annotation['bbox'] == [4, 0, 50, 50]
    listed = said.err[said.err.index('4 left out:') :].splitlines()[1:]
    assert [line.strip() for line in listed] == found['left_out']
    for part in ('cut.jpg', 'inside.png', 'nowhere.jpg', 'line 6'):
        assert sum(part in line for line in found['left_out']) == 1, part

    (images / 'whole.jpg').unlink()
    status, said, found = predict(config, checkpoint, images, out=tmp_path / 'nothing')
    assert status == 2 and found is None
    assert 'error: ' in said.err and str(images) in said.err


def test_a_datasets_pipeline_reads_boxes_too(photographs, boxes):
    """That of crops made the whole image the box; labels are not asked for."""
    cfg = tiny_config('nowhere', 'unused')
    dataset = images_to_predict(cfg, str(photographs), str(boxes))
    assert len(dataset) == 4
    for sample, (_, x, y, w, h) in zip(dataset, BOXES):
        assert sample['inputs'].shape == (3, SIZE, SIZE)
        box = sample['data_samples'].gt_instances.bboxes[0]
        np.testing.assert_allclose(box, [x, y, x + w, y + h])
    assert dataset.metainfo['num_keypoints'] == 21


def test_another_folder_has_not_the_boxes_of_the_configs_own(
    config, photographs, boxes
):
    cfg = Config.fromfile(config)
    cfg.train_dataloader.target.dataset.boxes = str(boxes)
    assert len(images_to_predict(cfg)) == 4
    assert len(images_to_predict(cfg, str(photographs))) == 3


def test_what_is_wrong_is_one_message(
    predict, config, checkpoint, photographs, tmp_path
):
    cfg = tiny_config('nowhere', 'unused')
    cfg.dump(str(tmp_path / 'crops.py'))
    other = Config.fromfile(config)
    other.model.head.out_channels = 16
    other.dump(str(tmp_path / 'other.py'))
    torch.save(MODELS.build(other.model).state_dict(), tmp_path / 'other.pth')
    bad = torch.load(checkpoint)
    bad['state_dict']['head.final_layer.bias'] *= float('nan')
    torch.save(bad, tmp_path / 'diverged.pth')
    cases = [
        (('nowhere.py', checkpoint), 'config "nowhere.py" does not exist'),
        ((config, 'nowhere.pth'), 'checkpoint "nowhere.pth" does not exist'),
        ((config, tmp_path / 'other.pth'), 'are not of this model'),
        ((tmp_path / 'other.py', tmp_path / 'other.pth'), 'out_channels=16'),
        ((config, tmp_path / 'diverged.pth'), 'diverged'),
        ((config, checkpoint, tmp_path / 'nowhere'), f'{tmp_path}/nowhere"'),
        ((tmp_path / 'crops.py', checkpoint), 'Name the folder'),
        ((config, checkpoint, '--boxes', 'nowhere.csv'), 'nowhere.csv'),
    ]
    out = tmp_path / 'out'
    for arguments, message in cases:
        status, said, found = predict(*arguments, out=out)
        assert status == 2, message
        assert said.err.startswith('error: ') and message in said.err
    assert not out.exists()

    # The predictions are whole; the pictures alone would be in the way.
    out = photographs / 'out'
    try:
        status, said, found = predict(config, checkpoint, out=out)
        assert status == 2 and 'Write them elsewhere' in said.err
        assert len(found['annotations']) == 3
        assert os.listdir(out) == ['predictions.json']
    finally:
        (out / 'predictions.json').unlink()
        out.rmdir()


def trained_as(checkpoint, names, path):
    """The checkpoint, which says what its channels were trained as."""
    content = torch.load(checkpoint)
    meta = dict(keypoint_id2name=dict(enumerate(names)))
    torch.save(dict(content, meta=dict(dataset_meta=meta)), path)
    return path


def test_channels_are_not_called_by_other_keypoints_names(
    predict, config, checkpoint, tmp_path
):
    names = [point['name'] for point in HAND21['keypoint_info'].values()]
    moved = [names[1], names[0], *names[2:]]
    path = trained_as(checkpoint, moved, tmp_path / 'moved.pth')
    status, said, found = predict(config, path, out=tmp_path / 'moved')
    assert status == 2 and found is None
    assert 'channel 0 would be trained as "thumb1" and called "wrist"' in said.err
    assert 'moved.pth' in said.err and 'metainfo of the labelled data' in said.err
    # Spelling is no order, and another name may be a synonym.
    for renamed in ([name.upper() for name in names], ['root', *names[1:]]):
        path = trained_as(checkpoint, renamed, tmp_path / 'renamed.pth')
        status, _, found = predict(config, path, '--draw', 'none', out=tmp_path / 'out')
        assert status == 0
        assert found['categories'][0]['keypoints'] == names


@TRANSFORMS.register_module()
class AsksForKeypoints:
    def __call__(self, results):
        results['keypoints'] += 1
        return results


def test_transforms_of_labels_are_left_out_wherever_they_are(
    predict, config, checkpoint, tmp_path
):
    half = dict(type='RandomHalfBody', prob=1.0)
    target = dict(type='mmpose.GenerateTarget', encoder=CODEC)
    expected = None
    for added in (
        [],
        [half],
        [dict(type='RandomApply', prob=1.0, transforms=[half])],
        [dict(type='RandomChoice', transforms=[[half], [half, half]])],
    ):
        cfg = Config.fromfile(config)
        cfg.test_dataloader.dataset.pipeline[2:2] = added
        cfg.test_dataloader.dataset.pipeline.insert(-1, target)
        cfg.dump(str(tmp_path / 'labels.py'))
        arguments = (tmp_path / 'labels.py', checkpoint, '--draw', 'none')
        status, said, found = predict(*arguments, out=tmp_path / 'out')
        assert status == 0, said.err
        expected = expected or found['annotations']
        assert found['annotations'] == expected
        # MMEngine says it once.
        said_so = 'RandomHalfBody needs labels' in said.out + said.err
        assert said_so == (added == [half])

    cfg.test_dataloader.dataset.pipeline.insert(2, dict(type='AsksForKeypoints'))
    cfg.dump(str(tmp_path / 'labels.py'))
    status, said, _ = predict(*arguments, out=tmp_path / 'out')
    assert status == 2
    assert "KeyError: 'keypoints' is missing" in said.err
    assert 'labels.py' in said.err and 'Leave out of it what needs labels' in said.err


def test_a_hostile_checkpoint_runs_nothing(predict, config, tmp_path):
    proof = tmp_path / 'proof'

    class Hostile:
        def __reduce__(self):
            return os.mkdir, (str(proof),)

    torch.save(dict(state_dict=Hostile()), tmp_path / 'hostile.pth')
    status, said, _ = predict(config, tmp_path / 'hostile.pth', out=tmp_path)
    assert status == 2 and 'hostile.pth" cannot be loaded' in said.err
    assert not proof.exists()
