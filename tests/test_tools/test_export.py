"""tools/export.py: plain MMPose models and ONNX files that predict the same."""

import hashlib
import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from conftest import CODEC, ROOT, tiny_model_config, tiny_simcc_config
from mmengine.config import Config
from mmpose.registry import MODELS
from PIL import Image
from trained import write_model

BOXES = [[0, 0, 160, 120], [20.5, 10.25, 60, 50], [90, 40, 64, 64]]
# A process that has MMPose, made to import on this stack, and nothing of this package.
PLAIN = """
import sys, types
sys.modules['mmregda'] = types.ModuleType('mmregda')
sys.modules['mmregda'].__path__ = [sys.argv.pop(1)]
from mmregda import compat
compat.apply()
import json, numpy, torch
from mmengine.config import Config
from mmpose.apis import MMPoseInferencer, inference_topdown, init_model
found = []
for config, checkpoint, image, boxes in json.loads(sys.argv[1]):
    model = init_model(config, checkpoint, device='cpu')
    weights = torch.load(checkpoint, weights_only=True)['state_dict']
    model.load_state_dict(weights, strict=True)
    results = inference_topdown(model, image, numpy.array(boxes), 'xywh')
    points = [result.pred_instances.keypoints[0].tolist() for result in results]
    whole = MMPoseInferencer(config, checkpoint, device='cpu', det_model='whole_image')
    (whole,) = next(whole(image))['predictions'][0]
    names = [name for _, name in sorted(model.dataset_meta['keypoint_id2name'].items())]
    kind = type(model).__name__
    found.append(dict(points=points, whole=whole['keypoints'], names=names, kind=kind))
print(json.dumps(found))
ours = {name for name in sys.modules if name.startswith('mmregda.')}
assert all(name.startswith('mmregda.compat') for name in ours), ours
"""


def model_of(kind):
    if kind == 'simcc':
        # RTMPose's: the head reads the backbone's map.
        cfg = tiny_simcc_config()
        cfg.pop('neck')
        cfg['head'].update(in_channels=64, in_featuremap_size=(2, 2))
        return cfg
    cfg = tiny_model_config()
    codec = {**CODEC, 'type': 'GaussianHeatmap'}
    if kind == 'deconvolutions in both':
        cfg['neck']['out_channels'] = (16, 24)
        cfg['head'].update(
            in_channels=24, deconv_out_channels=(16,), deconv_kernel_sizes=(4,)
        )
        codec = CODEC
    if kind == 'no bias':
        cfg['head']['final_layer'] = dict(kernel_size=1, bias=False)
    if kind == 'no final layer':
        cfg['backbone']['out_indices'] = (0,)
        cfg['neck'] = dict(
            type='ChannelMapper',
            in_channels=[8],
            out_channels=21,
            kernel_size=1,
            act_cfg=None,
        )
        cfg['head'].update(in_channels=21, conv_out_channels=None, final_layer=None)
    if kind == 'stage 1':
        cfg['type'] = 'TopdownPoseEstimator'
        cfg.pop('adaptation')
    cfg['head']['decoder'] = codec
    cfg['data_preprocessor']['type'] = 'PromptPoseDataPreprocessor'
    cfg['test_cfg'] = dict(flip_test=True)
    return cfg


def exported(command, folder, model):
    write_model(folder, model)
    files = folder / 'trained.py', folder / 'trained.pth'
    said = command('export.py', *files, '--out', folder / 'out')
    (checkpoint,) = (folder / 'out').glob('trained-*.pth')
    return said, folder / 'out/trained.py', checkpoint


def predicted(command, folder):
    """The keypoints in each box, by tools/predict.py."""
    rows = [f'scene.png,{",".join(map(str, box))}' for box in BOXES]
    (folder / 'boxes.csv').write_text('\n'.join(rows))
    files = [folder / name for name in ('trained.py', 'trained.pth', 'photographs')]
    options = ['--boxes', folder / 'boxes.csv', '--draw', 'none', '--device', 'cpu']
    command('predict.py', *files, *options, '--out', folder)
    found = json.loads((folder / 'predictions.json').read_text())['annotations']
    points = [np.reshape(f['keypoints'], (-1, 3))[:, :2] for f in found]
    return np.dstack([points, [f['keypoint_scores'] for f in found]])


