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

# The distributions that provide one importable name, the likelier first.
DISTRIBUTIONS = {
    'torch': ('torch',),
    'torchvision': ('torchvision',),
    'mmengine': ('mmengine', 'onedl-mmengine', 'mmengine-lite'),
    'mmcv': ('mmcv', 'onedl-mmcv', 'mmcv-lite', 'mmcv-full'),
    'mmdet': ('mmdet', 'onedl-mmdetection'),
    'mmpose': ('mmpose',),
    'numpy': ('numpy',),
    'cv2': (
        'opencv-python',
        'opencv-python-headless',
        'opencv-contrib-python',
        'opencv-contrib-python-headless',
    ),
    'xtcocotools': ('xtcocotools',),
    'pycocotools': ('pycocotools',),
    'scipy': ('scipy',),
    'matplotlib': ('matplotlib',),
    'PIL': ('pillow',),
    'munkres': ('munkres',),
    'six': ('six',),
}

# What `import mmpose` and its models, datasets and metrics cannot do without,
# and what to install where it is missing. MMPose itself goes in without its
# declared dependencies: one of them, chumpy, no longer builds and is not used.
REQUIRED = {
    'torch': 'pip install torch torchvision',
    'torchvision': 'pip install torchvision',
    'mmengine': 'pip install mmengine',
    'mmcv': 'pip install "mmcv-lite<2.2"',
    'mmdet': 'pip install mmdet',
    'mmpose': 'pip install --no-deps mmpose',
    'numpy': 'pip install numpy',
    'cv2': 'pip install opencv-python-headless',
    'scipy': 'pip install scipy',
    'matplotlib': 'pip install matplotlib',
    'PIL': 'pip install pillow',
    'munkres': 'pip install munkres',
    'six': 'pip install six',
}

# The only place that says which versions will do: from the first one on, and
# before the second. Older than these nobody has tried, and a new first number
# is how these packages say that what was there is gone. docs/installation.md
# says which were tested.
SUPPORTED = {
    'torch': ('2.0', '3'),
    'torchvision': ('0.15', '1'),
    'numpy': ('1.22', '2.4'),
    'mmengine': ('0.10.3', '1'),
    'mmcv': ('2.0', '3'),
    'mmdet': ('3.0', '4'),
    'mmpose': ('1.2', '2'),
}


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
    """Look, without importing anything, for what is missing or too old."""
    problems = [
        Problem(f'{name} is not installed', _command_for(name))
        for name in REQUIRED
        if not is_installed(name)
    ]
    if not is_installed('xtcocotools') and not is_installed('pycocotools'):
        problems.append(
            Problem(
                'neither xtcocotools nor pycocotools is installed',
                'pip install pycocotools',
            )
        )
    problems += _out_of_bounds()
    torch, numpy = (find_distribution(name)[1] or '' for name in ('torch', 'numpy'))
    if any(parse(torch)) and parse(torch) < (2, 3) and parse(numpy) >= (2,):
        problems.append(
            Problem(
                f'torch {torch} was built before NumPy 2 and hands it no tensor',
                'pip install "numpy<2"',
            )
        )
    mmcv, mmcv_version = find_distribution('mmcv')
    mmdet, mmdet_version = find_distribution('mmdet')
    if mmdet == 'mmdet' and mmcv_version and parse(mmcv_version) >= (2, 2):
        # Its __init__ asserts this, halfway through the import of MMPose.
        problems.append(
            Problem(
                f'mmdet {mmdet_version} refuses {mmcv} {mmcv_version}',
                f'pip uninstall -y mmdet && {ONEDL_MMDET}',
            )
        )
    mmengine, mmengine_version = find_distribution('mmengine')
    if mmengine in ('mmengine', 'mmengine-lite') and not is_installed('pkg_resources'):
        problems.append(
            Problem(
                f'{mmengine} {mmengine_version} imports pkg_resources, which '
                'setuptools no longer has',
                'pip install "setuptools<81"',
            )
        )
    return problems


# mmdet 3.3 refuses mmcv 2.2 and later; this continuation of it does not.
# MMPose uses two helpers of it, none of which needs the rest it declares.
ONEDL_MMDET = 'pip install --no-deps onedl-mmdetection'


def _out_of_bounds() -> List[Problem]:
    problems = []
    for name, (first, end) in SUPPORTED.items():
        distribution, version = find_distribution(name)
        found = parse(version or '')
        if not any(found):  # 'unknown' or '0.0.0': a build from somebody's tree.
            continue
        # mmcv-full is what there was before 2.0.
        package = 'mmcv-lite' if distribution == 'mmcv-full' else distribution
        wanted = f'{package}>={first}' + (f',<{end}' if end else '')
        command = f'pip install {"--no-deps " * (name == "mmpose")}"{wanted}"'
        if name.startswith('torch'):
            command = 'pip install -U torch torchvision'
        if _is_before(found, parse(first)):
            what = f'{distribution} {version} is older than {first}'
        elif end and not _is_before(found, parse(end)):
            what = f'{distribution} {version} is too new: mmregda is written for <{end}'
        else:
            continue
        problems.append(Problem(what, command))
    return problems


def _is_before(version: Tuple[int, ...], other: Tuple[int, ...]) -> bool:
    length = max(len(version), len(other))  # 2 is not before 2.0.
    return _padded(version, length) < _padded(other, length)


def _padded(version: Tuple[int, ...], length: int) -> Tuple[int, ...]:
    return version + (0,) * (length - len(version))


def _command_for(name: str) -> str:
    if name == 'mmdet':
        version = find_distribution('mmcv')[1]
        if version is not None and parse(version) >= (2, 2):
            return ONEDL_MMDET
    return REQUIRED[name]


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
        finder = importlib.machinery.FileFinder(
            folder,
            (
                importlib.machinery.ExtensionFileLoader,
                importlib.machinery.EXTENSION_SUFFIXES,
            ),
        )
        found = finder.find_spec(name)
        if found is not None:
            return found.origin
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
