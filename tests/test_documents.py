"""What README, CONTRIBUTING and the pages of docs/ show works as it stands there."""

import json
import re
import runpy
import subprocess
import sys
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from unittest.mock import MagicMock

import cv2
import numpy as np
import pytest
import torch
from conftest import (
    METHODS,
    ROOT,
    SIZE,
    random_batch,
    tiny_config,
    tiny_model_config,
    tiny_simcc_config,
)
from documented import blocks, saved_files
from layouts import write_image
from mmengine.config import Config
from mmengine.registry import (
    DATASETS,
    HOOKS,
    LOOPS,
    METRICS,
    MODEL_WRAPPERS,
    OPTIM_WRAPPER_CONSTRUCTORS,
    OPTIM_WRAPPERS,
    PARAM_SCHEDULERS,
)
from mmpose.registry import MODELS

from mmregda import (
    InputError,
    apis,
    codecs,
    datasets,
    engine,
    evaluation,
    models,
    visualization,
)
from mmregda.engine import PlayerOptimWrapperConstructor, stages
from mmregda.engine.checkpoints import read_checkpoint, weights_of
from mmregda.engine.start import load_pretrain_config, pretrained_path
from mmregda.models import BaseAdaptation

DOCS = sorted(
    path
    for kind in ('*.md', '*.rst')
    for path in ROOT.glob(f'docs/**/{kind}')
    if '_build' not in path.parts
)
PAGES = [ROOT / 'README.md', ROOT / 'CONTRIBUTING.md', *DOCS]


@lru_cache(maxsize=None)  # It registers what it defines, once.
def example(page: str, name: str) -> dict:
    """Run the example in a page that defines a name; what it defines."""
    text = (ROOT / page).read_text(encoding='utf-8')
    blocks = re.findall(r'```python\n(.*?)```', text, re.DOTALL)
    (code,) = (block for block in blocks if f'class {name}' in block)
    assert len(code.splitlines()) < 50
    namespace = {}
    exec(compile(code, page, 'exec'), namespace)
    return namespace


def test_method_of_the_guide_trains():
    example('CONTRIBUTING.md', 'EntropyMinimization')
    cfg = tiny_model_config(num_keypoints=5, type='EntropyMinimization', weight=0.2)
    model = MODELS.build(cfg).train()
    wrappers = PlayerOptimWrapperConstructor(
        {
            player: dict(optimizer=dict(type='SGD', lr=0.1))
            for player in ('feature_extractor', 'head')
        }
    )(model)
    before = model.head.final_layer.weight.clone()
    batches = dict(source=random_batch(2, 5, 0), target=random_batch(2, 5, 1))
    log_vars = model.train_step(batches, wrappers)
    assert 0 < log_vars['entropy'] <= torch.tensor(256.0).log() + 1e-4
    assert not torch.equal(before, model.head.final_layer.weight)


def test_method_and_config_without_a_source_train_as_their_page_has_them(tmp_path):
    example('docs/domains.md', 'ViewConsistency')
    text = (ROOT / 'docs/domains.md').read_text(encoding='utf-8')
    blocks = re.findall(r'```python\n(.*?)```', text, re.DOTALL)
    (code,) = (block for block in blocks if 'photographs = ' in block)
    code = code.replace("'configs/", f"'{ROOT}/configs/")
    code = code.replace("'path/to/photographs'", f"'{tmp_path}/photographs'")
    code = code.replace("'source_only.pth'", f"'{tmp_path}/source_only.pth'")
    code = code.replace(", 'view_consistency'", '')  # it is registered above
    (tmp_path / 'config.py').write_text(code.replace('(256, 256)', f'({SIZE}, {SIZE})'))
    cfg = Config.fromfile(tmp_path / 'config.py')
    assert 'source' not in str(dict(cfg.train_dataloader, val=cfg.val_dataloader))
    tiny = tiny_model_config()
    cfg.model = dict(tiny, adaptation=cfg.model.adaptation)
    tiny.pop('adaptation')
    start = MODELS.build(dict(tiny, type='TopdownPoseEstimator')).state_dict()
    torch.save(dict(state_dict=start, meta={}), tmp_path / 'source_only.pth')
    for seed in range(4):
        write_image(tmp_path / f'photographs/{seed}.jpg', seed=seed)
    cfg.train_dataloader.target.update(
        batch_size=2, num_workers=0, persistent_workers=False
    )
    cfg.val_dataloader.target.num_workers = 0
    cfg.train_cfg.update(max_iters=2, val_interval=2)
    cfg.work_dir = str(tmp_path / 'run')
    stages.train(cfg)
    assert {path.name for path in tmp_path.glob('run/*.pth')} == {'iter_2.pth'}
    path = str(tmp_path / 'run/iter_2.pth')
    weights = weights_of(read_checkpoint(path), path)
    assert not torch.equal(
        weights['backbone.conv1.weight'], start['backbone.conv1.weight']
    )
    pictures = list(tmp_path.glob('run/*/vis_data/vis_image/target_*.png'))
    assert len(pictures) == 4


