"""Every command that README, CONTRIBUTING and the pages of docs/ show.

Commands for users' data are run, one after another as on their page, with small
networks and data and two iterations. What measures for long, starts several processes
or installs is asked whether it takes these arguments, and run by another test.
"""

import argparse
import json
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from unittest.mock import MagicMock

import numpy as np
import pytest
import scipy.io
from conftest import ROOT
from documented import commands, saved_files
from layouts import lsp_joints, lspet_joints, write_lsp, write_lspet, write_surreal
from mmengine.config import Config
from shrunk import save_start, shrink, write_labelled_images
from test_documents import PAGES

import mmregda.benchmark.jobs
import mmregda.command_line
import mmregda.engine
import mmregda.synthetic
from mmregda.config_files import read_config

pytestmark = pytest.mark.slow

RUN_BY = {
    'benchmarks/data.py': 'test_benchmarks/test_data.py',
    'benchmarks/fuzz.py': 'test_hostile_files.py',
    'benchmarks/kill_soak.py': 'test_benchmarks/test_kill_soak.py',
    'benchmarks/long_run.py': 'test_benchmarks/test_long_run.py',
    'benchmarks/precision.py': 'test_benchmarks/test_precision.py',
    'benchmarks/profile_step.py': 'test_benchmarks/test_step.py',
    'benchmarks/pseudo_heatmaps.py': (
        'test_benchmarks/test_pseudo_heatmaps_benchmark.py'
    ),
    'benchmarks/scaling_cost.py': 'test_benchmarks/test_scaling_and_startup.py',
    'benchmarks/source_statistics.py': 'test_benchmarks/test_source_statistics.py',
    'benchmarks/startup.py': 'test_benchmarks/test_scaling_and_startup.py',
    'benchmarks/step.py': 'test_benchmarks/test_step.py',
    'mmregda.apis.labelling': 'test_labelling.py',
    'mmregda.benchmark.validators': 'test_benchmark/test_validator_table.py',
    'tools/dist_train.sh': 'test_tools/test_launchers.py',
    'tools/slurm_train.sh': 'test_tools/test_launchers.py',
    'torchrun': 'test_engine/test_distributed.py',
    'pip wheel': 'test_tools/test_wheel.py',
    'pip install': 'test_tools/test_wheel.py',
    # MMPose's and TensorBoard's own, on files that these tests write:
    'demo/inferencer_demo.py': 'test_tools/test_export.py',
    'tensorboard': 'test_documents.py',
}
# What stands on the pages for what a reader has.
PLACEHOLDERS = {
    'CONFIG': 'configs/regda_rhd2h3d.py',
    'CHECKPOINT': 'checkpoint.pth',
}


def write_hand_photographs(images, root):
    """As many entries as the published file has, of the same few images."""
    shutil.copytree(images / 'images', root / 'images')
    content = json.loads((images / '21.json').read_text())
    numbers = range(400)
    for name in ('images', 'annotations'):
        few = content[name]
        content[name] = [dict(few[i % len(few)], id=i) for i in numbers]
    for i, label in zip(numbers, content['annotations']):
        label['image_id'] = i
        size = content['images'][i]
        label.update(bbox=[1, 1, size['width'] - 2, size['height'] - 2])
    (root / 'keypoints2d_coco.json').write_text(json.dumps(content))


def write_people(root):
    """As many photographs as make a block of tests, all the same."""
    write_lspet(root, lspet_joints(5), 48, 48)
    images = root / 'lspet/images'
    for number in range(6, 806):
        (images / f'im{number:05d}.jpg').hardlink_to(images / 'im00001.jpg')
    joints = np.tile(lspet_joints(5), 161)
    scipy.io.savemat(root / 'lspet/joints.mat', dict(joints=joints))


class Accepted(BaseException):
    """Raised where a command would begin its work."""


def accept(*_, **__):
    raise Accepted


