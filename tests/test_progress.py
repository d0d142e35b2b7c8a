"""Progress where no terminal shows bars."""

import io
import re

import pytest
from rich.console import Console

from mmregda import progress
from mmregda.progress import ProgressBars


@pytest.mark.parametrize('seconds', [0, 3600])
def test_a_file_gets_lines_with_the_time_left_now_and_then(monkeypatch, seconds):
    monkeypatch.setattr(progress, '_SECONDS_PER_LINE', seconds)
    file = io.StringIO()
    clock = iter(range(10**6))
    bars = ProgressBars(
        console=Console(file=file, width=80),
        get_time=lambda: next(clock),
        auto_refresh=False,
    )
    with bars:
        for _ in bars.track(range(3), description='reading'):
            pass
    lines = file.getvalue().splitlines()
    seen = [re.fullmatch(r'reading .* (\d)/3 ([\d:]+) ([-\d:]+) *', x) for x in lines]
    assert all(seen)
    # rich prints the last one itself.
    expected = ['3'] if seconds else ['0', '1', '2', '3', '3']
    assert [line[1] for line in seen] == expected
    if not seconds:
        assert seen[2][3] != '-:--:--'
