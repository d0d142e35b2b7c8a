"""The benchmark of the step: it compares like with like, and what it counts is so."""

import importlib
import re
import shutil
import sys
from contextlib import nullcontext

import pytest
import torch
from conftest import ROOT, tiny_model_config
from mmengine.config import Config

from mmregda.engine import loops

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != 'linux', reason='memory is that of Linux'),
]

BENCHMARKS = ROOT / 'benchmarks'
METHODS = [
    *('regda', 'dd', 'ground_false_minimax', 'mcd', 'dann', 'dan', 'source_only'),
    *('adabn', 'mean_teacher_regda'),
]


@pytest.fixture(scope='module')
def step():
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.syspath_prepend(str(BENCHMARKS))
        yield importlib.import_module('step')


@pytest.fixture(scope='module')
def profile_step(step):
    return importlib.import_module('profile_step')


@pytest.fixture(scope='module')
def network(tmp_path_factory) -> str:
    """A tiny network as a config of MMPose's has it."""
    model = tiny_model_config()
    model.pop('adaptation')
    path = tmp_path_factory.mktemp('network') / 'tiny.py'
    Config(dict(model=model), format_python_code=False).dump(path)
    return str(path)


@pytest.fixture
def setup(step, network):
    return step.Setup(naive=True, network=network, size=64, batch=3, keypoints=5)


@pytest.mark.parametrize('method', METHODS)
def test_ours_and_the_naive_iteration_train_the_same(step, setup, method):
    naive = setup._replace(method=method)
    difference = step.compare(naive, naive._replace(naive=False), iterations=2)
    assert difference.moved > 1e-3, 'nothing was trained, so nothing was compared'
    assert difference.parameters < 1e-4 * difference.moved
    # Of normalised features: about 1. A pass too many or too few is 0.1 of it.
    assert difference.statistics < 1e-3


def test_ours_and_the_naive_iteration_train_the_same_simcc(step):
    naive = step.Setup(naive=True, network='rtmpose-m', size=128, batch=2, keypoints=5)
    difference = step.compare(naive, naive._replace(naive=False), iterations=1)
    assert difference.moved > 1e-3, 'nothing was trained, so nothing was compared'
    assert difference.parameters < 1e-3 * difference.moved
    assert difference.statistics < 1e-3


def test_a_difference_of_method_is_no_rounding(step, setup):
    other = setup._replace(naive=False, method='dd')
    difference = step.compare(setup, other, iterations=2)
    assert difference.parameters > 1e-3 * difference.moved


@pytest.mark.parametrize(
    ('parameters', 'reordered', 'statistics', 'passes'),
    [
        (0.9e-4, 1e-3, 0.0, True),  # a tenth of the reordered's, nearly
        (1.1e-4, 1e-3, 0.0, False),
        (0.9e-6, 0.0, 0.0, True),  # a millionth of the way, nearly
        (1.1e-6, 0.0, 0.0, False),
        (0.0, 1e-3, 0.9e-3, True),
        (0.0, 1e-3, 0.1, False),  # a pass that is not counted
        (float('nan'), 1e-3, 0.0, False),
        (0.0, 1e-3, float('nan'), False),
    ],
)
def test_check_allows_rounding_alone(
    step, setup, monkeypatch, parameters, reordered, statistics, passes
):
    def compare(naive, other, iterations):
        if other.channels_last:
            return step.Difference(reordered, 0.5, moved=1.0)
        return step.Difference(parameters, statistics, moved=1.0)

    monkeypatch.setattr(step, 'compare', compare)
    with nullcontext() if passes else pytest.raises(SystemExit, match='regda'):
        step.check([setup], iterations=1)


def test_ours_does_without_a_third_of_the_passes(profile_step, setup):
    naive, ours = (profile_step.count(s) for s in (setup, setup._replace(naive=False)))
    assert (naive.forward, naive.backward) == (3, 3)
    assert (ours.forward, ours.backward) == (2, 2)
    assert 0.6 < ours.flops / naive.flops < 0.75
    # Step B's gradients of psi and f, and step C's of f' and f.
    assert naive.unread_gradients > 0
    # What B keeps of psi is used, for gradients that nobody reads.
    assert naive.host_reads == 3 + 2 * 4


@pytest.mark.parametrize('method', METHODS)
def test_nothing_is_computed_that_nobody_reads(profile_step, setup, method):
    counts = profile_step.count(setup._replace(naive=False, method=method))
    # The device has no values, so whatever the host asked for would have failed.
    assert counts.host_reads == 0
    assert counts.unread_gradients == 0
    assert counts.unread_bytes == 0


@pytest.mark.skipif(not torch.cuda.is_available(), reason='there is no GPU')
def test_gpu_fetches_all_of_a_batch_by_itself(step, setup):
    domains, _ = step.made_up_batch(setup._replace(device='cuda'), seed=0)
    for batch in domains.values():
        assert batch['inputs'].is_pinned()
    for sample in domains['source']['data_samples']:
        assert sample.gt_fields.heatmaps.is_pinned()
        assert sample.gt_instance_labels.keypoint_weights.is_pinned()


def printed_shares(capsys, monkeypatch, profile_step, *arguments):
    """The shares of the table that it prints, in percent, by their names."""
    monkeypatch.setattr(sys, 'argv', ['profile_step.py', *map(str, arguments)])
    profile_step.main()
    rows = re.findall(r'^\| (.+) \|$', capsys.readouterr().out, re.M)[2:]
    cells = [row.split(' | ') for row in rows]
    return {name: float(share.rstrip('%')) for name, *_, share in cells}


