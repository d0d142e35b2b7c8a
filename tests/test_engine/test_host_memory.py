"""What a process frees it keeps."""

import platform
import subprocess
import sys

import pytest

from mmregda.engine import host_memory

MEGABYTES = 64
# Without the package, and in a process of its own: the setting stays.
SCRIPT = f"""
import resource, runpy, sys
import numpy as np
module = runpy.run_path({host_memory.__file__!r})

def resident():
    with open('/proc/self/statm') as file:
        return int(file.read().split()[1]) * resource.getpagesize() >> 20

if sys.argv[1].startswith('keep'):
    module['keep_freed_memory']()
faults = []
for _ in range(5):
    np.ones({MEGABYTES} << 17)
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
if sys.argv[1] == 'keep and release':
    held = [np.ones(1 << 13) for _ in range({MEGABYTES} << 4)]
    last = np.ones(1)
    del held
    before = resident()
    module['release_freed_memory']()
    print(before - resident())
else:
    print(faults[-1] - faults[0])
"""


needs_glibc = pytest.mark.skipif(
    platform.libc_ver()[0] != 'glibc', reason='another C library'
)


def outcome(choice):
    return int(subprocess.check_output([sys.executable, '-c', SCRIPT, choice]))


@needs_glibc
def test_memory_taken_again_is_not_cleared_again():
    faults = {choice: outcome(choice) for choice in ('keep', 'give back')}
    # At least one for each huge page of 2 MB.
    assert faults['give back'] >= 4 * MEGABYTES / 2
    assert faults['keep'] < 10


@needs_glibc
def test_what_was_kept_can_be_handed_back():
    assert outcome('keep and release') > MEGABYTES / 2
