"""tools/browse_dataset.py as a user types it."""

import os
import subprocess
import sys

import cv2
import pytest
from conftest import ROOT, tiny_config

pytestmark = pytest.mark.slow


def browse(*arguments):
    # No display, and a shell that says there is one.
    env = dict(os.environ, DISPLAY=':99', MPLBACKEND='TkAgg')
    command = [sys.executable, str(ROOT / 'tools/browse_dataset.py')]
    return subprocess.run(
        [*command, *map(str, arguments)],
        env=env,
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.fixture(scope='module')
def tiny_file(hand_pair, tmp_path_factory):
    path = tmp_path_factory.mktemp('config') / 'tiny.py'
    tiny_config(hand_pair, 'unused').dump(str(path))
    return path


def test_a_sheet_is_written_and_named(tiny_file, tmp_path):
    out = tmp_path / 'sheet.png'
    done = browse(tiny_file, '--out', out, '--num', 4)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.splitlines()[-1] == str(out)
    height, width, _ = cv2.imread(str(out)).shape
    # Two rows of two pairs.
    assert width > 1.5 * height


def test_one_domain_is_drawn_before_augmentation(tiny_file, tmp_path):
    out = tmp_path / 'sheet.png'
    done = browse(
        *(tiny_file, '--out', out, '--num', 6),
        *('--stage', 'before', '--cfg-options', 'train_dataloader.target=None'),
    )
    assert done.returncode == 0, done.stderr[-2000:]
    height, width, _ = cv2.imread(str(out)).shape
    assert width < height


def test_a_missing_config_is_one_message():
    done = browse('nowhere.py')
    assert done.returncode == 1
    assert 'error: config "nowhere.py" does not exist' in done.stderr
    assert 'Traceback' not in done.stderr