def test_operators_share_the_step(profile_step, network, monkeypatch, capsys):
    options = ['--networks', network, '--size', 64, '--batch', 2, '--keypoints', 3]
    options += ['--iterations', 2, '--shown', 4, '--device', 'cpu']
    shares = printed_shares(capsys, monkeypatch, profile_step, 'operators', *options)
    *names, others = shares
    assert len(names) == 4 and others == 'all others'
    assert any('convolution' in name for name in names)
    largest = list(shares.values())[:4]
    assert largest == sorted(largest, reverse=True)
    assert sum(shares.values()) == pytest.approx(100, abs=0.5)  # each is rounded


def test_parts_of_an_iteration_share_it(
    profile_step, hand_pair, tmp_path, monkeypatch, capsys
):
    def copy_hands(folder, *numbers, **options):  # in place of seconds of rendering
        shutil.copytree(hand_pair, folder, dirs_exist_ok=True)

    monkeypatch.setattr(profile_step, 'write_hand_pair', copy_hands)
    # It times this one, for as long as the process lasts.
    monkeypatch.setattr(loops, 'require_finite', loops.require_finite)
    # Beside the players' entries, there may be settings for all of them.
    config = tmp_path / 'clipped.py'
    config.write_text(
        f'_base_ = [{str(ROOT / "configs/quickstart/regda.py")!r}]\n'
        'optim_wrapper = dict(clip_grad=dict(max_norm=1.0))\n'
    )
    options = ['--iterations', 2, '--workers', 0, '--fused', '--config', config]
    shares = printed_shares(capsys, monkeypatch, profile_step, 'iteration', *options)
    assert shares.pop('all') == 100
    assert sum(shares.values()) == pytest.approx(100, abs=1)
    parts = {'waiting for data', 'moving and normalising it', 'step'}
    assert parts | {'looking at the losses', 'the loop itself'} <= set(shares)
    assert shares['step'] > 0 and min(shares.values()) >= 0


@pytest.mark.parametrize(
    ('config', 'message'),
    [
        ('quickstart/pretrain.py', 'nothing as the source and nothing as the target'),
        ('regda_surreal2lsp.py', 'SURREALDataset as the source and LSPDataset as the'),
        ('nowhere.py', 'does not exist'),
    ],
)
def test_iteration_of_what_is_not_rendered_is_refused(
    profile_step, monkeypatch, config, message
):
    arguments = ['iteration', '--config', str(ROOT / 'configs' / config)]
    monkeypatch.setattr(sys, 'argv', ['profile_step.py', *arguments])
    with pytest.raises(SystemExit, match=f'^error: config ".*{config}".* {message}'):
        profile_step.main()


@pytest.mark.parametrize(
    'arguments',
    ['counts --fused', 'operators --workers 0', 'iteration --networks resnet18'],
)
def test_option_that_would_not_be_read_is_refused(
    profile_step, monkeypatch, capsys, arguments
):
    monkeypatch.setattr(sys, 'argv', ['profile_step.py', *arguments.split()])
    with pytest.raises(SystemExit):
        profile_step.main()
    assert 'unrecognized arguments: --' in capsys.readouterr().err


def test_bfloat16_reaches_both_sides(step, setup):
    for naive in (True, False):
        contender = step.Contender(setup._replace(naive=naive, precision='bf16'))
        seen = []
        contender.model.backbone.register_forward_hook(
            lambda module, inputs, outputs, seen=seen: seen.append(outputs[-1].dtype)
        )
        contender.step(step.made_up_batch(contender.setup, seed=0))
        assert set(seen) == {torch.bfloat16}


def test_the_ends_are_the_naive_one_and_ours_with_everything_on(
    step, network, monkeypatch, capsys
):
    arguments = ['--networks', network, '--size', 64, '--batch', 2, '--keypoints', 3]
    arguments += ['--rounds', 2, '--precision', 'fp32', 'bf16', '--fused', '--ends']
    monkeypatch.setattr(
        sys, 'argv', ['step.py', *map(str, arguments), '--device', 'cpu']
    )
    step.main()
    rows = [r.split(' | ') for r in capsys.readouterr().out.splitlines() if 'px' in r]
    assert [row[0].rpartition(': ')[2] for row in rows] == [
        *('naive fp32', 'ours bf16, fused'),
    ]
    # There is no naive one of its precision; of the other it is.
    assert rows[1][2] == '' and float(rows[1][3].split()[0]) > 0


def test_table_is_printed(step, network, monkeypatch, capsys):
    arguments = ['--networks', network, '--size', 64, '--batch', 2, '--keypoints', 3]
    arguments += ['--rounds', 3, '--channels-last', '--fused', '--device', 'cpu']
    monkeypatch.setattr(sys, 'argv', ['step.py', *map(str, arguments)])
    step.main()
    printed = capsys.readouterr().out
    rows = re.findall(r'^\| \S+, regda, 64 px, 2 \+ 2: (.*) \|$', printed, re.M)
    names, *columns = zip(*(row.split(' | ') for row in rows))
    assert names == (
        'naive fp32',
        'ours fp32',
        'ours fp32, channels-last',
        'ours fp32, channels-last, fused',
    )
    milliseconds, alike, first, megabytes, of_naive = columns
    for value in (*milliseconds, *megabytes, *of_naive[1:]):
        assert float(value) > 0
    assert of_naive[0] == ''
    assert alike == first and alike[0] == ''
    for ratio in alike[1:]:
        low, middle, high = sorted(map(float, re.findall(r'[\d.]+', ratio)))
        assert low > 0 and ratio.startswith(f'{middle:.2f} (')
