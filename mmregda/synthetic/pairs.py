"""Writes the two rendered domains of hands and of people.

Hands are laid out as RHD (source) and H3D (target), people as SURREAL in
RegDA's crops (source) and LSP (target), so that they are read by the datasets
that read the originals.
"""

from __future__ import annotations

import json
import pickle
from dataclasses import asdict
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from rich.console import Console
from scipy.io import savemat

from . import makehuman, output_folder, scenes
from .hands import NUM_KEYPOINTS
from .parallel import parallel_map
from .people import JOINTS
from .styles import CLEAN, CLEAN_BODIES, PHOTO, PHOTO_BODIES, Style

#: Raised whenever the same parameters would give other data.
GENERATOR_VERSION = 2
#: Place of each root-to-tip keypoint among RHD's rows of one hand, which go
#: from tip to root within each finger.
RHD_ROWS = [0] + [4 * finger + 4 - joint for finger in range(5) for joint in range(4)]
# SURREAL's rows are named after SMPL's joints, but its renderings mirror the
# body: SMPL's left is the person's right.
_OTHER_SIDE = dict(left='right', right='left')
_SURREAL_ROWS = [
    JOINTS.index('_'.join(_OTHER_SIDE.get(word, word) for word in name.split('_')))
    for name in JOINTS[:24]
]
_LSP_COLUMNS = [
    JOINTS.index(name)
    for name in (
        'right_ankle', 'right_knee', 'right_hip', 'left_hip', 'left_knee', 'left_ankle',
        'right_wrist', 'right_elbow', 'right_shoulder',
        'left_shoulder', 'left_elbow', 'left_wrist', 'neck', 'top',
    )
]  # fmt: skip
# LSP's file names have four digits.
_MAX_LSP = 9999
_PARTS, _RUNS = 5, 3
# Of the images in SURREAL's test/, readers use a fifth.
_TEST_SHARE = 5
_HOLDING_SHARE = 0.1
# Numbers that keep the images' random streams apart.
_STREAMS = dict(training=0, evaluation=1, h3d=2, train=3, val=4, test=5, lsp=6)


def write_hand_pair(
    root: str | Path,
    num_source_train: int = 1700,
    num_source_test: int = 300,
    num_target: int = 2000,
    **options,
) -> tuple[Path, Path]:
    """Write ``root/RHD_published_v2`` and ``root/H3D_crop``.

    Args:
        root (str | Path): Folder that receives both.
        num_source_train (int): Images of RHD's training split.
        num_source_test (int): Images of RHD's evaluation split.
        num_target (int): Images of H3D, which readers split themselves.
        seed (int): Same seed, same bytes, whatever ``num_workers`` is.
            Defaults to 0.
        num_workers (int | None): Processes; None for one a CPU. With more
            than one, a script must guard its entry by
            ``if __name__ == '__main__':``. Defaults to None.
        progress (bool): Whether to show progress bars. Defaults to True.
        overwrite (bool): Replace data generated with other parameters.
            Defaults to False.

    Returns:
        tuple[Path, Path]: The source's and the target's folder.

    Raises:
        FileExistsError: If a folder is in the way, unless it was generated
            with the same parameters (then nothing is done), or with others
            and ``overwrite`` is set.
        InputError: If the package ``anny`` is missing.
    """
    return (
        write_rhd(root, num_source_train, num_source_test, **options),
        write_h3d(root, num_target, **options),
    )


def write_body_pair(
    root: str | Path,
    num_source_train: int = 1700,
    num_source_test: int = 600,
    num_target: int = 1600,
    **options,
) -> tuple[Path, Path]:
    """Write ``root/surreal_processed`` and ``root/lsp``.

    Args:
        root (str | Path): Folder that receives both.
        num_source_train (int): Images in SURREAL's ``train/``. Readers train
            on all but 20 % of them: the published split.
        num_source_test (int): Images in SURREAL's ``test/``. Readers test on
            20 % of them. ``val/`` gets as many as that.
        num_target (int): Images of LSP, at most 9999.
        **options: As for ``write_hand_pair``.

    Returns:
        tuple[Path, Path]: The source's and the target's folder.

    Raises:
        FileExistsError, InputError: As for ``write_hand_pair``.
        ValueError: If LSP's layout cannot hold so many images.
    """
    _check_lsp(num_target)
    return (
        write_surreal(root, num_source_train, num_source_test, **options),
        write_lsp(root, num_target, **options),
    )


