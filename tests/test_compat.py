"""Each repair, in a process of its own: what is broken there, and what is not.

A condition that this environment does not have is made by a folder in front
of the module search path that holds a broken, absent or sound package of that
name. ``mmregda/__init__.py`` does not run in these processes unless the test
is about it: it imports all of MMPose, for which nothing here waits.
"""

import importlib.util
import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from mmregda import compat
from mmregda.compat import __main__ as doctor

REPO = Path(__file__).parents[1]

# Makes mmregda.compat importable without running mmregda/__init__.py.
COMPAT_ALONE = f"""
import sys, types
package = types.ModuleType('mmregda')
package.__path__ = [{str(REPO / 'mmregda')!r}]
sys.modules['mmregda'] = package
from mmregda import compat
"""

HIDE = """
import sys
from importlib.machinery import PathFinder

class Hiding(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name.partition('.')[0] in {hidden!r}:
            return None
        return super().find_spec(name, path, target)

sys.meta_path[sys.meta_path.index(PathFinder)] = Hiding
"""


def python(*arguments, site=None, **environment):
    path = os.pathsep.join(str(p) for p in (site, REPO) if p)
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=str(site or REPO),
        env={**os.environ, 'PYTHONPATH': path, **environment},
    )


def run(code, site=None, **environment):
    """Run code with compat at hand; return the JSON that it prints last."""
    done = python('-c', COMPAT_ALONE + textwrap.dedent(code), site=site, **environment)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.strip().splitlines()[-1])


def put(site, modules):
    """Write modules, by their path under ``site``, and make packages of the folders."""
    for path, text in modules.items():
        path = site / path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
        for folder in path.parents:
            if folder == site:
                break
            (folder / '__init__.py').touch()


def put_library(path):
    """A shared library that loads, and registers nothing."""
    source = importlib.util.find_spec('_ctypes').origin
    path.write_bytes(Path(source).read_bytes())


def hide(site, *names):
    (site / 'sitecustomize.py').write_text(HIDE.format(hidden=names))


TORCHVISION = """
import torch
for name in ('nms', 'qnms'):
    torch.library.register_fake(f'torchvision::{name}', lambda *a: None)
"""


@pytest.mark.skipif(sys.platform != 'linux', reason='a fault of Linux builds')
def test_torchvision_whose_library_does_not_load_can_be_imported(tmp_path):
    put(tmp_path, {'torchvision/__init__.py': TORCHVISION})
    (tmp_path / 'torchvision' / '_C.so').write_text('built for another PyTorch')
    result = run(
        """
        import json
        try:
            import torchvision
            before = 'imported'
        except RuntimeError as error:
            before = str(error)
        said = compat.declare_torchvision_operators()
        import torchvision
        print(json.dumps([before, said, compat.declare_torchvision_operators()]))
        """,
        tmp_path,
    )
    assert 'torchvision::nms does not exist' in result[0]
    assert 'nms' in result[1]
    assert result[2] is None


@pytest.mark.skipif(sys.platform != 'linux', reason='a fault of Linux builds')
@pytest.mark.parametrize('library', ['_C.so', '_C_stable.so'])
def test_torchvision_whose_library_loads_is_left_alone(tmp_path, library):
    put(tmp_path, {'torchvision/__init__.py': ''})
    put_library(tmp_path / 'torchvision' / library)
    result = run(
        """
        import json
        said = compat.declare_torchvision_operators()
        import torch
        declared = hasattr(torch.ops.torchvision, 'nms')
        print(json.dumps([said, declared, 'torchvision' in sys.modules]))
        """,
        tmp_path,
    )
    assert result == [None, False, False]


def test_xtcocotools_of_another_numpy_gets_the_mask_module_of_pycocotools(tmp_path):
    put(
        tmp_path,
        {
            'xtcocotools/_mask.py': "raise ValueError('numpy.dtype size changed')",
            'xtcocotools/mask.py': 'import xtcocotools._mask as _mask',
        },
    )
    result = run(
        """
        import json
        said = compat.replace_coco_mask_extension()
        import pycocotools._mask, xtcocotools.mask
        same = xtcocotools.mask._mask is pycocotools._mask
        print(json.dumps([said, same]))
        """,
        tmp_path,
    )
    assert 'another NumPy' in result[0]
    assert result[1] is True


def test_xtcocotools_that_loads_is_left_alone(tmp_path):
    put(tmp_path, {'xtcocotools/_mask.py': 'own = True'})
    result = run(
        """
        import json
        said = [compat.provide_coco_tools(), compat.replace_coco_mask_extension()]
        import xtcocotools._mask
        print(json.dumps([*said, xtcocotools._mask.own]))
        """,
        tmp_path,
    )
    assert result == [None, None, True]


