"""Writes the two synthetic hand domains in the published layouts.

The source is laid out as RHD and the target as H3D, so that they are read by
the datasets that read the originals.
"""

from __future__ import annotations

import json
import pickle
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np

from mmregda.datasets.parallel import parallel_map

from . import output_folder
from .hand_scenes import picture, sample_source_scene, sample_target_scene
from .hands import NUM_KEYPOINTS
from .image_files import generator, jpeg_options, report_ready, write_image
from .raster import project
from .styles import CLEAN, PHOTO, Style

#: Raised whenever the same parameters would give other data.
GENERATOR_VERSION = 2

RHD_FOLDER = 'RHD_published_v2'
H3D_FOLDER = 'H3D_crop'
#: Place of each root-to-tip keypoint among RHD's rows of one hand, which go
#: from tip to root within each finger.
RHD_ROWS = np.array(
    [0] + [4 * finger + 4 - joint for finger in range(5) for joint in range(4)]
)
_H3D_PARTS = 5
_HOLDING_SHARE = 0.1
# Numbers that keep the images' random streams apart.
_SOURCE, _TARGET = 0, 1
_RHD_SPLITS = {'training': 0, 'evaluation': 1}


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
        FileExistsError: If a folder is in the way; see ``write_rhd``.
    """
    rhd = write_rhd(
        root,
        num_source_train,
        num_source_test,
        seed=seed,
        num_workers=num_workers,
        progress=progress,
        overwrite=overwrite,
    )
    h3d = write_h3d(
        root,
        num_target,
        seed=seed,
        num_workers=num_workers,
        progress=progress,
        overwrite=overwrite,
    )
    return rhd, h3d


def write_rhd(
    root: str | Path,
    num_train: int = 1700,
    num_test: int = 300,
    seed: int = 0,
    style: Style = CLEAN,
    num_workers: int | None = None,
    progress: bool = True,
    overwrite: bool = False,
) -> Path:
    """Write ``root/RHD_published_v2``.

    An annotation holds ``uv_vis`` (42, 3), ``xyz`` (42, 3) in metres and
    ``K`` (3, 3), all float32; rows 0-20 are the left hand, 21-41 the right,
    and the rows of an absent hand are zero.

    Raises:
        FileExistsError: If the folder exists, unless it was generated with
            the same parameters (then nothing is done), or with others and
            ``overwrite`` is set.
    """
    folder = Path(root) / RHD_FOLDER
    parameters = _parameters(
        layout='rhd',
        seed=seed,
        style=asdict(style),
        num_train=num_train,
        num_test=num_test,
    )
    if output_folder.holds(folder, parameters, overwrite):
        report_ready(folder)
        return folder
    with output_folder.assembled(folder, parameters) as partial_folder:
        tasks = []
        for split, count in (('training', num_train), ('evaluation', num_test)):
            (partial_folder / split / 'color').mkdir(parents=True)
            tasks += [(split, index) for index in range(count)]
        annotations = parallel_map(
            partial(_write_rhd_image, partial_folder, seed, style),
            tasks,
            num_workers,
            'RHD',
            progress,
        )
        _write_rhd_annotations(partial_folder, tasks, annotations)
    return folder


def write_h3d(
    root: str | Path,
    num_images: int = 2000,
    seed: int = 0,
    style: Style = PHOTO,
    num_workers: int | None = None,
    progress: bool = True,
    overwrite: bool = False,
) -> Path:
    """Write ``root/H3D_crop``.

    All hands are left hands, which is what readers of RHD mirror every hand
    to. One in ten holds an object and has ``without_object`` 0.

    Raises:
        FileExistsError: As for ``write_rhd``.
    """
    folder = Path(root) / H3D_FOLDER
    parameters = _parameters(
        layout='h3d', seed=seed, style=asdict(style), num_images=num_images
    )
    if output_folder.holds(folder, parameters, overwrite):
        report_ready(folder)
        return folder
    with output_folder.assembled(folder, parameters) as partial_folder:
        for part in range(1, _H3D_PARTS + 1):
            (partial_folder / f'part{part}').mkdir()
        annotations = parallel_map(
            partial(_write_h3d_image, partial_folder, seed, style),
            range(num_images),
            num_workers,
            'H3D',
            progress,
        )
        path = partial_folder / 'annotation.json'
        path.write_text(json.dumps(annotations))
    return folder


def _write_rhd_annotations(folder, tasks, annotations):
    splits = {split: {} for split in _RHD_SPLITS}
    # Arrays that come from another process bring dtypes of their own, which
    # the pickle would repeat; fresh copies make its bytes independent of the
    # number of workers.
    single = np.dtype(np.float32)
    for (split, index), (uv_vis, xyz, intrinsics) in zip(tasks, annotations):
        splits[split][index] = {
            'uv_vis': np.array(uv_vis, single),
            'xyz': np.array(xyz, single),
            'K': np.array(intrinsics, single),
        }
    for split, entries in splits.items():
        path = folder / split / f'anno_{split}.pickle'
        path.write_bytes(pickle.dumps(entries, protocol=4))


def _write_rhd_image(folder, seed, style, task):
    split, index = task
    rng = generator(seed, _SOURCE, _RHD_SPLITS[split], index)
    scene = sample_source_scene(rng, style)
    path = folder / split / 'color' / f'{index:05d}.png'
    fragments = scene.rasterised()
    write_image(path, picture(rng, scene, style, fragments))

    uv_vis = np.zeros((2, NUM_KEYPOINTS, 3))
    xyz = np.zeros((2, NUM_KEYPOINTS, 3))
    visible = scene.visibility(fragments)
    for hand, seen in zip(scene.hands, visible):
        # Project what is written, so that the file agrees with itself.
        written = hand.keypoints.astype(np.float32).astype(np.float64)
        xyz[hand.side, RHD_ROWS] = written
        uv_vis[hand.side, RHD_ROWS, :2] = project(written, scene.intrinsics)
        uv_vis[hand.side, RHD_ROWS, 2] = seen
    return uv_vis.reshape(-1, 3), xyz.reshape(-1, 3), scene.intrinsics


def _write_h3d_image(folder, seed, style, index):
    rng = generator(seed, _TARGET, 0, index)
    holding = bool(rng.random() < _HOLDING_SHARE)
    scene = sample_target_scene(rng, style, holding=holding)
    image = picture(rng, scene, style, scene.rasterised())
    name = f'part{1 + index % _H3D_PARTS}/{index:05d}.jpg'
    write_image(folder / name, image, jpeg_options(rng, style))
    keypoints = scene.hands[0].keypoints
    return dict(
        name=name,
        keypoint2d=project(keypoints, scene.intrinsics).tolist(),
        keypoint3d=keypoints.tolist(),
        intrinsic_matrix=scene.intrinsics.tolist(),
        without_object=int(not holding),
    )


def _parameters(**parameters):
    return dict(subject='hands', version=GENERATOR_VERSION, **parameters)
