"""What MMPose needs in order to import and resume on the stack it finds.

MMPose 1.x was last released for an older PyTorch and NumPy. :func:`apply`
repairs what is broken in this environment and nothing else: each repair is
guarded by the very condition that makes it necessary, so where everything
works, nothing is replaced, registered or patched. ``python -m mmregda.compat``
prints what was found and done, for a bug report.

Only the standard library is imported here at module level, and nothing else
of mmregda ever is: this has to run before torchvision and MMPose can be
imported at all.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.util
import os
import re
import sys
import types
from typing import Callable, List, NamedTuple, Optional, Tuple

if sys.version_info < (3, 8):
    raise ImportError('mmregda needs Python 3.8 or later')

from importlib import metadata  # noqa: E402 (Python 3.7 has none)

__all__ = ['Problem', 'apply', 'find_problems', 'refuse_unsafe_checkpoints', 'repairs']

# What has other names where it is published, the likelier first.
DISTRIBUTIONS = {
    'mmengine': ('mmengine', 'onedl-mmengine', 'mmengine-lite'),
    'mmcv': ('mmcv', 'onedl-mmcv', 'mmcv-lite', 'mmcv-full'),
    'mmdet': ('mmdet', 'onedl-mmdetection'),
    'cv2': tuple(
        f'opencv-{n}python{h}' for n in ('', 'contrib-') for h in ('', '-headless')
    ),
    'PIL': ('pillow',),
}

# What `import mmpose` and its models, datasets and metrics cannot do without,
# and what to install where it is missing. MMPose itself goes in without its
# declared dependencies: one of them, chumpy, no longer builds and is not used.
REQUIRED = {
    'torch': 'torch torchvision',
    'torchvision': 'torchvision',
    'mmengine': 'mmengine',
    'mmcv': '"mmcv-lite<2.2"',
    'mmdet': 'mmdet',
    'mmpose': '--no-deps mmpose',
    'numpy': 'numpy',
    'cv2': 'opencv-python-headless',
    'scipy': 'scipy',
    'matplotlib': 'matplotlib',
    'PIL': 'pillow',
    'munkres': 'munkres',
    'six': 'six',
}

# From which version on, and before which: older ones nobody has tried, and a new first
# number says that what was there is gone. docs/installation.md says which were tested.
SUPPORTED = {
    'torch': ('2.0', '3'),
    'torchvision': ('0.15', '1'),
    'numpy': ('1.22', '2.4'),
    'mmengine': ('0.10.3', '1'),
    'mmcv': ('2.0', '3'),
    'mmdet': ('3.0', '4'),
    'mmpose': ('1.2', '2'),
}
# mmdet 3.3 refuses mmcv 2.2 and later; this continuation of it does not.
# MMPose uses two helpers of it, none of which needs the rest it declares.
ONEDL_MMDET = 'pip install --no-deps onedl-mmdetection'


class Problem(NamedTuple):
    """Something that no repair can mend, and the command that would."""

    what: str
    command: str

    def __str__(self) -> str:
        return f'{self.what}: {self.command}'


_repairs: List[str] = []


def apply() -> List[str]:
    """Make MMPose importable here, repairing only what is broken.

    Safe to call again: what is already repaired is not broken any more.

    Returns:
        list[str]: One sentence for each repair made in this process so far.

    Raises:
        ImportError: Something needed is missing or too old. The message lists
            all of it, each with the command that mends it.
    """
    problems = find_problems()
    if problems:
        # `python -m mmregda.compat` imports mmregda, and so comes here, before
        # it can run the report; argv[0] is '-m' during exactly that time.
        if sys.argv[:1] == ['-m']:
            from mmregda.compat.__main__ import main

            sys.exit(main())
        raise ImportError(
            'mmregda cannot run in this environment:\n'
            + '\n'.join(f'  - {problem}' for problem in problems)
        )
    for repair in REPAIRS:
        done = repair()
        if done:
            _repairs.append(done)
    return repairs()


def repairs() -> List[str]:
    """The repairs that :func:`apply` has made in this process."""
    return list(_repairs)


def find_problems() -> List[Problem]:
    """Look, without importing anything, for what is missing or of the wrong version."""
    versions = {name: find_distribution(name) for name in SUPPORTED}
    found = {name: parse(version or '') for name, (_, version) in versions.items()}
    mmcv, mmcv_version = versions['mmcv']
    problems = []
    for name, package in REQUIRED.items():
        if not is_installed(name):
            command = f'pip install {package}'
            if name == 'mmdet' and found['mmcv'] >= (2, 2):
                command = ONEDL_MMDET
            problems.append(Problem(f'{name} is not installed', command))
    if not is_installed('xtcocotools') and not is_installed('pycocotools'):
        what = 'neither xtcocotools nor pycocotools is installed'
        problems.append(Problem(what, 'pip install pycocotools'))
    for name, (first, end) in SUPPORTED.items():
        distribution, version = versions[name]
        if not any(found[name]):  # 'unknown' or '0.0.0': a build from somebody's tree.
            continue
        what = f'{distribution} {version} is older than {first}'
        if _three(found[name]) >= _three(parse(first)):
            if _three(found[name]) < _three(parse(end)):
                continue
            what = f'{distribution} {version} is too new: mmregda is written for <{end}'
        # mmcv-full is what there was before 2.0.
        package = 'mmcv-lite' if distribution == 'mmcv-full' else distribution
        options = '--no-deps ' * (name == 'mmpose')
        command = f'pip install {options}"{package}>={first},<{end}"'
        if name.startswith('torch'):
            command = 'pip install -U torch torchvision'
        problems.append(Problem(what, command))
    if any(found['torch']) and found['torch'] < (2, 3) and found['numpy'] >= (2,):
        version = versions['torch'][1]
        what = f'torch {version} was built before NumPy 2 and hands it no tensor'
        problems.append(Problem(what, 'pip install "numpy<2"'))
    if versions['mmdet'][0] == 'mmdet' and found['mmcv'] >= (2, 2):
        # Its __init__ asserts this, halfway through the import of MMPose.
        what = f'mmdet {versions["mmdet"][1]} refuses {mmcv} {mmcv_version}'
        problems.append(Problem(what, f'pip uninstall -y mmdet && {ONEDL_MMDET}'))
    mmengine, version = versions['mmengine']
    if mmengine in ('mmengine', 'mmengine-lite') and not is_installed('pkg_resources'):
        lost = 'imports pkg_resources, which setuptools no longer has'
        what = f'{mmengine} {version} {lost}'
        problems.append(Problem(what, 'pip install "setuptools<81"'))
    return problems


def _three(version: Tuple[int, ...]) -> Tuple[int, ...]:
    return (*version, 0, 0, 0)[:3]  # 2 is not before 2.0.


def is_installed(name: str) -> bool:
    """Whether the top-level module ``name`` can be found; does not import it."""
    if name in sys.modules:
        return True
    return importlib.util.find_spec(name) is not None


def find_distribution(name: str) -> Tuple[Optional[str], Optional[str]]:
    """The distribution that provides module ``name``, and its version."""
    for distribution in DISTRIBUTIONS.get(name, (name,)):
        try:
            return distribution, metadata.version(distribution)
        except metadata.PackageNotFoundError:
            continue
    return None, None


def parse(version: str) -> Tuple[int, ...]:
    """The leading numbers of a version: ``'2.13.0+cpu'`` to ``(2, 13, 0)``."""
    return tuple(int(n) for n in re.match(r'[\d.]*', version)[0].split('.') if n)


def find_extension(package: str, name: str) -> Optional[str]:
    """Path of a package's compiled module, found without importing either."""
    spec = importlib.util.find_spec(package)
    for folder in (spec and spec.submodule_search_locations) or ():
        for suffix in importlib.machinery.EXTENSION_SUFFIXES:
            path = os.path.join(folder, f'{name}{suffix}')
            if os.path.isfile(path):
                return path
    return None


