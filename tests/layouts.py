"""Writes small made-up datasets in the layouts in which they are published."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import scipy.io

SUBJECTS = (1, 5, 6, 7, 8, 9, 11)


def write_image(path: Path, width: int = 48, height: int = 48, seed: int = 0) -> None:
    """A file of noise; an empty one if the width is 0."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not width:
        path.touch()
        return
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)
    cv2.imwrite(str(path), cv2.resize(coarse, (width, height)))


def surreal_entry(run: int, number: int) -> dict:
    rng = np.random.default_rng([run, number])
    return dict(
        name=f'{run}_{number:06d}.jpg',
        keypoint2d=rng.uniform(4, 44, (24, 2)).tolist(),
        keypoint3d=rng.uniform(-1, 1, (24, 3)).tolist(),
        intrinsic_matrix=np.eye(3).tolist(),
    )


def write_surreal(root: Path, runs=(0, 1, 2), number: int = 5, side: int = 0) -> Path:
    """``number`` samples in each run of each folder."""
    folder = root / 'surreal_processed'
    for part in ('train', 'val', 'test'):
        for run in runs:
            entries = [surreal_entry(run, i) for i in range(number)]
            for i, entry in enumerate(entries):
                path = folder / part / f'run{run}' / entry['name']
                write_image(path, side, side, seed=100 * run + i)
            (folder / part / f'run{run}.json').write_text(json.dumps(entries))
    return root


# The published order of the joints of LSP and LSPET.
LSP14 = [
    *('right_ankle', 'right_knee', 'right_hip', 'left_hip', 'left_knee'),
    *('left_ankle', 'right_wrist', 'right_elbow', 'right_shoulder'),
    *('left_shoulder', 'left_elbow', 'left_wrist', 'neck', 'head'),
]


def lsp_joints(number: int) -> np.ndarray:
    """(3, 14, number), a seventh of the joints hidden."""
    rng = np.random.default_rng(3)
    joints = rng.uniform(2, 40, (3, 14, number))
    joints[2] = rng.uniform(size=(14, number)) < 1 / 7
    return joints


def write_lsp(root: Path, joints: np.ndarray, width: int = 0, height: int = 0) -> Path:
    """An image for each of the joints (3, 14, N)."""
    folder = root / 'lsp'
    for i in range(joints.shape[-1]):
        path = folder / 'images' / f'im{i + 1:04d}.jpg'
        write_image(path, width, height, seed=i)
    scipy.io.savemat(folder / 'joints.mat', dict(joints=joints))
    return root


def lspet_joints(number: int) -> np.ndarray:
    """(14, 3, number), a seventh of the joints not labelled."""
    joints = lsp_joints(number).transpose(1, 0, 2)
    joints[:, 2] = 1 - joints[:, 2]
    return joints


def write_lspet(
    root: Path, joints: np.ndarray, width: int = 0, height: int = 0
) -> Path:
    """An image for each of the joints (14, 3, N)."""
    folder = root / 'lspet'
    for i in range(joints.shape[-1]):
        write_image(folder / 'images' / f'im{i + 1:05d}.jpg', width, height, seed=i)
    scipy.io.savemat(folder / 'joints.mat', dict(joints=joints))
    return root


def h36m_camera(number: int) -> dict:
    """A camera five metres from the origin, at chest height."""
    angle = 0.3 + number * np.pi / 2
    eye = np.array([5000 * np.cos(angle), 5000 * np.sin(angle), 1200.0])
    forward = np.array([-eye[0], -eye[1], -200.0])
    forward /= np.linalg.norm(forward)
    right = np.cross(forward, [0, 0, 1])
    right /= np.linalg.norm(right)
    rotation = np.stack([right, np.cross(forward, right), forward])
    return dict(
        R=rotation.tolist(),
        t=(-rotation @ eye).tolist(),
        f=[1145.0, 1143.8],
        c=[512.5, 515.5],
    )


def h36m_image(subject: int, index: int, camera: int = 1, name: str = '') -> dict:
    folder = f's_{subject:02d}_act_02_subact_01_ca_{camera:02d}'
    return dict(
        id=1000 * subject + index,
        file_name=name or f'{folder}/{folder}_{index + 1:06d}.jpg',
        width=1000,
        height=1002,
        subject=subject,
        action_idx=2,
        subaction_idx=1,
        frame_idx=index,
        cam_idx=camera,
    )


def write_human36m(
    root: Path,
    number: int = 12,
    subjects=SUBJECTS,
    width: int = 0,
    height: int = 0,
) -> Path:
    """``number`` frames of each subject, seen by four cameras in turn."""
    folder = root / 'Human36M'
    (folder / 'annotations').mkdir(parents=True)
    cameras = {str(number): h36m_camera(number) for number in (1, 2, 3, 4)}
    for subject in subjects:
        rng = np.random.default_rng(subject)
        images, annotations, frames = [], [], {}
        for i in range(number):
            image = h36m_image(subject, i, camera=1 + i % 4)
            images.append(image)
            write_image(folder / 'images' / image['file_name'], width, height, seed=i)
            x, y = rng.uniform(300, 600, 2)
            box = [x, y, *rng.uniform(100, 300, 2)]
            annotations.append(dict(id=i, image_id=image['id'], bbox=box))
            frames[str(i)] = rng.uniform([-700, -700, 0], [700, 700, 1800], (17, 3))
        files = dict(
            # The order of annotations need not be that of images.
            data=dict(images=images, annotations=annotations[::-1]),
            camera=cameras,
            joint_3d={'2': {'1': {k: v.tolist() for k, v in frames.items()}}},
        )
        for name, content in files.items():
            path = folder / 'annotations' / f'Human36M_subject{subject}_{name}.json'
            path.write_text(json.dumps(content))
    return root


def write_freihand(
    root: Path, intrinsics: np.ndarray, points: np.ndarray, images=None, side: int = 0
) -> Path:
    """K (N, 3, 3), xyz (N, 21, 3), and the images that are named by number."""
    folder = root / 'FreiHAND_pub_v2'
    if images is None:
        images = [i + 32560 * v for v in range(4) for i in range(len(points))]
    for number in images:
        path = folder / 'training' / 'rgb' / f'{number:08d}.jpg'
        write_image(path, side, side, seed=number)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / 'training_K.json').write_text(json.dumps(np.asarray(intrinsics).tolist()))
    (folder / 'training_xyz.json').write_text(json.dumps(np.asarray(points).tolist()))
    return root


def freihand_poses(number: int) -> tuple:
    """Hands half a metre before the camera: K (N, 3, 3) and xyz (N, 21, 3)."""
    rng = np.random.default_rng(5)
    intrinsics = np.zeros((number, 3, 3))
    intrinsics[:, 0, 0] = rng.uniform(450, 500, number)
    intrinsics[:, 1, 1] = rng.uniform(450, 500, number)
    intrinsics[:, :2, 2] = 112
    intrinsics[:, 2, 2] = 1
    points = rng.uniform([-0.06, -0.06, 0.5], [0.06, 0.06, 0.7], (number, 21, 3))
    return intrinsics, points
