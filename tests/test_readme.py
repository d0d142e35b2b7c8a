"""What README shows works as it stands there."""

import re

import torch
from conftest import ROOT, random_batch, tiny_model_config
from mmpose.registry import MODELS

from mmregda.engine import PlayerOptimWrapperConstructor

README = (ROOT / 'README.md').read_text(encoding='utf-8')


def test_method_of_the_example_trains():
    (code,) = (
        block
        for block in re.findall(r'```python\n(.*?)```', README, re.DOTALL)
        if 'class EntropyMinimization' in block
    )
    assert len(code.splitlines()) < 50
    exec(compile(code, 'README.md', 'exec'), {})
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


def test_every_file_that_readme_links_to_exists():
    links = re.findall(r'\]\(([^)]+)\)', README)
    paths = [link for link in links if '://' not in link]
    assert paths
    assert not [path for path in paths if not (ROOT / path).exists()]


def test_every_component_in_readme_is_registered():
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

    roots = [DATASETS, HOOKS, LOOPS, METRICS, MODEL_WRAPPERS]
    roots += [OPTIM_WRAPPER_CONSTRUCTORS, OPTIM_WRAPPERS, PARAM_SCHEDULERS, MODELS]
    rows = re.findall(r'^\| (`\w+`(?:, `\w+`)*) \|', README, re.MULTILINE)
    names = [name for row in rows for name in re.findall(r'`(\w+)`', row)]
    assert len(names) > 10
    missing = [n for n in names if not any(find(root, n) for root in roots)]
    assert not missing


def find(registry, name):
    return registry.get(name) or registry.get(f'mmpose.{name}')
