"""tools/check_dataset.py as a user types it."""

import csv
import shutil
import subprocess
import sys

import pytest
from conftest import ROOT, tiny_config

pytestmark = pytest.mark.slow


def check(*arguments):
    command = [sys.executable, str(ROOT / 'tools/check_dataset.py')]
    return subprocess.run(
        [*command, *map(str, arguments)], capture_output=True, text=True, timeout=300
    )


@pytest.fixture
def pair(hand_pair, tmp_path):
    """Data and its config, to be spoilt."""
    shutil.copytree(hand_pair, tmp_path / 'pair')
    tiny_config(tmp_path / 'pair', 'unused').dump(str(tmp_path / 'tiny.py'))
    return tmp_path / 'pair'


def test_sound_data_exits_with_0_and_leaves_a_page(pair, tmp_path):
    done = check(tmp_path / 'tiny.py', '--out', tmp_path / 'out', '--workers', 2)
    assert done.returncode == 0, done.stderr[-2000:]
    assert 'Nothing was found' in done.stdout
    assert 'train/source' in done.stdout and '100%' not in done.stdout
    page = (tmp_path / 'out/summary.md').read_text()
    assert '| samples |' in page
    assert (tmp_path / 'out/findings.csv').read_text().count('\n') == 1


def test_problems_exit_with_1_and_are_listed_in_full(pair, tmp_path):
    images = sorted((pair / 'RHD_published_v2/evaluation/color').iterdir())
    for path in images:
        path.write_bytes(path.read_bytes()[:-50])
    done = check(tmp_path / 'tiny.py', '--out', tmp_path / 'out', '--workers', 1)
    assert done.returncode == 1, done.stderr[-2000:]
    assert 'damaged image' in done.stdout
    with open(tmp_path / 'out/findings.csv', newline='') as file:
        rows = list(csv.DictReader(file))
    first = rows[0]['path']
    assert f'`{first}`: image "{first}" is cut short' in done.stdout
    assert {row['path'] for row in rows} <= {str(path) for path in images}
    assert len(rows) >= 5
    assert {(r['kind'], r['split'], r['spoils']) for r in rows} == {
        ('damaged image', 'val/source', 'yes')
    }


def test_data_that_is_not_there_exits_with_2_and_one_message(tmp_path):
    tiny_config(tmp_path / 'nowhere', 'unused').dump(str(tmp_path / 'tiny.py'))
    done = check(tmp_path / 'tiny.py', '--out', tmp_path / 'out')
    assert done.returncode == 2
    assert 'Traceback' not in done.stderr
    assert 'nowhere' in done.stderr and 'RHD_published_v2' in done.stderr
    assert not (tmp_path / 'out').exists()


def test_a_missing_config_exits_with_2():
    done = check('nowhere.py')
    assert done.returncode == 2
    assert 'error: config "nowhere.py" does not exist' in done.stderr
