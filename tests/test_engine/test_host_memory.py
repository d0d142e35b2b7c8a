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
if sys.argv[1] == 'keep':
    module['keep_freed_memory']()
faults = []
for _ in range(5):
    np.ones({MEGABYTES} << 17)
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
print(faults[-1] - faults[0])
"""


@pytest.mark.skipif(platform.libc_ver()[0] != 'glibc', reason='another C library')
def test_memory_taken_again_is_not_cleared_again():
    faults = {
        choice: int(subprocess.check_output([sys.executable, '-c', SCRIPT, choice]))
        for choice in ('keep', 'give back')
    }
    # At least one for each huge page of 2 MB.
    assert faults['give back'] >= 4 * MEGABYTES / 2
    assert faults['keep'] < 10