UNCOMPILED_OPS = """
import importlib
ext = importlib.import_module('mmcv._ext')
assert hasattr(ext, 'nms')
nms = ext.nms
"""


def test_mmcv_without_operators_imports_and_tells_the_truth_afterwards(tmp_path):
    put(tmp_path, {'mmcv/ops.py': UNCOMPILED_OPS})
    result = run(
        """
        import importlib.util, json
        said = compat.import_mmcv_ops_uncompiled()
        import mmcv.ops
        try:
            mmcv.ops.nms(1, 2)
        except RuntimeError as error:
            raised = str(error)
        there = importlib.util.find_spec('mmcv._ext') is not None
        print(json.dumps([said, raised, there, compat.import_mmcv_ops_uncompiled()]))
        """,
        tmp_path,
    )
    assert 'without compiled operators' in result[0]
    assert result[1].startswith('nms is a compiled operator')
    assert result[2:] == [False, None]


def test_mmcv_with_operators_is_left_alone(tmp_path):
    put(tmp_path, {'mmcv/ops.py': ''})
    put_library(tmp_path / 'mmcv' / '_ext.so')
    result = run(
        """
        import json
        said = compat.import_mmcv_ops_uncompiled()
        print(json.dumps([said, [m for m in sys.modules if m.startswith('mmcv')]]))
        """,
        tmp_path,
    )
    assert result == [None, []]


def test_where_nothing_is_broken_nothing_changes(tmp_path):
    put(
        tmp_path,
        {
            'mmcv/ops.py': '',
            'mmengine/runner/checkpoint.py': 'import numpy\n'
            'def get_torch_safe_globals(): return [type(numpy.dtype("uint8"))]',
            'torchvision/__init__.py': '',
            'xtcocotools/_mask.py': '',
        },
    )
    put_library(tmp_path / 'mmcv' / '_ext.so')
    put_library(tmp_path / 'torchvision' / '_C.so')
    result = run(
        f"""
        import json, os, torch
        # what MMPose imports in any case
        import mmengine.runner.checkpoint, xtcocotools._mask
        torch.ops.torchvision
        compat.find_problems = list  # the stubs have no versions to judge

        def state():
            globals_ = getattr(torch.serialization, 'get_safe_globals', list)()
            modules = {{name: id(module) for name, module in sys.modules.items()}}
            members = {{
                f'{{name}}.{{key}}': id(value)
                for name, module in list(sys.modules.items())
                if str(getattr(module, '__file__', '')).startswith({str(tmp_path)!r})
                for key, value in vars(module).items()
            }}
            operators = sorted(
                s.name for s in torch._C._jit_get_all_schemas()
                if s.name.startswith('torchvision')
            )
            return [modules, members, operators, len(globals_), dict(os.environ)]

        before = state()
        made = compat.apply()
        after = state()
        print(json.dumps([made, before == after]))
        """,
        tmp_path,
    )
    assert result == [[], True]


@pytest.mark.skipif(
    compat.parse(torch.__version__) < (2, 6), reason='loads unsafely by design'
)
def test_checkpoint_of_the_runner_loads_with_the_safe_loader(tmp_path):
    result = run(
        f"""
        import json
        compat.apply()
        import torch
        from mmengine.model import BaseModel
        from mmengine.runner import Runner, checkpoint
        from torch.utils.data import DataLoader

        class Model(BaseModel):
            def __init__(self):
                super().__init__()
                self.layer = torch.nn.Linear(1, 1)

            def forward(self, inputs, mode):
                return dict(loss=self.layer(inputs).sum())

        data = [dict(inputs=torch.ones(1))] * 4
        runner = Runner(
            model=Model(),
            work_dir={str(tmp_path)!r},
            train_dataloader=DataLoader(data, batch_size=2),
            train_cfg=dict(by_epoch=True, max_epochs=1),
            optim_wrapper=dict(optimizer=dict(type='Adam', lr=1.0)),
            param_scheduler=dict(type='MultiStepLR', milestones=[1]),
            default_hooks=dict(logger=dict(type='LoggerHook', interval=1)),
        )
        runner.train()

        # MMEngine up to 0.10.7 does not do this by itself.
        if hasattr(checkpoint, 'get_torch_safe_globals'):
            del checkpoint.get_torch_safe_globals
        torch.serialization.clear_safe_globals()
        path = {str(tmp_path / 'epoch_1.pth')!r}
        try:
            torch.load(path, weights_only=True)
            before = 'loaded'
        except Exception as error:
            before = type(error).__name__
        said = compat.register_checkpoint_classes()
        loaded = torch.load(path, weights_only=True)
        history = loaded['message_hub']['log_scalars']['train/loss']
        again = compat.register_checkpoint_classes()
        print(json.dumps([before, said, len(history.data[0]), again]))
        """
    )
    assert result[0] == 'UnpicklingError'
    assert 'safe loader' in result[1]
    assert result[2] == 2
    assert result[3] is None