def write_rhd(
    root, num_train: int = 1700, num_test: int = 300, style: Style = CLEAN, **options
) -> Path:
    """Write ``root/RHD_published_v2``; options as for ``write_hand_pair``.

    An annotation holds ``uv_vis`` (42, 3), ``xyz`` (42, 3) in metres and
    ``K`` (3, 3), all float32; rows 0-20 are the left hand, 21-41 the right,
    and the rows of the absent hand are zero.
    """
    counts = dict(training=num_train, evaluation=num_test)

    def finish(folder, annotations):
        # Arrays that come from another process bring dtypes of their own,
        # which the pickle would repeat: fresh copies make its bytes the same
        # for any number of workers.
        single = np.dtype(np.float32)
        for split in counts:
            entries = {
                index: {key: np.array(value, single) for key, value in entry.items()}
                for (own, index), entry in annotations.items()
                if own == split
            }
            path = folder / split / f'anno_{split}.pickle'
            path.write_bytes(pickle.dumps(entries, protocol=4))

    folder, folders = Path(root) / 'RHD_published_v2', [f'{s}/color' for s in counts]
    return _write(folder, counts, folders, _rhd_image, finish, style, **options)


def write_h3d(root, num_images: int = 2000, style: Style = PHOTO, **options) -> Path:
    """Write ``root/H3D_crop``; options as for ``write_hand_pair``.

    All hands are left hands, which is what readers of RHD mirror every hand
    to. One in ten is behind an object and has ``without_object`` 0.
    """

    def finish(folder, annotations):
        path = folder / 'annotation.json'
        path.write_text(json.dumps(list(annotations.values())))

    folder, counts = Path(root) / 'H3D_crop', dict(h3d=num_images)
    folders = [f'part{part}' for part in range(1, _PARTS + 1)]
    return _write(folder, counts, folders, _h3d_image, finish, style, **options)


