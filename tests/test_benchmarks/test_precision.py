"""The benchmark of bfloat16: it counts what it says."""

import importlib.util

import pytest
import torch
from conftest import ROOT

pytestmark = pytest.mark.slow


def test_ties_and_other_maxima_are_counted():
    path = ROOT / 'benchmarks' / 'precision.py'
    spec = importlib.util.spec_from_file_location('precision_benchmark', path)
    benchmark = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(benchmark)
    reference = torch.zeros(1, 4, 8, 8)
    reference[0, :, 5, 6] = 1
    logits = reference.clone()
    logits[0, 1, 2, 2] = 1  # a tie, and the first of both is 5 pixels away
    logits[0, 2, 7, 7] = 1  # a tie, and the first of both is the right one
    differs, ties, distance = benchmark.compare(logits, reference)
    assert (differs, ties, distance) == (0.25, 0.5, 5.0)
    assert benchmark.compare(reference, reference) == pytest.approx((0, 0, 0))
