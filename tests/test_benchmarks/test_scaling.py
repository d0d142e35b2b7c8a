"""What benchmarks/scaling.py counts and computes."""

import sys

import pytest
from conftest import ROOT
from processes import results

pytestmark = pytest.mark.slow


def load_benchmark():
    # In processes of its own too, to which no fixture reaches.
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.syspath_prepend(str(ROOT / 'benchmarks'))
        sys.modules.pop('scaling', None)
        import scaling

    return scaling


# How often an iteration steps psi, f and what the method adds, by the papers.
STEPS = dict(
    source_only=(1, 1, 0),
    adabn=(1, 1, 0),
    dan=(1, 1, 0),
    dann=(1, 1, 1),
    mcd=(1 + 4, 2, 2),
    dd=(2, 1, 2),
    regda=(2, 1, 2),
    mean_teacher_regda=(2, 2, 2),
)


def count():
    """Messages of each method, and what they have to say."""
    scaling = load_benchmark()
    found = {}
    with scaling.joined_processes('pytorch', {}):
        for method in scaling.METHODS:
            counts = scaling.volume(scaling.SMALL, method)
            model = scaling.Training(scaling.SMALL, method, 2, 64).model
            sizes = {
                player: sum(p.numel() for m in modules for p in m.parameters())
                for player, modules in model.players().items()
            }
            buffers = sum(b.numel() * b.element_size() for b in model.buffers())
            found[method] = counts, sizes, buffers
    return found


def test_no_gradient_is_sent_that_no_optimiser_reads():
    (found,) = results(count, 1)
    assert found.keys() == STEPS.keys()
    for method, (counts, sizes, buffers) in found.items():
        psi, f, added = STEPS[method]
        needed = psi * sizes['feature_extractor'] + f * sizes['head']
        needed += added * sizes.get('adversary', 0)
        assert counts['all_reduce'] == 4 * needed, method
        assert counts['broadcast'] == buffers, method
        # One for each step of a player; floats and integers of the buffers.
        assert counts['messages'] == psi + f + added + 2, method


def test_seconds_are_those_of_a_ring(monkeypatch):
    # Which the script sets.
    monkeypatch.setenv('OMP_NUM_THREADS', '1')
    scaling = load_benchmark()
    counts = dict(all_reduce=1000, broadcast=50)
    assert scaling.seconds_of(counts, 2, 100) == pytest.approx(10.5)
    assert scaling.seconds_of(counts, 4, 100) == pytest.approx(15.5)
