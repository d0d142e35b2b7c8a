"""The benchmark of pseudo heatmaps: its other ways are right, and it runs."""

import importlib.util
import math
import sys

import pytest
import torch
from conftest import ROOT

pytestmark = pytest.mark.slow

SCRIPT = ROOT / 'benchmarks' / 'pseudo_heatmaps.py'


@pytest.fixture
def benchmark(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    spec = importlib.util.spec_from_file_location('pseudo_heatmaps_benchmark', SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_each_way_is_the_definition(benchmark):
    logits = torch.full((2, 3, 12, 12), -1.0)
    places = [[(0, 0), (11, 3), (5, 6)], [(7, 7), (7, 8), (11, 11)]]
    for b, keypoints in enumerate(places):
        for k, (x, y) in enumerate(keypoints):
            logits[b, k, y, x] = 1

    def value(place, x, y):
        dx, dy = x - place[0], y - place[1]
        near = abs(dx) <= 6 and abs(dy) <= 6
        return near * math.exp(-(dx * dx + dy * dy) / 8)

    for way in (benchmark.ours, benchmark.dense, benchmark.Table(12)):
        truth, false = way(logits)
        for b, k, x, y in [(0, 0, 2, 1), (0, 2, 5, 0), (1, 0, 7, 8), (1, 1, 11, 11)]:
            values = [value(place, x, y) for place in places[b]]
            assert abs(truth[b, k, y, x] - values[k]) < 1e-6
            expected = min(sum(values) - values[k], 1)
            assert abs(false[b, k, y, x] - expected) < 1e-6


def test_tables_are_printed_for_tiny_sizes(benchmark, monkeypatch, capsys):
    arguments = '--batch 1 --keypoints 3 --size 8 --rounds 3'
    monkeypatch.setattr(sys, 'argv', [str(SCRIPT), *arguments.split()])
    benchmark.main()
    printed = capsys.readouterr().out
    assert '1 x 3 heatmaps of 8 x 8 on cpu; the table has 0 MiB' in printed
    rows = [line.split('|')[1:-1] for line in printed.splitlines() if ' to ' in line]
    assert [row[0].strip() for row in rows] == [
        'ours',
        'table',
        'dense',
        'ours, with both losses',
        *map(str, benchmark.KEYPOINTS),
    ]
    assert rows[0][2].strip() == '1.00 (1.00 to 1.00)'