def test_config_of_two_views_fits_its_pair(tmp_path):
    text = (ROOT / 'docs/domains.md').read_text(encoding='utf-8')
    blocks = re.findall(r'```python\n(.*?)```', text, re.DOTALL)
    (code,) = (block for block in blocks if 'uniframe.py' in block)
    (tmp_path / 'config.py').write_text(code.replace("'configs/", f"'{ROOT}/configs/"))
    cfg = Config.fromfile(tmp_path / 'config.py')
    kind = MODELS.get(cfg.model.adaptation.type)
    assert set(cfg.train_dataloader.target.dataset.views) == set(kind.views)
    assert set(cfg.train_dataloader) == set(kind.domains)


def test_method_of_two_views_takes_heads_of_either_kind():
    example('docs/domains.md', 'ViewConsistency')
    target = {
        view: random_batch(2, 5, 0, labeled=False) for view in ('teacher', 'student')
    }
    for batch in target.values():
        for sample in batch['data_samples']:
            sample.set_metainfo(dict(image_to_view=np.eye(3)))
    for config in (tiny_model_config, tiny_simcc_config):
        model = MODELS.build(config(5, type='ViewConsistency')).train()
        wrappers = PlayerOptimWrapperConstructor(
            dict(optimizer=dict(type='SGD', lr=0.1))
        )(model)
        (loss,) = model.train_step(dict(target=target), wrappers).values()
        assert 0 < loss < 20


@pytest.mark.slow
def test_backends_of_the_page_get_the_scalars_of_its_table(
    hand_pair, tmp_path, monkeypatch
):
    # Stand-ins: neither package is one of those that the tests install.
    tensorboard, wandb = MagicMock(), MagicMock()
    monkeypatch.setitem(sys.modules, 'torch.utils.tensorboard', tensorboard)
    monkeypatch.setitem(sys.modules, 'wandb', wandb)
    page = ROOT / 'docs/logging.md'
    (code,) = blocks(page, 'python')
    code = code.replace("'configs/", f"'{ROOT}/configs/").replace('# dict(', 'dict(')
    (tmp_path / 'config.py').write_text(code)
    cfg = tiny_config(hand_pair, tmp_path / 'run', max_iters=2)
    cfg.visualizer = Config.fromfile(tmp_path / 'config.py').visualizer
    stages.train(cfg)
    writer = tensorboard.SummaryWriter.return_value
    written = {call.args[0] for call in writer.add_scalar.call_args_list}
    logged = {name for call in wandb.init().log.call_args_list for name in call.args[0]}
    logged |= {name for call in wandb.log.call_args_list for name in call.args[0]}
    rows = re.findall(r'^\| (`.*?) \|', page.read_text(encoding='utf-8'), re.MULTILINE)
    named = [name for row in rows for name in re.findall(r'`([\w/]+)', row)]
    assert len(named) == 7
    for name in named:
        assert any(found.startswith(name) for found in written), name
        assert any(found.startswith(name) for found in logged), name
    assert writer.add_image.called and wandb.Image.called


def test_photographs_of_getting_started_go_on_from_the_quickstart(
    tmp_path, monkeypatch
):
    monkeypatch.setenv('RHD_ROOT', 'data/quickstart/RHD_published_v2')
    monkeypatch.setenv('H3D_ROOT', 'data/quickstart/H3D_crop')
    for name, text in saved_files(ROOT / 'docs/getting_started.md').items():
        (tmp_path / name).write_text(text)
    (tmp_path / 'configs').symlink_to(ROOT / 'configs')
    own = Config.fromfile(tmp_path / 'my_photographs.py')
    own.work_dir = 'work_dirs/my_photographs'
    tool = runpy.run_path(str(ROOT / 'tools/quickstart.py'))
    stage = tool['load_config']('pretrain', Path('work_dirs/quickstart'), 0)
    assert pretrained_path(load_pretrain_config(own)) == pretrained_path(stage)


