"""Writes the two rendered domains of hands and of people.

Hands are laid out as RHD (source) and H3D (target), people as SURREAL in
RegDA's crops (source) and LSP (target), so that they are read by the datasets
that read the originals.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from rich.console import Console
from scipy.io import savemat

from mmregda.datasets.parallel import parallel_map

from . import body_scenes, hand_scenes, makehuman, output_folder
from .hands import NUM_KEYPOINTS
from .people import JOINTS
from .raster import project
from .styles import CLEAN, CLEAN_BODIES, PHOTO, PHOTO_BODIES, Style

#: Raised whenever the same parameters would give other data.
GENERATOR_VERSION = 2
RHD_FOLDER, H3D_FOLDER = 'RHD_published_v2', 'H3D_crop'
SURREAL_FOLDER, LSP_FOLDER = 'surreal_processed', 'lsp'
#: Place of each root-to-tip keypoint among RHD's rows of one hand, which go
#: from tip to root within each finger.
RHD_ROWS = np.array(
    [0] + [4 * finger + 4 - joint for finger in range(5) for joint in range(4)]
)
#: The joint in each of SURREAL's rows. They are named after SMPL's joints,
#: but its renderings mirror the body: SMPL's left is the person's right.
SURREAL_ROWS = [
    JOINTS.index(
        name.replace('left', '?').replace('right', 'left').replace('?', 'right')
    )
    for name in JOINTS[:24]
]
#: The joint in each of LSP's columns.
LSP_COLUMNS = [
    JOINTS.index(name)
    for name in (
        'right_ankle', 'right_knee', 'right_hip', 'left_hip', 'left_knee', 'left_ankle',
        'right_wrist', 'right_elbow', 'right_shoulder',
        'left_shoulder', 'left_elbow', 'left_wrist', 'neck', 'top',
    )
]  # fmt: skip
#: LSP's file names have four digits.
MAX_LSP = 9999
_H3D_PARTS, _SURREAL_RUNS = 5, 3
# Of the images in SURREAL's test/, readers use a fifth.
_TEST_SHARE = 5
_HOLDING_SHARE = 0.1
# Numbers that keep the images' random streams apart.
_RHD, _H3D, _SURREAL, _LSP = range(4)
_SPLITS = dict(training=0, evaluation=1, train=0, val=1, test=2)


def write_hand_pair(
    root: str | Path,
    num_source_train: int = 1700,
    num_source_test: int = 300,
    num_target: int = 2000,
    seed: int = 0,
    num_workers: int | None = None,
    progress: bool = True,
    overwrite: bool = False,
) -> tuple[Path, Path]:
    """Write a labelled source and a target of another style.

    Args:
        root (str | Path): Folder that receives ``RHD_published_v2`` and
            ``H3D_crop``.
        num_source_train (int): Images of RHD's training split.
        num_source_test (int): Images of RHD's evaluation split.
        num_target (int): Images of H3D, which readers split themselves.
        seed (int): Same seed, same bytes, whatever ``num_workers`` is.
        num_workers (int | None): Processes; None for one a CPU. With more
            than one, a script must guard its entry by
            ``if __name__ == '__main__':``.
        progress (bool): Whether to show progress bars.
        overwrite (bool): Replace data generated with other parameters.

    Returns:
        tuple[Path, Path]: The RHD and the H3D folder.

    Raises:
        FileExistsError: If a folder is in the way, unless it was generated
            with the same parameters (then nothing is done), or with others
            and ``overwrite`` is set.
        ModuleNotFoundError: If the package ``anny`` is missing.
    """
    options = dict(
        seed=seed, num_workers=num_workers, progress=progress, overwrite=overwrite
    )
    return (
        write_rhd(root, num_source_train, num_source_test, **options),
        write_h3d(root, num_target, **options),
    )


def write_body_pair(
    root: str | Path,
    num_source_train: int = 1700,
    num_source_test: int = 600,
    num_target: int = 1600,
    seed: int = 0,
    num_workers: int | None = None,
    progress: bool = True,
    overwrite: bool = False,
) -> tuple[Path, Path]:
    """Write a labelled source and a target of another style.

    Args:
        root (str | Path): Folder that receives ``surreal_processed`` and
            ``lsp``.
        num_source_train (int): Images in SURREAL's ``train/``. Readers train
            on all but 20 % of them: the published split.
        num_source_test (int): Images in SURREAL's ``test/``. Readers test on
            20 % of them. ``val/`` gets as many as that.
        num_target (int): Images of LSP, at most 9999.
        seed, num_workers, progress, overwrite: As for ``write_hand_pair``.

    Returns:
        tuple[Path, Path]: The SURREAL and the LSP folder.

    Raises:
        FileExistsError: As for ``write_hand_pair``.
        ModuleNotFoundError: If the package ``anny`` is missing.
        ValueError: If LSP's layout cannot hold so many images.
    """
    _check_lsp(num_target)
    options = dict(
        seed=seed, num_workers=num_workers, progress=progress, overwrite=overwrite
    )
    return (
        write_surreal(root, num_source_train, num_source_test, **options),
        write_lsp(root, num_target, **options),
    )


def write_rhd(
    root: str | Path,
    num_train: int = 1700,
    num_test: int = 300,
    seed: int = 0,
    style: Style = CLEAN,
    **options,
) -> Path:
    """Write ``root/RHD_published_v2``; see ``write_hand_pair``.

    An annotation holds ``uv_vis`` (42, 3), ``xyz`` (42, 3) in metres and
    ``K`` (3, 3), all float32; rows 0-20 are the left hand, 21-41 the right,
    and the rows of an absent hand are zero.
    """
    counts = dict(training=num_train, evaluation=num_test)
    tasks = [(split, index) for split in counts for index in range(counts[split])]

    def finish(folder, results):
        splits = {split: {} for split in counts}
        # Arrays that come from another process bring dtypes of their own,
        # which the pickle would repeat: fresh copies make its bytes the same
        # for any number of workers.
        single = np.dtype(np.float32)
        for (split, index), values in zip(tasks, results):
            splits[split][index] = {
                key: np.array(value, single)
                for key, value in zip(('uv_vis', 'xyz', 'K'), values)
            }
        for split, entries in splits.items():
            path = folder / split / f'anno_{split}.pickle'
            path.write_bytes(pickle.dumps(entries, protocol=4))

    return _write(
        Path(root) / RHD_FOLDER,
        dict(layout='rhd', seed=seed, style=asdict(style), **counts),
        [f'{split}/color' for split in counts],
        partial(_rhd_image, seed=seed, style=style),
        tasks,
        finish,
        **options,
    )


def write_h3d(
    root: str | Path,
    num_images: int = 2000,
    seed: int = 0,
    style: Style = PHOTO,
    **options,
) -> Path:
    """Write ``root/H3D_crop``; see ``write_hand_pair``.

    All hands are left hands, which is what readers of RHD mirror every hand
    to. One in ten holds an object and has ``without_object`` 0.
    """
    return _write(
        Path(root) / H3D_FOLDER,
        dict(layout='h3d', seed=seed, style=asdict(style), num_images=num_images),
        [f'part{part}' for part in range(1, _H3D_PARTS + 1)],
        partial(_h3d_image, seed=seed, style=style),
        range(num_images),
        lambda folder, results: _write_json(folder / 'annotation.json', results),
        **options,
    )


def write_surreal(
    root: str | Path,
    num_train: int = 1700,
    num_test: int = 600,
    seed: int = 0,
    style: Style = CLEAN_BODIES,
    **options,
) -> Path:
    """Write ``root/surreal_processed``; see ``write_body_pair``.

    An entry holds ``name``, ``keypoint2d`` (24, 2) in pixels, ``keypoint3d``
    (24, 3) in metres in the camera's frame and ``intrinsic_matrix`` (3, 3).
    """
    counts = dict(train=num_train, val=num_test // _TEST_SHARE, test=num_test)
    tasks = [(split, index) for split in counts for index in range(counts[split])]
    runs = [(split, run) for split in counts for run in range(_SURREAL_RUNS)]

    def finish(folder, results):
        for split, run in runs:
            members = [
                entry
                for (own, index), entry in zip(tasks, results)
                if (own, index % _SURREAL_RUNS) == (split, run)
            ]
            _write_json(folder / split / f'run{run}.json', members)

    return _write(
        Path(root) / SURREAL_FOLDER,
        dict(layout='surreal', seed=seed, style=asdict(style), **counts),
        [f'{split}/run{run}' for split, run in runs],
        partial(_surreal_image, seed=seed, style=style),
        tasks,
        finish,
        **options,
    )


def write_lsp(
    root: str | Path,
    num_images: int = 1600,
    seed: int = 0,
    style: Style = PHOTO_BODIES,
    **options,
) -> Path:
    """Write ``root/lsp``; see ``write_body_pair``.

    ``joints.mat`` holds ``joints`` (3, 14, N) float64: x, y in pixels, and 1
    where the joint is hidden.
    """
    _check_lsp(num_images)

    def finish(folder, results):
        joints = np.stack(results, axis=-1) if results else np.zeros((3, 14, 0))
        savemat(folder / 'joints.mat', dict(joints=joints))
        # The header's text tells the time; the same parameters give the same
        # bytes.
        data = bytearray((folder / 'joints.mat').read_bytes())
        data[:116] = b'MATLAB 5.0 MAT-file, joints of rendered bodies'.ljust(116)
        (folder / 'joints.mat').write_bytes(bytes(data))

    return _write(
        Path(root) / LSP_FOLDER,
        dict(layout='lsp', seed=seed, style=asdict(style), num_images=num_images),
        ['images'],
        partial(_lsp_image, seed=seed, style=style),
        range(num_images),
        finish,
        **options,
    )


def _check_lsp(count):
    if count > MAX_LSP:
        raise ValueError(
            f"LSP's file names have four digits: at most {MAX_LSP} images, got {count}"
        )


def _write(
    folder: Path,
    parameters: dict,
    subfolders: Sequence[str],
    image: Callable,
    tasks: Sequence,
    finish: Callable,
    num_workers: int | None = None,
    progress: bool = True,
    overwrite: bool = False,
) -> Path:
    """Write one dataset, whole or not at all.

    Args:
        folder (Path): Where it goes.
        parameters (dict): What it is made from.
        subfolders (Sequence[str]): Made before the images.
        image (Callable): Writes one image into a folder for a task, and
            returns its annotation.
        tasks (Sequence): One for each image.
        finish (Callable): Writes the annotations.
    """
    parameters = dict(version=GENERATOR_VERSION, **parameters)
    if output_folder.holds(folder, parameters, overwrite):
        Console(soft_wrap=True).print(
            f'{folder} is there already, nothing to do.', highlight=False
        )
        return folder
    makehuman.load()
    with output_folder.assembled(folder, parameters) as partial_folder:
        for name in subfolders:
            (partial_folder / name).mkdir(parents=True)
        results = parallel_map(
            partial(image, partial_folder),
            tasks,
            num_workers,
            parameters['layout'].upper(),
            progress,
        )
        finish(partial_folder, results)
    return folder


def _rhd_image(folder, task, seed, style):
    split, index = task
    rng = _generator(seed, _RHD, _SPLITS[split], index)
    scene = hand_scenes.sample_source_scene(rng, style)
    fragments = scene.rasterised()
    image = hand_scenes.picture(rng, scene, style, fragments)
    write_image(folder / split / 'color' / f'{index:05d}.png', image)
    uv_vis, xyz = np.zeros((2, 2, NUM_KEYPOINTS, 3))
    for hand, seen in zip(scene.hands, scene.visibility(fragments)):
        # Project what is written, so that the file agrees with itself.
        written = hand.keypoints.astype(np.float32).astype(np.float64)
        xyz[hand.side, RHD_ROWS] = written
        uv_vis[hand.side, RHD_ROWS, :2] = project(written, scene.intrinsics)
        uv_vis[hand.side, RHD_ROWS, 2] = seen
    return uv_vis.reshape(-1, 3), xyz.reshape(-1, 3), scene.intrinsics


def _h3d_image(folder, index, seed, style):
    rng = _generator(seed, _H3D, 0, index)
    holding = bool(rng.random() < _HOLDING_SHARE)
    scene = hand_scenes.sample_target_scene(rng, style, holding=holding)
    image = hand_scenes.picture(rng, scene, style, scene.rasterised())
    name = f'part{1 + index % _H3D_PARTS}/{index:05d}.jpg'
    write_image(folder / name, image, rng.integers(*style.jpeg_quality))
    keypoints = scene.hands[0].keypoints
    return dict(
        name=name,
        keypoint2d=project(keypoints, scene.intrinsics).tolist(),
        keypoint3d=keypoints.tolist(),
        intrinsic_matrix=scene.intrinsics.tolist(),
        without_object=int(not holding),
    )


def _surreal_image(folder, task, seed, style):
    split, index = task
    rng = _generator(seed, _SURREAL, _SPLITS[split], index)
    scene = body_scenes.sample_source_scene(rng, style)
    image, _ = body_scenes.picture(rng, scene, style, scene.rasterised())
    name = f'{index:06d}.jpg'
    path = folder / split / f'run{index % _SURREAL_RUNS}' / name
    write_image(path, image, rng.integers(*style.jpeg_quality))
    joints = scene.person.joints[SURREAL_ROWS]
    return dict(
        name=name,
        keypoint2d=project(joints, scene.intrinsics).tolist(),
        keypoint3d=joints.tolist(),
        intrinsic_matrix=scene.intrinsics.tolist(),
    )


def _lsp_image(folder, index, seed, style):
    rng = _generator(seed, _LSP, 0, index)
    scene = body_scenes.sample_target_scene(rng, style)
    fragments = scene.rasterised()
    image, covered = body_scenes.picture(rng, scene, style, fragments)
    path = folder / 'images' / f'im{index + 1:04d}.jpg'
    write_image(path, image, rng.integers(*style.jpeg_quality))
    pixels = project(scene.person.joints, scene.intrinsics)
    column, row = np.round(pixels).astype(int).T
    seen = scene.visibility(fragments)
    seen[seen] = ~covered[row[seen], column[seen]]
    return np.column_stack([pixels, ~seen])[LSP_COLUMNS].T


def _generator(*key):
    """The random stream of one image, independent of those of all others."""
    return np.random.default_rng(np.random.SeedSequence(key))


def _write_json(path, content):
    path.write_text(json.dumps(content))


def write_image(path: Path, image: np.ndarray, quality: int = 95) -> None:
    """Write an (H, W, 3) uint8 RGB image in the format of the path's suffix.

    Raises:
        OSError: If it cannot be encoded.
    """
    options = [cv2.IMWRITE_JPEG_QUALITY, int(quality)]
    written, data = cv2.imencode(
        path.suffix, image[..., ::-1], options if path.suffix == '.jpg' else []
    )
    if not written:
        raise OSError(f'{path} could not be encoded')
    path.write_bytes(data.tobytes())