@pytest.fixture
def desk(hand_pair, tmp_path, monkeypatch):
    """A checkout beside the data that the pages speak of, all small."""
    for name in ('benchmarks', 'configs', 'tools'):
        (tmp_path / name).symlink_to(ROOT / name)
    shutil.copytree(ROOT / 'docs', tmp_path / 'docs', ignore=lambda *_: ['_build'])
    (tmp_path / '.venv/bin').mkdir(parents=True)
    (tmp_path / '.venv/bin/activate').touch()
    (tmp_path / 'data').mkdir()
    images = write_labelled_images(tmp_path / 'path/to')
    for folder in hand_pair.iterdir():
        for place in ('data', 'path/to'):
            (tmp_path / place / folder.name).symlink_to(folder)
    for name in ('quickstart', 'synthetic_hands'):
        (tmp_path / 'data' / name).symlink_to(hand_pair)
    for name in (
        'photographs',
        'path/to/photographs',
        'path/to/crops',
        'path/to/others',
    ):
        shutil.copytree(images / 'images', tmp_path / name)
    for name in ('others.csv', 'data/photographs.csv'):
        shutil.copy(images / 'boxes.csv', tmp_path / name)
    shutil.copy(images / '21.json', tmp_path / 'few.json')
    write_hand_photographs(images, tmp_path / 'path/to/hand_photographs')
    write_people(tmp_path / 'path/to')
    coco = 'mmpose::body_2d_keypoint/topdown_heatmap/coco/td-hm_res50_8xb64-210e_'
    (tmp_path / 'path/to/your_config.py').write_text(
        f"_base_ = ['{coco}coco-256x192.py']\n"
    )
    base = "_base_ = ['{}/configs/_base_/adaptations/regda.py']\n".format(ROOT)
    for name in ('path/to/fragment.py', 'regda_bf16.py'):
        (tmp_path / name).write_text(base)

    fromfile = Config.fromfile

    def fromfile_shrunk(*args, **kwargs):
        cfg = fromfile(*args, **kwargs)
        return shrink(cfg, images) if 'model' in cfg else cfg

    monkeypatch.setattr(Config, 'fromfile', fromfile_shrunk)

    def write_hands(root, *_, **__):
        root = Path(root)  # It is there.
        return root / 'RHD_published_v2', root / 'H3D_crop'

    def write_bodies(root, *_, **__):
        root = Path(root)
        write_surreal(root, number=6, side=48)
        write_lsp(root, lsp_joints(6), 48, 48)
        return root / 'surreal_processed', root / 'lsp'

    # The tests do without TensorBoard.
    monkeypatch.setitem(sys.modules, 'torch.utils.tensorboard', MagicMock())
    monkeypatch.setattr(mmregda.synthetic, 'write_hand_pair', write_hands)
    monkeypatch.setattr(
        mmregda.synthetic, 'write_rhd', lambda *_, **__: hand_pair / 'RHD_published_v2'
    )
    monkeypatch.setattr(mmregda.synthetic, 'write_body_pair', write_bodies)
    monkeypatch.setattr(
        mmregda.synthetic, 'write_surreal', lambda root, *_, **__: write_bodies(root)[0]
    )
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize('page', PAGES, ids=lambda page: page.stem)
def test_commands_of_a_page(page, desk, monkeypatch, capsys):
    if page.suffix != '.md':
        return
    for name, text in saved_files(page).items():
        (desk / name).write_text(text)
    monkeypatch.setenv('TORCH_FORCE_WEIGHTS_ONLY_LOAD', '1')
    for command in commands(page, desk, PLACEHOLDERS):
        with monkeypatch.context() as patch:
            for name, value in command.variables.items():
                patch.setenv(name, value)
            run(command.words, patch)


def provide(word, arguments):
    """The checkpoint that a command reads, if nothing has made it."""
    if not word.endswith('.pth') or os.path.exists(word):
        return
    trained = os.path.join(os.path.dirname(word), 'iter_2.pth')
    if os.path.exists(trained):
        shutil.copy(trained, word)
        return
    os.makedirs(os.path.dirname(word) or '.', exist_ok=True)
    save_start(read_config(arguments[0]), word, trained=True)


def run(words, patch):
    program, *arguments = words
    if program == 'mmregda':
        program, arguments = 'python', [f'tools/{arguments[0]}.py', *arguments[1:]]
        if arguments == ['tools/doctor.py']:
            arguments = ['-m', 'mmregda.compat']
    if program == 'make':
        shown = subprocess.run(
            ['make', '-n', *arguments],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for line in shown.replace('\\\n', ' ').splitlines():
            words = shlex.split(line)
            if words[1:2] == ['tools/quickstart.py']:
                ask(words[1], words[2:], patch)
        return
    if program == 'bash':
        named, (script, *arguments) = arguments[0], arguments
        if script == 'tools/dist_train.sh':
            ask('tools/train.py', [arguments[0], *arguments[2:]], patch)
    elif program == 'python' and arguments[0] == '-c':
        exec(arguments[1], {})
        return
    elif program == 'python':
        if arguments[0] == '-m':
            arguments = arguments[1:]
        named, *arguments = arguments
        if named == 'benchmarks/regda_variants.py':  # It hands its arguments on.
            ask('tools/benchmark.py', arguments, patch)
        elif named not in RUN_BY:
            call(named, arguments, patch)
        elif (ROOT / named).exists() or named.startswith('mmregda.'):
            ask(named, arguments, patch)
    else:
        named = ' '.join(words[:2]) if program == 'pip' else program
    if named in RUN_BY:
        text = (ROOT / 'tests' / RUN_BY[named]).read_text()
        word = Path(named).stem.rpartition('.')[2]
        if (ROOT / named).exists():
            assert re.search(rf'\b{word}\b', text), f'{RUN_BY[named]}: no {named}'


def call(script, arguments, patch):
    """Run it here, up to its end."""
    for word in (*arguments, os.environ.get('CHECKPOINT', '')):
        provide(word, arguments)
    if script == 'tools/benchmark.py':  # It plans, and begins with none of its runs.
        patch.setattr(mmregda.engine, 'rehearse', lambda *_, **__: None)
        patch.setattr(mmregda.benchmark.jobs, 'run_jobs', accept)
    patch.setattr(sys, 'argv', [script, *arguments])
    patch.syspath_prepend(os.path.dirname(script))
    try:
        if script.endswith('.py'):
            runpy.run_path(script, run_name='__main__')
        else:
            runpy.run_module(script, run_name='__main__')
    except Accepted:
        pass
    except SystemExit as stopped:
        assert not stopped.code, f'{script} {arguments}: {stopped.code}'


def ask(script, arguments, patch):
    """Have the arguments read, and nothing done with them."""
    for kind in (argparse.ArgumentParser, mmregda.command_line.ArgumentParser):
        patch.setattr(kind, 'parse_args', accepting(kind.parse_args))
    patch.setattr(sys, 'argv', [script, *arguments])
    patch.syspath_prepend(os.path.dirname(script))
    with pytest.raises(Accepted):
        run_it = runpy.run_path if script.endswith('.py') else runpy.run_module
        run_it(script, run_name='__main__')


def accepting(parse_args):
    def parse(*args, **kwargs):
        parse_args(*args, **kwargs)
        raise Accepted

    return parse
