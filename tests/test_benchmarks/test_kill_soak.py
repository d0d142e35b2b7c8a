"""The soak of kills: what it compares, and that it sees a bit."""

import importlib
import random
import subprocess
import sys

import numpy as np
import pytest
import torch
from conftest import ROOT
from mmengine.logging import HistoryBuffer

pytestmark = pytest.mark.slow


@pytest.fixture(scope='module')
def kill_soak():
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.syspath_prepend(str(ROOT / 'benchmarks'))
        # It sets this for the trainings it starts.
        monkeypatch.setenv('OMP_NUM_THREADS', '1')
        yield importlib.import_module('kill_soak')


def checkpoint(**changes):
    buffer = HistoryBuffer([0.5, 0.25], [1, 1])
    content = dict(
        meta=dict(time='now'),
        state_dict=dict(weight=torch.ones(2), iteration=torch.tensor(3)),
        optimizer=dict(head=dict(state={0: dict(momentum_buffer=torch.zeros(2))})),
        message_hub=dict(
            log_scalars={'train/loss': buffer, 'train/time': HistoryBuffer([1.0], [1])},
            runtime_info=dict(
                best_score=0.5, last_ckpt='a/iter_2.pth', colors=np.zeros((21, 3))
            ),
        ),
        param_schedulers=dict(head=[dict(last_step=4)]),
    )
    content.update(changes)
    return content


def test_clock_and_place_make_no_difference(kill_soak):
    other = checkpoint(meta=dict(time='later'))
    other['message_hub']['log_scalars']['train/time'] = HistoryBuffer([2.0], [1])
    other['message_hub']['runtime_info']['last_ckpt'] = 'b/iter_2.pth'
    assert not list(kill_soak.differences(checkpoint(), other))


@pytest.mark.parametrize(
    'path, value',
    [
        (('state_dict', 'weight'), torch.tensor([1.0, 1.0 + 2**-23])),
        (('state_dict', 'iteration'), torch.tensor(4)),
        (('state_dict', 'more'), torch.ones(1)),
        (('optimizer', 'head', 'state', 0, 'momentum_buffer'), torch.ones(2)),
        (('param_schedulers', 'head', 0, 'last_step'), 5),
        (('message_hub', 'runtime_info', 'best_score'), 0.25),
        (('message_hub', 'runtime_info', 'colors'), np.ones((21, 3))),
        (
            ('message_hub', 'log_scalars', 'train/loss'),
            HistoryBuffer([0.5, 0.125], [1, 1]),
        ),
    ],
    ids=lambda value: '.'.join(map(str, value)) if isinstance(value, tuple) else '',
)
def test_any_other_difference_is_found_and_named(kill_soak, path, value):
    other = checkpoint()
    place = other
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    found = list(kill_soak.differences(checkpoint(), other))
    assert found and all(str(path[-1]) in where for where in found)


class RunThatForgets:
    """Is killed while it adapts, and then pretrains again."""

    printed = ''

    def __init__(self):
        self.told = []

    def where(self):
        return ('adapt', 3) if self.told else ('pretrain', 0)

    def events(self):
        return self.told

    def work_dirs(self):
        return []

    def start(self, fault='', stage='', at=0):
        self.told = [*self.told, ('begin', 'pretrain', 0)]
        code = 'import os; os.kill(os.getpid(), 9)' if fault else ''
        return subprocess.Popen([sys.executable, '-c', code], start_new_session=True)


def test_a_stage_that_is_lost_is_a_problem(kill_soak):
    run = RunThatForgets()
    result = kill_soak.disturb(run, ['in a step'], 0, 0, random.Random(0))
    assert result['problems'] == ['in a step: the first stage is lost']
