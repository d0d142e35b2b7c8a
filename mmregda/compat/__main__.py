"""``python -m mmregda.compat``: what was found here, repaired, and is missing.

Exits with 0 where mmregda can run and with 1 where it cannot.
"""

from __future__ import annotations

import importlib
import platform
import sys
import traceback
from typing import List, Optional, Tuple

from mmregda import compat

ROWS = (
    *('torch', 'torchvision', 'mmengine', 'mmcv', 'mmdet', 'mmpose', 'numpy', 'scipy'),
    *('cv2', 'xtcocotools', 'pycocotools'),
)


def found() -> List[Tuple[str, str]]:
    """What is installed, one (name, version and particulars) a row."""
    rows = [('python', platform.python_version()), ('platform', platform.platform())]
    for name in ROWS:
        text = 'not installed'
        if compat.is_installed(name):
            distribution, version = compat.find_distribution(name)
            text = version or 'version unknown'
            if distribution not in (None, name):
                text += f' ({distribution})'
            text += _particulars(name)
        rows.append((name, text))
    return rows


def _particulars(name: str) -> str:
    if name == 'torch':
        return _torch_devices()
    if name == 'mmcv':
        compiled = compat.find_extension('mmcv', '_ext') is not None
        return f', {"with" if compiled else "no"} compiled operators'
    if name == 'cv2':
        return _other_opencv()
    if name == 'xtcocotools' and compat.find_distribution(name)[0] is None:
        return ', pycocotools standing in'
    return ''


def _other_opencv() -> str:
    """Of two OpenCVs installed over each other, the version that imports."""
    try:
        import cv2
    except Exception as error:
        return f', does not import: {error}'
    stated = compat.find_distribution('cv2')[1] or ''
    if stated.startswith(cv2.__version__):
        return ''
    return f', but {cv2.__version__} imports: another OpenCV was installed over it'


def _torch_devices() -> str:
    try:
        import torch
    except Exception as error:  # a broken build fails in many ways
        return f', does not import: {error}'
    if torch.version.cuda is None:
        return ', CPU build'
    if not torch.cuda.is_available():
        return f', CUDA {torch.version.cuda}, no GPU seen'
    return f', CUDA {torch.version.cuda}, {torch.cuda.get_device_name(0)}'


def find_failure() -> Optional[str]:
    """Import all of MMPose; the end of the traceback if that fails."""
    try:
        for name in ('datasets', 'models', 'evaluation', 'visualization'):
            importlib.import_module(f'mmpose.{name}')
    except Exception:  # whatever it is belongs in the report
        return ''.join(traceback.format_exc().splitlines(True)[-6:])
    return None


def report(rows, repaired, problems, failure) -> None:
    """Print it all."""
    width = max(len(name) for name, _ in rows)
    for name, text in rows:
        print(f'{name:<{width}}  {text}')
    print('Repaired:' if repaired else 'Repaired: nothing')
    for line in repaired:
        print(f'  - {line}')
    for problem in problems:
        print(f'Missing: {problem.what}\n  {problem.command}')
    if failure:
        print(f'MMPose does not import:\n{failure}')
    if not problems and not failure:
        print('Usable.')


def main() -> int:
    problems = compat.find_problems()
    failure = None
    if not problems:
        try:
            compat.apply()
        except ImportError as error:
            failure = str(error)
        else:
            failure = find_failure()
    report(found(), compat.repairs(), problems, failure)
    return 1 if problems or failure else 0


if __name__ == '__main__':
    sys.exit(main())