def test_dataset_of_the_guide_reads_its_layout_and_names_what_is_missing(tmp_path):
    dataset_type = example('CONTRIBUTING.md', 'WebcamHands')['WebcamHands']
    keypoints = np.arange(42, dtype=np.float32).reshape(21, 2)
    folder = tmp_path / 'webcam_hands'
    folder.mkdir()
    (folder / 'labels.json').write_text(json.dumps([['a.jpg', keypoints.tolist()]]))
    with pytest.raises(InputError, match='a.jpg'):
        dataset_type(data_root=str(tmp_path), split='all')
    cv2.imwrite(str(folder / 'a.jpg'), np.zeros((64, 64, 3), np.uint8))
    (info,) = dataset_type(data_root=str(tmp_path), split='all')
    assert np.array_equal(info['keypoints'][0], keypoints)


def test_validator_of_the_guide_needs_no_labels():
    example('CONTRIBUTING.md', 'MeanConfidence')
    metric = METRICS.build(dict(type='MeanConfidence', _scope_='mmpose'))
    for scores in ([[0.2, 0.4]], [[0.6, 0.8]]):
        metric.process(
            {}, [dict(pred_instances=dict(keypoint_scores=np.array(scores)))]
        )
    assert metric.evaluate(2) == pytest.approx({'validator/confidence': 0.5})


def test_readme_has_a_row_for_every_method_and_is_read_in_two_minutes():
    text = (ROOT / 'README.md').read_text(encoding='utf-8')
    rows = re.findall(r'^\|.*\| `(\w+)` \|.*\|$', text, re.MULTILINE)
    assert sorted(rows) == METHODS
    words = [word for word in text.split() if any(map(str.isalnum, word))]
    assert len(words) < 700


@pytest.mark.parametrize('page', PAGES, ids=lambda page: page.name)
def test_every_file_that_a_page_links_to_exists(page):
    links = re.findall(r'\]\(([^)#]+)[^)]*\)', page.read_text(encoding='utf-8'))
    paths = [link for link in links if '://' not in link]
    assert not [path for path in paths if not (page.parent / path).exists()]


@pytest.mark.parametrize('name', ['CHANGELOG.md', 'CONTRIBUTING.md'])
def test_links_of_a_page_that_the_site_includes_begin_at_the_root(name):
    # The option relative-docs of its include finds them by that.
    links = re.findall(r'\]\((?!\w+://|#)(.*?)\)', (ROOT / name).read_text('utf-8'))
    assert links and all(link.startswith('./') for link in links)


def test_site_lists_every_page():
    text = (ROOT / 'docs/index.md').read_text(encoding='utf-8')
    toctrees = re.findall(r'```{toctree}\n(.*?)```', text, re.DOTALL)
    names = [line for tree in toctrees for line in re.findall(r'^[\w/]+$', tree, re.M)]
    pages = {str(page.relative_to(ROOT / 'docs').with_suffix('')) for page in DOCS}
    assert len(names) == len(set(names)) and {*names, 'index'} == pages


@pytest.mark.slow
@pytest.mark.skipif(find_spec('sphinx') is None, reason='`make docs` installs Sphinx')
def test_site_is_built_without_a_warning(tmp_path):
    build = [sys.executable, '-m', 'sphinx', '-q', '-W', ROOT / 'docs', tmp_path]
    subprocess.run(build, cwd=ROOT, check=True, timeout=300)
    index = (tmp_path / 'api.html').read_text(encoding='utf-8')
    described = set(re.findall(r'id="mmregda\.[\w.]*?(\w+)"', index))
    modules = (apis, codecs, datasets, engine, evaluation, models, visualization)
    public = {
        name
        for module in modules
        for name in module.__all__
        if callable(getattr(module, name))
    }
    assert not public - described


def test_every_component_in_a_table_is_registered():
    roots = [DATASETS, HOOKS, LOOPS, METRICS, MODEL_WRAPPERS, MODELS]
    roots += [OPTIM_WRAPPER_CONSTRUCTORS, OPTIM_WRAPPERS, PARAM_SCHEDULERS]
    text = (ROOT / 'docs' / 'own_data.md').read_text(encoding='utf-8')
    rows = re.findall(r'^\| (`\w+`(?:, `\w+`)*) \|', text, re.MULTILINE)
    names = [name for row in rows for name in re.findall(r'`(\w+)`', row)]
    assert len(names) > 10
    missing = [name for name in names if not any(find(root, name) for root in roots)]
    assert not missing


def test_readme_lists_every_method():
    adaptations = {
        name
        for name, kind in MODELS.module_dict.items()
        if kind.__module__.startswith('mmregda.') and issubclass(kind, BaseAdaptation)
    }
    text = (ROOT / 'README.md').read_text(encoding='utf-8')
    assert set(re.findall(r'\| `(\w+)` \|', text)) == adaptations


def find(registry, name):
    return registry.get(name) or registry.get(f'mmpose.{name}')