def write_surreal(
    root,
    num_train: int = 1700,
    num_test: int = 600,
    style: Style = CLEAN_BODIES,
    **options,
) -> Path:
    """Write ``root/surreal_processed``; options as for ``write_hand_pair``.

    An entry holds ``name``, ``keypoint2d`` (24, 2) in pixels, ``keypoint3d``
    (24, 3) in metres in the camera's frame and ``intrinsic_matrix`` (3, 3).
    """
    counts = dict(train=num_train, val=num_test // _TEST_SHARE, test=num_test)
    folders = [f'{split}/run{run}' for split in counts for run in range(_RUNS)]

    def finish(folder, annotations):
        for name in folders:
            entries = [
                entry
                for (split, index), entry in annotations.items()
                if f'{split}/run{index % _RUNS}' == name
            ]
            (folder / f'{name}.json').write_text(json.dumps(entries))

    folder = Path(root) / 'surreal_processed'
    return _write(folder, counts, folders, _surreal_image, finish, style, **options)


def write_lsp(
    root, num_images: int = 1600, style: Style = PHOTO_BODIES, **options
) -> Path:
    """Write ``root/lsp``; options as for ``write_hand_pair``.

    ``joints.mat`` holds ``joints`` (3, 14, N) float64: x, y in pixels, and 1
    where the joint is hidden.
    """
    _check_lsp(num_images)

    def finish(folder, annotations):
        path = folder / 'joints.mat'
        savemat(path, dict(joints=np.stack(list(annotations.values()), axis=-1)))
        # The header tells the time; the same parameters give the same bytes.
        header = b'MATLAB 5.0 MAT-file, joints of rendered bodies'.ljust(116)
        path.write_bytes(header + path.read_bytes()[116:])

    folder, counts = Path(root) / 'lsp', dict(lsp=num_images)
    return _write(folder, counts, ['images'], _lsp_image, finish, style, **options)


def _check_lsp(count):
    if count > _MAX_LSP:
        raise ValueError(
            f"LSP's file names have four digits: at most {_MAX_LSP} images, not {count}"
        )


def _write(
    folder,
    counts,
    subfolders,
    image,
    finish,
    style,
    seed: int = 0,
    num_workers: int | None = None,
    progress: bool = True,
    overwrite: bool = False,
):
    """Write one dataset, whole or not at all.

    ``image`` writes the picture of one task, a split and a number, and returns
    its annotation; ``finish`` writes the annotations, a dict by task.
    """
    parameters = dict(
        version=GENERATOR_VERSION, seed=seed, style=asdict(style), counts=counts
    )
    if output_folder.holds(folder, parameters, overwrite):
        Console(soft_wrap=True).print(
            f'{folder} is there already, nothing to do.', highlight=False
        )
        return folder
    # What is missing is said here, not by a worker.
    makehuman.load()
    tasks = [(split, index) for split in counts for index in range(counts[split])]
    with output_folder.assembled(folder, parameters) as place:
        for name in subfolders:
            (place / name).mkdir(parents=True)
        work = partial(_work, image, place, style, seed)
        results = parallel_map(work, tasks, num_workers, folder.name, progress)
        finish(place, dict(zip(tasks, results)))
    return folder


def _work(image, folder, style, seed, task):
    split, index = task
    # Each image has a random stream of its own.
    rng = np.random.default_rng((seed, _STREAMS[split], index))
    return image(folder, style, rng, split, index)


def _rhd_image(folder, style, rng, split, index):
    scene = scenes.sample_rhd(rng, style)
    image, visible = scenes.picture(rng, scene, style)
    write_image(folder / split / 'color' / f'{index:05d}.png', image)
    uv_vis, xyz = np.zeros((2, 2, NUM_KEYPOINTS, 3))
    # Project what is written, so that the file agrees with itself.
    xyz[scene.side, RHD_ROWS] = written = scene.keypoints.astype(np.float32)
    pixels = scene.project(written.astype(np.float64))
    visible = visible | style.hidden_labels
    uv_vis[scene.side, RHD_ROWS] = np.column_stack([pixels, visible])
    return dict(
        uv_vis=uv_vis.reshape(-1, 3), xyz=xyz.reshape(-1, 3), K=scene.intrinsics
    )


def _h3d_image(folder, style, rng, split, index):
    holding = bool(rng.random() < _HOLDING_SHARE)
    scene = scenes.sample_h3d(rng, style)
    image, _ = scenes.picture(rng, scene, style, holding)
    name = f'part{1 + index % _PARTS}/{index:05d}.jpg'
    write_image(folder / name, image, rng.integers(*style.jpeg_quality))
    return dict(
        _camera_entry(name, scene, scene.keypoints), without_object=int(not holding)
    )


def _surreal_image(folder, style, rng, split, index):
    scene = scenes.sample_surreal(rng, style)
    image, _ = scenes.picture(rng, scene, style)
    name = f'{index:06d}.jpg'
    path = folder / split / f'run{index % _RUNS}' / name
    write_image(path, image, rng.integers(*style.jpeg_quality))
    return _camera_entry(name, scene, scene.keypoints[_SURREAL_ROWS])


def _lsp_image(folder, style, rng, split, index):
    scene = scenes.sample_lsp(rng, style)
    occluded = rng.random() < style.occluders
    image, visible = scenes.picture(rng, scene, style, occluded)
    path = folder / 'images' / f'im{index + 1:04d}.jpg'
    write_image(path, image, rng.integers(*style.jpeg_quality))
    columns = np.column_stack([scene.project(scene.keypoints), ~visible])
    return columns[_LSP_COLUMNS].T


def _camera_entry(name, scene, keypoints):
    return dict(
        name=name,
        keypoint2d=scene.project(keypoints).tolist(),
        keypoint3d=keypoints.tolist(),
        intrinsic_matrix=scene.intrinsics.tolist(),
    )


def write_image(path: Path, image: np.ndarray, quality: int = 95) -> None:
    """Write an (H, W, 3) uint8 RGB image in the format of the path's suffix.

    Raises:
        OSError: If it cannot be encoded.
    """
    options = [cv2.IMWRITE_JPEG_QUALITY, int(quality)] if path.suffix == '.jpg' else []
    written, data = cv2.imencode(path.suffix, image[..., ::-1], options)
    if not written:
        raise OSError(f'{path} could not be encoded')
    path.write_bytes(data.tobytes())