# --- the repairs -----------------------------------------------------------

# Declarations live only as long as the Library object that made them.
_libraries: list = []


def declare_torchvision_operators() -> Optional[str]:
    """torchvision's compiled library does not load: declare two operators.

    torchvision built for CUDA beside PyTorch built for the CPU cannot load its
    library. It means to go on without, but then describes ``nms`` and ``qnms``
    to PyTorch, which raises because nobody has declared them. With the two
    schemas declared the import works, and calling them still fails clearly.
    """
    # Only on Linux do the two builds meet under one version number.
    if sys.platform != 'linux' or 'torchvision' in sys.modules:
        return None
    import torch

    # Its name since torchvision 0.29 is the second.
    library = find_extension('torchvision', '_C') or find_extension(
        'torchvision', '_C_stable'
    )
    try:
        # What torchvision will do; once loaded, loading again does nothing.
        if library is not None:
            torch.ops.load_library(library)
            return None
    except OSError:
        pass
    missing = [n for n in ('nms', 'qnms') if not hasattr(torch.ops.torchvision, n)]
    if not missing:
        return None
    declarations = torch.library.Library('torchvision', 'FRAGMENT')
    for name in missing:
        declarations.define(
            f'{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor'
        )
    _libraries.append(declarations)
    return (
        'torchvision: its compiled operators do not load with this PyTorch; '
        'declared nms and qnms so that it imports without them'
    )


def provide_coco_tools() -> Optional[str]:
    """xtcocotools is not installed: stand in for it with pycocotools.

    xtcocotools has no wheel for Python 3.12 and later, and building it needs a
    compiler. See :mod:`mmregda.compat.coco` for what the stand-in covers.
    """
    if is_installed('xtcocotools'):
        return None
    from mmregda.compat import coco

    coco.install()
    return (
        'xtcocotools: not installed; pycocotools stands in for it '
        '(OKS keypoint evaluation, not the crowd and whole-body variants)'
    )