HOSTILE = """
import json, os, pickle, torch
from pathlib import Path

class Hostile:
    def __reduce__(self):
        return Path.touch, (Path({trace!r}),)

torch.save(dict(state_dict=Hostile()), {path!r})
{refuse}
from mmengine.runner.checkpoint import _load_checkpoint
try:
    _load_checkpoint({path!r}, map_location='cpu')
    outcome = 'loaded'
except Exception as error:
    outcome = type(error).__name__
print(json.dumps(outcome))
"""


@pytest.mark.skipif(
    compat.parse(torch.__version__) < (2, 6), reason='loads unsafely by design'
)
def test_hostile_checkpoint_runs_nothing_once_unsafe_ones_are_refused(tmp_path):
    trace, path = tmp_path / 'executed', tmp_path / 'hostile.pth'
    outcome = run(
        HOSTILE.format(
            trace=str(trace),
            path=str(path),
            refuse='compat.refuse_unsafe_checkpoints()',
        )
    )
    assert outcome == 'UnpicklingError'
    assert not trace.exists()


COCO_METRIC = """
import json
compat.apply()
import cv2
import numpy as np
from mmpose.datasets.datasets import CocoDataset
from mmpose.evaluation import CocoMetric

dataset = CocoDataset(ann_file={path!r}, data_mode='topdown', test_mode=True)
rng = np.random.RandomState(0)
results = {{}}
for use_area in (True, False):
    metric = CocoMetric(
        ann_file={path!r}, use_area=use_area, outfile_prefix={prefix!r}
    )
    metric.dataset_meta = dataset.metainfo
    for index in range(len(dataset)):
        info = dataset.get_data_info(index)
        keypoints = info['keypoints'] + rng.normal(0, 4, (1, 17, 2))
        metric.process({{}}, [dict(
            id=info['id'], img_id=info['img_id'],
            category_id=1,
            pred_instances=dict(
                keypoints=keypoints,
                keypoint_scores=rng.uniform(0.3, 1, (1, 17)),
                bboxes=info['bbox'], bbox_scores=np.ones(1),
            ),
            gt_instances=dict(bbox_scales=np.array([[80., 90.]])),
        )])
    results[str(use_area)] = metric.evaluate(size=len(dataset))
print(json.dumps([type(metric.coco).__module__, len(dataset), results]))
"""


def coco_file(path):
    """Persons of all sizes, the first with id 0, some without any keypoint."""
    rng = np.random.RandomState(1)
    images, annotations = [], []
    for image in range(6):
        images.append(dict(id=image, file_name=f'{image}.jpg', width=400, height=400))
        for person in range(2):
            x, y = rng.uniform(5, 60, 2)
            w, h = rng.uniform(40, 300, 2)
            visible = rng.randint(0, 3, 17) if person or image % 3 else np.zeros(17)
            keypoints = np.stack(
                [rng.uniform(x, x + w, 17), rng.uniform(y, y + h, 17), visible], 1
            )
            annotations.append(
                dict(
                    id=len(annotations),
                    image_id=image,
                    category_id=1,
                    iscrowd=0,
                    bbox=[x, y, w, h],
                    area=0.4 * w * h,
                    keypoints=keypoints.ravel().tolist(),
                    num_keypoints=int((visible > 0).sum()),
                )
            )
    categories = [dict(id=1, name='person')]
    content = dict(images=images, annotations=annotations, categories=categories)
    path.write_text(json.dumps(content))


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec('xtcocotools') is None,
    reason='needs the real xtcocotools to compare with',
)
def test_stand_in_for_xtcocotools_evaluates_to_the_same_numbers(tmp_path):
    path = tmp_path / 'persons.json'
    coco_file(path)
    code = COCO_METRIC.format(path=str(path), prefix=str(tmp_path / 'results'))
    real = run(code, tmp_path)
    hide(tmp_path, 'xtcocotools')
    stand_in = run(code, tmp_path)
    assert real[0] == 'xtcocotools.coco'
    assert stand_in[0] == 'mmregda.compat.coco'
    assert stand_in[1] == real[1] > 0
    for use_area in ('True', 'False'):
        assert stand_in[2][use_area] == pytest.approx(real[2][use_area], abs=0)
    # The test would be empty if nothing matched or the area made no difference.
    assert 0 < real[2]['True']['coco/AP'] < 1
    assert real[2]['True'] != real[2]['False']


