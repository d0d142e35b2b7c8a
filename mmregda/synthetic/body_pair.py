"""Writes the two synthetic body domains in the published layouts.

The source is laid out as SURREAL in RegDA's crops and the target as LSP, so
that they are read by the datasets that read the originals.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np
from scipy.io import savemat

from mmregda.datasets.parallel import parallel_map

from . import output_folder
from .body_model import (
    LEFT_ANKLE,
    LEFT_ELBOW,
    LEFT_HIP,
    LEFT_KNEE,
    LEFT_SHOULDER,
    LEFT_WRIST,
    MIRRORED,
    NECK,
    NUM_JOINTS,
    RIGHT_ANKLE,
    RIGHT_ELBOW,
    RIGHT_HIP,
    RIGHT_KNEE,
    RIGHT_SHOULDER,
    RIGHT_WRIST,
)
from .body_scenes import picture, sample_source_scene, sample_target_scene
from .body_styles import CLEAN_BODIES, PHOTO_BODIES, BodyStyle
from .image_files import generator, jpeg_options, report_ready, write_image
from .renderer import project

#: Raised whenever the same parameters would give other data.
GENERATOR_VERSION = 1

SURREAL_FOLDER = 'surreal_processed'
LSP_FOLDER = 'lsp'
#: The joint in each of SURREAL's rows. They are named after SMPL's joints,
#: but its renderings mirror the body: SMPL's left is the person's right.
SURREAL_ROWS = np.array(MIRRORED)
#: The landmark of a ``BodyScene`` in each of LSP's columns; the last is the
#: top of the head.
LSP_COLUMNS = np.array(
    [
        RIGHT_ANKLE, RIGHT_KNEE, RIGHT_HIP, LEFT_HIP, LEFT_KNEE, LEFT_ANKLE,
        RIGHT_WRIST, RIGHT_ELBOW, RIGHT_SHOULDER,
        LEFT_SHOULDER, LEFT_ELBOW, LEFT_WRIST,
        NECK, NUM_JOINTS,
    ]
)  # fmt: skip
#: LSP's file names have four digits.
MAX_TARGET = 9999
_RUNS = 3
# Numbers that keep the images' random streams apart, also from the hands'.
_SOURCE, _TARGET = 2, 3
_SPLITS = {'train': 0, 'val': 1, 'test': 2}
# Of the images in test/, readers use a fifth.
_TEST_SHARE = 5


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
        seed (int): Same seed, same bytes, whatever ``num_workers`` is.
        num_workers (int | None): Processes; None for one a CPU. With more
            than one, a script must guard its entry by
            ``if __name__ == '__main__':``.
        progress (bool): Whether to show progress bars.
        overwrite (bool): Replace data generated with other parameters.

    Returns:
        tuple[Path, Path]: The SURREAL and the LSP folder.

    Raises:
        FileExistsError: If a folder is in the way; see ``write_surreal``.
        ValueError: If LSP's layout cannot hold so many images.
    """
    surreal = write_surreal(
        root,
        num_source_train,
        num_source_test,
        seed=seed,
        num_workers=num_workers,
        progress=progress,
        overwrite=overwrite,
    )
    lsp = write_lsp(
        root,
        num_target,
        seed=seed,
        num_workers=num_workers,
        progress=progress,
        overwrite=overwrite,
    )
    return surreal, lsp