def replace_coco_mask_extension() -> Optional[str]:
    """xtcocotools' compiled module does not load: use that of pycocotools.

    The wheels of xtcocotools are built for NumPy 1 and fail to import under
    NumPy 2. Its one compiled module is the one of pycocotools, unchanged.
    """
    if 'xtcocotools.coco' in sys.modules:
        return None
    try:
        importlib.import_module('xtcocotools._mask')
        return None
    except (ImportError, ValueError) as error:  # how an ABI mismatch shows
        if not is_installed('pycocotools'):
            raise ImportError(
                f'xtcocotools does not load ({error}) and pycocotools, which '
                'could help it, is not installed: pip install pycocotools'
            ) from error
    mask = importlib.import_module('pycocotools._mask')
    sys.modules['xtcocotools._mask'] = mask
    sys.modules['xtcocotools']._mask = mask
    return (
        'xtcocotools: its compiled module was built for another NumPy; '
        "pycocotools' module serves in its place"
    )


class _MissingOps(types.ModuleType):
    """Stands where ``mmcv._ext`` would be: has every name, can run none."""

    def __getattr__(self, name: str) -> Callable:
        if name.startswith('__'):
            raise AttributeError(name)

        def not_compiled(*args, **kwargs):
            raise RuntimeError(
                f'{name} is a compiled operator of MMCV, and the installed MMCV '
                'has none (mmcv-lite, or one that was built without them). '
                'Install a full mmcv to use it.'
            )

        not_compiled.__name__ = name
        return not_compiled


def import_mmcv_ops_uncompiled() -> Optional[str]:
    """MMCV has no compiled operators: import ``mmcv.ops`` without them.

    ``mmpose.models`` imports ``mmcv.ops`` for a few heads that use deformable
    attention, so without ``mmcv._ext`` not even a plain heatmap model can be
    had. The stand-in is there only while ``mmcv.ops`` is imported: MMEngine
    later asks whether ``mmcv._ext`` exists, and must be told the truth.
    """
    if 'mmcv.ops' in sys.modules or find_extension('mmcv', '_ext') is not None:
        return None
    sys.modules['mmcv._ext'] = _MissingOps('mmcv._ext')
    try:
        importlib.import_module('mmcv.ops')
    finally:
        del sys.modules['mmcv._ext']
    return (
        'mmcv: installed without compiled operators; imported mmcv.ops so that '
        'each raises an error only when it is used'
    )


def register_checkpoint_classes() -> Optional[str]:
    """MMEngine cannot load what it saves: name its classes to the safe loader.

    From 2.6 on PyTorch unpickles only classes that it knows to be harmless,
    and MMEngine saves its log history and NumPy numbers beside the weights, so
    that resuming fails. Later releases name most of these classes themselves,
    but not the numbers of MMPose's keypoint colours and weights, and so load
    every checkpoint of MMPose unsafely after all.
    """
    import numpy as np
    import torch

    if parse(torch.__version__) < (2, 6):
        return None
    checkpoint = importlib.import_module('mmengine.runner.checkpoint')
    named = getattr(checkpoint, 'get_torch_safe_globals', list)()
    if type(np.dtype(np.uint8)) in named:
        return None
    if not _checkpoints().allow_checkpoint_classes():
        return None
    return (
        'mmengine: its checkpoints hold classes that this PyTorch does not load '
        'by default; registered them, so that the safe loader reads them'
    )


REPAIRS = (
    declare_torchvision_operators,
    provide_coco_tools,
    replace_coco_mask_extension,
    import_mmcv_ops_uncompiled,
    register_checkpoint_classes,
)


def refuse_unsafe_checkpoints() -> None:
    """Let no checkpoint file run code while it is loaded by this process.

    onedl-mmengine loads a checkpoint safely and, where that fails, once more
    with ``weights_only=False``, which executes whatever the file says. It then
    admits ``getattr``, and numpy's constructors, which believe the file. Here
    it gets a loader of checkpoint files that does none of this, and PyTorch's
    own switch turns other unsafe loads into errors. Both hold for the whole
    process, the switch also for those it starts, and so are for programs to
    call, not for an import; who has set the switch already decides on it.

    With PyTorch before 2.6 this does nothing: MMEngine loads every checkpoint
    unsafely there, and could not resume its own otherwise.
    """
    import torch

    if parse(torch.__version__) >= (2, 6):
        os.environ.setdefault('TORCH_FORCE_WEIGHTS_ONLY_LOAD', '1')
        _checkpoints().read_plain_checkpoints()


def _checkpoints() -> types.ModuleType:
    # It imports PyTorch and MMEngine.
    return importlib.import_module('mmregda.compat.checkpoints')