def test_stand_in_says_which_evaluations_it_lacks(tmp_path):
    hide(tmp_path, 'xtcocotools')
    message = run(
        """
        import json
        compat.provide_coco_tools()
        from xtcocotools.cocoeval import COCOeval
        try:
            COCOeval(iouType='keypoints_crowd')
        except NotImplementedError as error:
            print(json.dumps(str(error)))
        """,
        tmp_path,
    )
    assert 'keypoints_crowd' in message
    assert 'xtcocotools' in message


def test_import_names_everything_missing_and_how_to_get_it(tmp_path):
    hide(tmp_path, 'mmpose', 'mmdet')
    done = python('-c', 'import mmregda', site=tmp_path)
    assert done.returncode != 0
    last = done.stderr[done.stderr.index('ImportError:') :]
    assert 'mmpose is not installed: pip install --no-deps mmpose' in last
    assert 'mmdet is not installed: pip install' in last


def test_report_is_printed_even_where_mmpose_and_torch_are_missing(tmp_path):
    hide(tmp_path, 'mmpose', 'torch')
    done = python('-m', 'mmregda.compat', site=tmp_path)
    assert done.returncode == 1
    assert done.stderr == ''
    assert 'pip install torch torchvision' in done.stdout
    assert 'pip install --no-deps mmpose' in done.stdout


@pytest.mark.slow
def test_report_of_this_environment_says_that_it_is_usable():
    done = python('-m', 'mmregda.compat')
    assert done.returncode == 0, done.stdout + done.stderr
    assert 'Usable.' in done.stdout
    assert 'RuntimeWarning' not in done.stderr


@pytest.mark.parametrize(
    ('versions', 'said'),
    [
        ({'torch': '1.13.1'}, 'torch 1.13.1 is older than 2.0'),
        ({'torch': '2.0.0rc1', 'numpy': '1.26.4'}, None),
        ({'torch': '2', 'numpy': '1.26.4'}, None),
        ({'torch': '2.2.2', 'numpy': '2.0.0'}, 'torch 2.2.2 was built before NumPy 2'),
        ({'torch': '2.3.0', 'numpy': '2.0.0'}, None),
        ({'torch': '2.16.0a0+git0123abc'}, None),
        ({'torch': 'unknown'}, None),
        ({'numpy': '1.21.6'}, 'numpy 1.21.6 is older than 1.22'),
        ({'numpy': '3.0.0.dev0'}, 'numpy 3.0.0.dev0 is too new: mmregda is written'),
        ({'mmengine': '0.6.0'}, 'mmengine 0.6.0 is older than 0.10.3'),
        ({'mmcv': '1.7.2'}, 'mmcv 1.7.2 is older than 2.0'),
        ({'mmpose': '0.0.0'}, None),
        ({'mmpose': '0.29.0'}, 'mmpose 0.29.0 is older than 1.2'),
        ({'mmpose': '2.0'}, 'mmpose 2.0 is too new'),
        ({'mmdet': '3.3.0', 'mmcv': '2.3.6'}, 'mmdet 3.3.0 refuses mmcv 2.3.6'),
    ],
)
def test_versions_that_cannot_work_are_named(monkeypatch, versions, said):
    real = compat.metadata.version
    monkeypatch.setattr(
        compat.metadata, 'version', lambda name: versions.get(name) or real(name)
    )
    (name, version), *_ = versions.items()
    found = [p.what for p in compat.find_problems() if f'{name} {version}' in p.what]
    assert not found if said is None else any(what.startswith(said) for what in found)


def test_original_mmengine_without_pkg_resources_is_named(monkeypatch):
    real = compat.metadata.version
    monkeypatch.setattr(
        compat.metadata,
        'version',
        lambda name: '0.10.7' if name == 'mmengine' else real(name),
    )
    monkeypatch.setattr(compat, 'is_installed', lambda name: name != 'pkg_resources')
    (problem,) = compat.find_problems()
    assert 'mmengine 0.10.7 imports pkg_resources' in problem.what
    assert 'setuptools' in problem.command


def test_report_says_which_of_two_opencvs_imports(monkeypatch):
    stated = dict(cv2=('opencv-python', '4.1.0.25'))
    find = compat.find_distribution
    monkeypatch.setattr(
        compat, 'find_distribution', lambda name: stated.get(name) or find(name)
    )
    rows = dict(doctor.found())
    assert rows['cv2'].startswith('4.1.0.25 (opencv-python)')
    assert f'but {cv2.__version__} imports' in rows['cv2']
    monkeypatch.undo()
    assert 'imports' not in dict(doctor.found())['cv2']