def write_surreal(
    root: str | Path,
    num_train: int = 1700,
    num_test: int = 600,
    seed: int = 0,
    style: BodyStyle = CLEAN_BODIES,
    num_workers: int | None = None,
    progress: bool = True,
    overwrite: bool = False,
) -> Path:
    """Write ``root/surreal_processed``.

    An entry holds ``name``, ``keypoint2d`` (24, 2) in pixels, ``keypoint3d``
    (24, 3) in metres in the camera's frame and ``intrinsic_matrix`` (3, 3).

    Raises:
        FileExistsError: If the folder exists, unless it was generated with
            the same parameters (then nothing is done), or with others and
            ``overwrite`` is set.
    """
    folder = Path(root) / SURREAL_FOLDER
    parameters = _parameters(
        layout='surreal',
        seed=seed,
        style=asdict(style),
        num_train=num_train,
        num_test=num_test,
    )
    if output_folder.holds(folder, parameters, overwrite):
        report_ready(folder)
        return folder
    counts = dict(train=num_train, val=num_test // _TEST_SHARE, test=num_test)
    with output_folder.assembled(folder, parameters) as partial_folder:
        tasks = []
        for split, count in counts.items():
            for run in range(_RUNS):
                (partial_folder / split / f'run{run}').mkdir(parents=True)
            tasks += [(split, index) for index in range(count)]
        entries = parallel_map(
            partial(_write_surreal_image, partial_folder, seed, style),
            tasks,
            num_workers,
            'SURREAL',
            progress,
        )
        runs = {(split, run): [] for split in counts for run in range(_RUNS)}
        for (split, index), entry in zip(tasks, entries):
            runs[split, index % _RUNS].append(entry)
        for (split, run), members in runs.items():
            path = partial_folder / split / f'run{run}.json'
            path.write_text(json.dumps(members))
    return folder


def write_lsp(
    root: str | Path,
    num_images: int = 1600,
    seed: int = 0,
    style: BodyStyle = PHOTO_BODIES,
    num_workers: int | None = None,
    progress: bool = True,
    overwrite: bool = False,
) -> Path:
    """Write ``root/lsp``.

    ``joints.mat`` holds ``joints`` (3, 14, N) float64: x, y in pixels, and 1
    where the joint is hidden.

    Raises:
        FileExistsError: As for ``write_surreal``.
        ValueError: If there are more images than the layout can name.
    """
    if num_images > MAX_TARGET:
        raise ValueError(
            f'LSP names its images by four digits: at most {MAX_TARGET} images, '
            f'not {num_images}'
        )
    folder = Path(root) / LSP_FOLDER
    parameters = _parameters(
        layout='lsp', seed=seed, style=asdict(style), num_images=num_images
    )
    if output_folder.holds(folder, parameters, overwrite):
        report_ready(folder)
        return folder
    with output_folder.assembled(folder, parameters) as partial_folder:
        (partial_folder / 'images').mkdir()
        joints = parallel_map(
            partial(_write_lsp_image, partial_folder, seed, style),
            range(num_images),
            num_workers,
            'LSP',
            progress,
        )
        array = np.zeros((3, len(LSP_COLUMNS), num_images))
        for index, columns in enumerate(joints):
            array[..., index] = columns
        _write_mat(partial_folder / 'joints.mat', array)
    return folder


def _write_surreal_image(folder, seed, style, task):
    split, index = task
    rng = generator(seed, _SOURCE, _SPLITS[split], index)
    scene = sample_source_scene(rng, style)
    name = f'{index:06d}.jpg'
    path = folder / split / f'run{index % _RUNS}' / name
    write_image(path, picture(rng, scene, style), jpeg_options(rng, style))
    joints = scene.body.joints[SURREAL_ROWS]
    return dict(
        name=name,
        keypoint2d=project(joints, scene.intrinsics).tolist(),
        keypoint3d=joints.tolist(),
        intrinsic_matrix=scene.intrinsics.tolist(),
    )


def _write_lsp_image(folder, seed, style, index):
    rng = generator(seed, _TARGET, 0, index)
    scene = sample_target_scene(rng, style)
    path = folder / 'images' / f'im{index + 1:04d}.jpg'
    write_image(path, picture(rng, scene, style), jpeg_options(rng, style))
    landmarks = scene.landmarks[LSP_COLUMNS]
    hidden = ~scene.visibility()[LSP_COLUMNS]
    pixels = project(landmarks, scene.intrinsics)
    return np.concatenate([pixels, hidden[:, None]], axis=1).T


def _write_mat(path, joints):
    savemat(path, dict(joints=joints))
    # The header's text tells the time; the same parameters give the same bytes.
    data = bytearray(path.read_bytes())
    data[:116] = b'MATLAB 5.0 MAT-file, joints of rendered bodies'.ljust(116)
    path.write_bytes(bytes(data))


def _parameters(**parameters):
    return dict(subject='bodies', version=GENERATOR_VERSION, **parameters)