@pytest.mark.slow
def test_mmpose_alone_predicts_the_same_keypoints(command, tmp_path):
    jobs, expected = [], []
    for kind in (
        'heatmaps',
        'stage 1',
        'no bias',
        'no final layer',
        'deconvolutions in both',
        'simcc',
    ):
        folder = tmp_path / kind
        folder.mkdir()
        said, config, checkpoint = exported(command, folder, model_of(kind))
        assert 'MMPose lacks' not in said
        digest = hashlib.sha256(checkpoint.read_bytes()).hexdigest()
        assert checkpoint.name == f'trained-{digest[:8]}.pth'
        weights = torch.load(checkpoint, weights_only=True)['state_dict']
        parts = {name.partition('.')[0] for name in weights}
        assert parts <= {'backbone', 'neck', 'head'}
        image = folder / 'photographs/scene.png'
        jobs.append([str(config), str(checkpoint), str(image), BOXES])
        expected.append(predicted(command, folder)[..., :2])
        # They are told apart.
        assert len(np.unique(expected[-1][0].round(), axis=0)) > 5
    done = subprocess.run(
        [sys.executable, '-c', PLAIN, ROOT / 'mmregda', json.dumps(jobs)],
        cwd=tmp_path,
        env={k: v for k, v in os.environ.items() if k != 'PYTHONPATH'},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    for found, points in zip(json.loads(done.stdout.splitlines()[-1]), expected):
        assert found['kind'] == 'TopdownPoseEstimator'
        assert found['names'][4] == 'thumb4' and len(found['names']) == 21
        np.testing.assert_allclose(found['points'], points, atol=1e-3)
        np.testing.assert_allclose(found['whole'], points[0], atol=1e-3)


def test_the_config_that_was_trained_with_is_not_replaced(command, tmp_path):
    write_model(tmp_path, tiny_model_config())
    config, checkpoint = tmp_path / 'trained.py', tmp_path / 'trained.pth'
    before = config.read_text()
    said = command('export.py', config, checkpoint, '--out', tmp_path)
    assert 'would replace' in said and config.read_text() == before


def test_what_mmpose_does_not_have_is_named(command, tmp_path):
    cfg = tiny_simcc_config()  # a neck that its head cannot take in
    said, config, checkpoint = exported(command, tmp_path, cfg)
    assert 'the config imports mmregda' in ' '.join(said.split())
    assert Config.fromfile(config).custom_imports.imports == ['mmregda']
    model = MODELS.build(Config.fromfile(config).model)
    model.load_state_dict(torch.load(checkpoint, weights_only=True)['state_dict'])


@pytest.mark.parametrize(
    'codec', [{**CODEC, 'type': 'UDPHeatmap'}, {**CODEC, 'unbiased': True}]
)
def test_codec_that_would_find_other_keypoints_is_refused(command, codec, tmp_path):
    model = tiny_model_config()
    model['head']['decoder'] = codec
    write_model(tmp_path, model)
    files = tmp_path / 'trained.py', tmp_path / 'trained.pth'
    said = command('export.py', *files, '--out', tmp_path / 'out')
    assert said.startswith('error: ') and codec['type'] in said
    assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize('kind', ['heatmaps', 'simcc'])
def test_onnx_file_decodes_to_the_same_keypoints(command, kind, tmp_path):
    """Pre- and post-processing are those of docs/export.md."""
    pytest.importorskip('onnx')
    onnxruntime = pytest.importorskip('onnxruntime')
    model = model_of(kind)
    model['test_cfg'] = {}
    said, _, _ = exported(command, tmp_path, model)
    assert "PyTorch's logits to" in said
    (page,) = (ROOT / 'docs/export.md').read_text().split('```python\n')[1:]
    namespace = {}
    exec(page.partition('```')[0], namespace)
    path = tmp_path / 'out/trained.onnx'
    session = onnxruntime.InferenceSession(path, providers=['CPUExecutionProvider'])
    image = np.asarray(Image.open(tmp_path / 'photographs/scene.png'))
    points, scores = namespace['predict'](session, image, BOXES, sigma=2)
    expected = predicted(command, tmp_path)
    np.testing.assert_allclose(points, expected[..., :2], atol=1e-3)
    if kind == 'heatmaps':
        np.testing.assert_allclose(scores, expected[..., 2], atol=1e-3)
