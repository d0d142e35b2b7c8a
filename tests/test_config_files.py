"""What is wrong in a config file or an override is one message."""

import os

import pytest
from conftest import ROOT
from mmengine.config import Config

from mmregda import InputError
from mmregda.config_files import merge_options, read_config

REGDA = ROOT / 'configs/regda_rhd2h3d.py'
ON_REGDA = f'_base_ = [{str(REGDA)!r}]\n'


@pytest.fixture
def refusal(tmp_path):
    """The message about a file, beside others."""

    def read(content, name='own.py', options=None, **others):
        for stem, text in others.items():
            (tmp_path / f'{stem}.py').write_text(text)
        (tmp_path / name).write_text(content)
        with pytest.raises(InputError) as refused:
            read_config(str(tmp_path / name), options)
        return str(refused.value)

    return read


def test_config_and_its_overrides_are_read():
    plain = Config.fromfile(str(REGDA))
    cfg = read_config(str(REGDA), {'train_cfg.max_iters': 7, 'load_from': 'x.pth'})
    assert (cfg.train_cfg.max_iters, cfg.load_from) == (7, 'x.pth')
    cfg.train_cfg.max_iters, cfg.load_from = plain.train_cfg.max_iters, plain.load_from
    assert cfg.to_dict() == plain.to_dict()


def test_every_shipped_config_is_read():
    paths = [
        path
        for path in (ROOT / 'configs').rglob('*.py')
        if '_base_' not in path.parts or 'adaptations' in path.parts
    ]
    assert len(paths) > 20
    for path in paths:
        read_config(str(path))


@pytest.mark.parametrize(
    ('content', 'parts'),
    [
        ('x = 1\ny = = 2\n', ['own.py", line 2: invalid syntax: y = = 2']),
        ('x = 1\ny = undefined\n', ['NameError', "'undefined'", 'own.py:2']),
        ('x = [1][5]\n', ['IndexError', 'own.py:1']),
        (ON_REGDA + 'x = _base_.modle\n', ['own.py:2', "'modle'"]),
        ("_base_ = ['nowhere.py']\n", ['FileNotFoundError', 'nowhere.py']),
        ("_base_ = ['middle.py']\n", ['FileNotFoundError', 'gone.py']),
        ("_base_ = ['broken.py']\n", ['broken.py", line 1: ']),
        ("_base_ = ['wrong.py']\n", ['NameError', 'wrong.py:2']),
        ("_base_ = ['one.py', 'two.py']\n", ['Duplicate key', 'both']),
        (
            "custom_imports = dict(imports=['no_such_module'])\n",
            ["No module named 'no_such_module'", 'custom_imports', 'PYTHONPATH'],
        ),
    ],
)
def test_mistake_is_named_with_its_file(refusal, content, parts):
    message = refusal(
        content,
        middle="_base_ = ['gone.py']\n",
        broken='x = (1,\n',
        wrong='x = 1\ny = undefined\n',
        one='both = 1\n',
        two='both = 2\n',
    )
    assert 'own.py' in message and '\n' not in message
    for part in parts:
        assert part in message


@pytest.mark.parametrize(
    ('name', 'content'),
    [('a.json', '{"model": '), ('a.yaml', 'model: [1, 2\n'), ('a.pth', 'weights')],
)
def test_file_of_another_kind_is_named(refusal, name, content):
    assert f'{name}"' in refusal(content, name)


def test_missing_file_is_named_with_its_likes(tmp_path):
    (tmp_path / 'regda_hands.py').touch()
    with pytest.raises(InputError, match='hand.py" does not exist.*mean regda_hands?'):
        read_config(str(tmp_path / 'regda_hand.py'))
    with pytest.raises(InputError, match='is a folder'):
        read_config(str(tmp_path))


def test_bug_of_an_imported_module_is_named_with_its_line(tmp_path, monkeypatch):
    (tmp_path / 'module_with_a_bug.py').write_text('x = dict()["missing"]\n')
    monkeypatch.syspath_prepend(str(tmp_path))
    path = tmp_path / 'own.py'
    path.write_text("custom_imports = dict(imports=['module_with_a_bug'])\n")
    with pytest.raises(InputError, match="KeyError: 'missing', at .*bug.py:1"):
        read_config(str(path))


@pytest.mark.parametrize(
    ('key', 'parts'),
    [
        ('train_cgf.max_iters', ['no run reads "train_cgf"', 'mean train_cfg?']),
        ('foo', ['no run reads "foo"']),
        ('train_dataloader.sorce.batch_size', ['"sorce"', 'mean source?']),
        ('train_dataloader.source.batchsize', ['"batchsize"', 'mean batch_size?']),
        ('val_evaluator.target.70.thr', ['target.70', 'cannot be merged']),
        ('val_evaluator.target.first.thr', ['target.first', 'cannot be merged']),
        ('log_level.x', ['log_level.x', 'cannot be merged']),
        ('randomness.sed', ['"sed"', 'mean seed?']),
    ],
)
def test_override_that_fits_nothing_is_refused(key, parts):
    with pytest.raises(InputError) as refused:
        read_config(str(REGDA), {key: 5})
    for part in parts:
        assert part in str(refused.value)


@pytest.mark.parametrize(
    'key',
    [
        *(
            'randomness.deterministic',
            'load_from',
            'compile',
            'channels_last',
            'resume',
        ),
        *('model.backbone.with_cp', 'pretrain.options.train_cfg.max_iters'),
        *('optim_wrapper.clip_grad.max_norm', 'env_cfg.dist_cfg.timeout'),
        *('train_dataloader.source.prefetch_factor', 'val_evaluator.target.0.thr'),
        *('model.adaptation.warm_start.hi', 'optim_wrapper.head.optimizer.lr'),
        *('param_scheduler.head.0.gamma', 'train_dataloader.target.dataset.views.a'),
    ],
)
def test_override_of_what_is_not_there_yet_is_taken(key):
    cfg = Config.fromfile(str(REGDA))
    if 'param_scheduler' in key and isinstance(cfg.param_scheduler, list):
        key = 'param_scheduler.0.gamma'
    merge_options(cfg, {key: 3}, '--cfg-options')
    node = cfg
    for part in key.split('.'):
        node = node[int(part)] if isinstance(node, list) else node[part]
    assert node == 3


def test_mistake_in_the_overrides_of_pretraining_is_named_as_theirs():
    from mmregda.engine.start import load_pretrain_config

    cfg = Config.fromfile(str(REGDA))
    cfg.work_dir = os.path.join('work_dirs', 'any')
    cfg.pretrain.options = {'train_cgf.max_iters': 3}
    with pytest.raises(
        InputError, match='pretrain.options train_cgf.max_iters: no run'
    ):
        load_pretrain_config(cfg)
