"""The synthetic hand pair: layouts, geometry, determinism, safe writing."""

import json
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from mmregda import synthetic
from mmregda.datasets import parallel
from mmregda.synthetic import hand_pair, output_folder
from mmregda.synthetic.hand_model import (
    HELD_OBJECT,
    JOINT_LIMITS,
    WRIST_LIMITS,
    HandPose,
    HandShape,
    articulate,
    sample_hand,
)
from mmregda.synthetic.hand_scenes import (
    LEFT,
    RIGHT,
    VISIBILITY_TOLERANCE,
    sample_source_scene,
    sample_target_scene,
)
from mmregda.synthetic.renderer import (
    EMPTY_DEPTH,
    RoundCones,
    first_hits,
    render,
)
from mmregda.synthetic.styles import CLEAN, PHOTO

NUM_TRAIN, NUM_TEST, NUM_TARGET = 14, 4, 30

# RHD's rows of one hand, root to tip, written out from its documentation.
RHD_ROOT_TO_TIP = [0]
RHD_ROOT_TO_TIP += [4, 3, 2, 1, 8, 7, 6, 5, 12, 11, 10, 9]
RHD_ROOT_TO_TIP += [16, 15, 14, 13, 20, 19, 18, 17]


@pytest.fixture(scope='module')
def pair(tmp_path_factory):
    root = tmp_path_factory.mktemp('pair')
    return synthetic.write_hand_pair(
        root, NUM_TRAIN, NUM_TEST, NUM_TARGET, num_workers=1, progress=False
    )


@pytest.fixture(scope='module')
def source_scenes():
    return [
        sample_source_scene(np.random.default_rng(seed), CLEAN) for seed in range(60)
    ]


def read_rhd(folder, split):
    with open(folder / split / f'anno_{split}.pickle', 'rb') as file:
        return pickle.load(file)


def read_h3d(folder):
    return json.loads((folder / 'annotation.json').read_text())


def files_of(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob('*'))
        if path.is_file()
    }


def chirality(keypoints):
    """Positive for right hands, from finger curl alone (root-to-tip order).

    Fingers bend towards the palm, about an axis that points from the little
    finger to the index finger in one kind of hand and back in the other.
    """
    across = keypoints[5] - keypoints[17]
    total = 0.0
    for root in (5, 9, 13, 17):
        bones = np.diff(keypoints[root : root + 4], axis=0)
        bones /= np.linalg.norm(bones, axis=1, keepdims=True)
        bend = np.cross(bones[0], bones[1]) + np.cross(bones[1], bones[2])
        total += bend @ across
    return total


# Layouts


def test_rhd_layout_reads_back(pair):
    rhd, _ = pair
    for split, count in (('training', NUM_TRAIN), ('evaluation', NUM_TEST)):
        annotations = read_rhd(rhd, split)
        assert list(annotations) == list(range(count))
        assert all(type(index) is int for index in annotations)
        images = sorted(path.name for path in (rhd / split / 'color').iterdir())
        assert images == [f'{index:05d}.png' for index in range(count)]
        for index, entry in annotations.items():
            assert set(entry) == {'uv_vis', 'xyz', 'K'}
            shapes = {key: value.shape for key, value in entry.items()}
            assert shapes == {'uv_vis': (42, 3), 'xyz': (42, 3), 'K': (3, 3)}
            assert all(value.dtype == np.float32 for value in entry.values())
            path = rhd / split / 'color' / f'{index:05d}.png'
            image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
            assert image.shape == (320, 320, 3) and image.dtype == np.uint8


def test_h3d_layout_reads_back(pair):
    _, h3d = pair
    entries = read_h3d(h3d)
    assert len(entries) == NUM_TARGET
    assert {Path(entry['name']).parts[0] for entry in entries} == {
        f'part{part}' for part in range(1, 6)
    }
    assert {entry['without_object'] for entry in entries} == {0, 1}
    for entry in entries:
        assert np.shape(entry['keypoint2d']) == (21, 2)
        assert np.shape(entry['keypoint3d']) == (21, 3)
        assert np.shape(entry['intrinsic_matrix']) == (3, 3)
        image = cv2.imread(str(h3d / entry['name']))
        assert image.shape == (224, 224, 3)


def test_own_readers_accept_the_pair(pair):
    datasets = pytest.importorskip('mmregda.datasets')
    rhd, h3d = pair
    source = datasets.RHDDataset(data_root=str(rhd.parent), split='train')
    target = datasets.H3DDataset(data_root=str(h3d.parent), split='all', task='all')
    assert len(source) >= 0.9 * NUM_TRAIN
    assert len(target) == NUM_TARGET


# Geometry


def test_rhd_pixels_are_projections_of_xyz(pair):
    rhd, _ = pair
    for split in ('training', 'evaluation'):
        for entry in read_rhd(rhd, split).values():
            present = np.any(entry['xyz'] != 0, axis=1)
            assert present[:21].all() or present[21:].all()
            assert np.all(entry['uv_vis'][~present] == 0)
            xyz = entry['xyz'][present].astype(float)
            pixels = xyz @ entry['K'].astype(float).T
            pixels = pixels[:, :2] / pixels[:, 2:]
            error = np.abs(pixels - entry['uv_vis'][present, :2])
            assert error.max() < 0.01


def test_h3d_pixels_are_projections_and_fill_the_crop(pair):
    _, h3d = pair
    for entry in read_h3d(h3d):
        pixels = np.array(entry['keypoint3d']) @ np.transpose(entry['intrinsic_matrix'])
        pixels = pixels[:, :2] / pixels[:, 2:]
        keypoints = np.array(entry['keypoint2d'])
        assert np.abs(pixels - keypoints).max() < 0.01
        assert np.ptp(keypoints, axis=0).max() == pytest.approx(224 / 1.5, abs=0.01)
        middle = (keypoints.min(axis=0) + keypoints.max(axis=0)) / 2
        assert middle == pytest.approx([111.5, 111.5], abs=0.01)


def test_rows_hold_hands_of_their_side(pair):
    rhd, h3d = pair
    curls = {LEFT: [], RIGHT: []}
    for split in ('training', 'evaluation'):
        for entry in read_rhd(rhd, split).values():
            for side, curl in curls.items():
                hand = entry['xyz'][21 * side : 21 * side + 21]
                if np.any(hand):
                    hand = hand[RHD_ROOT_TO_TIP].astype(float)
                    curl.append(chirality(hand))
    assert len(curls[LEFT]) >= 4 and len(curls[RIGHT]) >= 4
    # Straight fingers may bend back by a few degrees and count for little.
    for side, sign in ((LEFT, -1), (RIGHT, 1)):
        signed = sign * np.array(curls[side])
        assert signed.sum() > 0.5 * np.abs(signed).sum()
        assert np.mean(signed > 0) > 0.85
    target = np.array([chirality(np.array(e['keypoint3d'])) for e in read_h3d(h3d)])
    assert np.mean(target < 0) > 0.85


def test_flexion_bends_fingers_to_the_palm_of_a_left_hand():
    shape = HandShape.sample(np.random.default_rng(0))
    straight = articulate(shape, HandPose(np.zeros((5, 4)), np.zeros(2)))
    angles = np.zeros((5, 4))
    angles[1:, 1:] = 40
    bent = articulate(shape, HandPose(angles, np.zeros(2)))
    # x to the thumb, y to the fingertips, z out of the back.
    thumb_side = straight.keypoints[1, 0] - straight.keypoints[17, 0]
    assert thumb_side > 0.03
    tips = [8, 12, 16, 20]
    assert np.all(bent.keypoints[tips, 2] < straight.keypoints[tips, 2] - 0.02)
    assert chirality(bent.keypoints) < 0
    mirrored = bent.moved(np.diag((-1.0, 1, 1)), np.zeros(3))
    assert chirality(mirrored.keypoints) > 0


def test_sampled_hands_are_anatomical():
    rng = np.random.default_rng(1)
    lengths, bends = [], []
    for _ in range(200):
        keypoints = sample_hand(rng).keypoints
        for finger, root in enumerate((1, 5, 9, 13, 17)):
            bones = np.diff(keypoints[root : root + 4], axis=0)
            length = np.linalg.norm(bones, axis=1)
            lengths.append(length)
            unit = bones / length[:, None]
            cosines = np.einsum('bi,bi->b', unit[:-1], unit[1:])
            bends.append((finger, *np.degrees(np.arccos(np.clip(cosines, -1, 1)))))
            # The two outer joints are hinges with a common axis.
            assert abs(np.linalg.det(unit)) < 1e-9
    lengths = np.array(lengths)
    assert lengths.min() > 0.012 and lengths.max() < 0.066
    assert np.all(lengths[:, 0] > lengths[:, 2])
    bends = np.array(bends)
    for finger in range(5):
        outer = bends[bends[:, 0] == finger, 1:]
        highest = JOINT_LIMITS[finger, 2:, 1]
        assert np.all(outer <= highest + 1e-6)
        # The limits are limits, not values that are never approached.
        assert np.all(outer.max(axis=0) > 0.55 * highest)


@pytest.mark.parametrize('grasp', [False, True])
def test_joint_angles_keep_their_limits(grasp):
    rng = np.random.default_rng(2)
    poses = [HandPose.sample(rng, grasp) for _ in range(500)]
    fingers = np.stack([pose.fingers for pose in poses])
    wrists = np.stack([pose.wrist for pose in poses])
    for values, limits in ((fingers, JOINT_LIMITS), (wrists, WRIST_LIMITS)):
        assert np.all(values >= limits[..., 0]) and np.all(values <= limits[..., 1])
    # Neighbouring fingers flex together, and the last joint with the middle.
    if not grasp:
        flexion = fingers[:, :, 2]
        assert np.corrcoef(flexion[:, 2], flexion[:, 3])[0, 1] > 0.5
        assert np.corrcoef(fingers[:, 1, 2], fingers[:, 1, 3])[0, 1] > 0.9


def test_most_source_hands_qualify_for_the_rules_of_rhd(source_scenes):
    qualified = []
    for scene in source_scenes:
        seen = scene.visibility().sum(axis=1)
        boxes = []
        for hand in scene.hands:
            pixels = hand.keypoints @ scene.intrinsics.T
            pixels = pixels[:, :2] / pixels[:, 2:]
            middle = (pixels.min(axis=0) + pixels.max(axis=0)) / 2
            half = 0.75 * np.ptp(pixels, axis=0).max()
            boxes.append((middle - half, middle + half))
        for index, (low, high) in enumerate(boxes):
            covered = 0.0
            for other_low, other_high in boxes[:index] + boxes[index + 1 :]:
                overlap = np.minimum(high, other_high) - np.maximum(low, other_low)
                covered = np.prod(np.maximum(overlap, 0)) / np.prod(high - low)
            qualified.append(
                high[0] - low[0] > 64 and seen[index] > 16 and covered < 0.3
            )
    assert len(qualified) > len(source_scenes)
    assert np.mean(qualified) > 0.9


# Rendering


def swept_distance(cones, points, samples=200):
    """Distance of points (M, 3) to the union of swept spheres, by sampling."""
    steps = np.linspace(0, 1, samples)[:, None]
    nearest = np.full(len(points), np.inf)
    for index in range(len(cones)):
        start, end = cones.start[index], cones.end[index]
        centres = start + steps * (end - start)
        low, high = cones.start_radius[index], cones.end_radius[index]
        radii = low + steps[:, 0] * (high - low)
        gaps = np.linalg.norm(points[:, None] - centres[None], axis=2) - radii
        nearest = np.minimum(nearest, gaps.min(axis=1))
    return nearest


def march(cones, directions, stop):
    """Depth at which rays (M, 3) of z = 1 first meet the cones, by steps."""
    depth = np.full(len(directions), 0.02)
    stretch = np.linalg.norm(directions, axis=1)
    for _ in range(80):
        gap = swept_distance(cones, directions * depth[:, None], samples=24)
        depth = np.minimum(depth + np.maximum(gap, 0) / stretch, stop)
    for _ in range(15):
        gap = swept_distance(cones, directions * depth[:, None])
        depth = np.minimum(depth + np.maximum(gap, 0) / stretch, stop)
    return depth


def random_cones(rng, count):
    middle = rng.uniform((-0.1, -0.1, 0.4), (0.1, 0.1, 0.6), (count, 3))
    axis = rng.normal(0, 0.04, (count, 3))
    radii = rng.uniform(0.005, 0.05, (2, count))
    part = np.arange(count)
    return RoundCones(middle - axis, middle + axis, *radii, part, np.full(count, 1e-6))


def test_rendered_depth_is_that_of_ray_marching():
    rng = np.random.default_rng(3)
    cones = random_cones(rng, 12)
    camera = np.array([[100.0, 0, 31.5], [0, 100.0, 31.5], [0, 0, 1]])
    buffers = render(cones, camera, (64, 64))
    rows, columns = rng.integers(0, 64, (2, 150))
    directions = np.stack(
        [(columns - 31.5) / 100, (rows - 31.5) / 100, np.ones(150)], axis=1
    )
    depth = buffers.depth[rows, columns]
    marched = march(cones, directions, stop=2.0)
    hit = depth < EMPTY_DEPTH
    assert 20 < hit.sum() < 140
    # Rays that graze a surface may count either way.
    agree = np.where(hit, np.abs(depth - marched) < 1e-3, marched > 1.0)
    assert agree.mean() > 0.97
    assert np.all((buffers.part[rows, columns] >= 0) == hit)
    lengths = np.linalg.norm(buffers.normal[:, rows, columns][:, hit], axis=0)
    assert lengths == pytest.approx(1, abs=1e-3)


def test_first_hits_agree_with_the_rendered_buffer():
    cones = random_cones(np.random.default_rng(4), 12)
    camera = np.array([[100.0, 0, 31.5], [0, 100.0, 31.5], [0, 0, 1]])
    buffers = render(cones, camera, (64, 64))
    rows, columns = np.mgrid[:64, :64].reshape(2, -1)
    points = np.stack(
        [(columns - 31.5) / 100, (rows - 31.5) / 100, np.ones(64 * 64)], axis=1
    )
    depth = first_hits(cones, points * 0.7)
    assert depth == pytest.approx(buffers.depth.ravel(), abs=1e-4)


def test_visibility_agrees_with_ray_marching(source_scenes):
    decided = hidden = 0
    for scene in source_scenes[:4]:
        cones = scene.cones
        for hand, visible in zip(scene.hands, scene.visibility()):
            points = hand.keypoints
            directions = points / points[:, 2:]
            first = march(cones, directions, stop=2.0)
            pixels = directions @ scene.intrinsics.T
            inside = np.all((pixels[:, :2] >= 0) & (pixels[:, :2] <= 319), axis=1)
            slack = first - (points[:, 2] - hand.keypoint_radii - VISIBILITY_TOLERANCE)
            clear = np.abs(slack) > 1e-3
            expected = inside & (slack > 0)
            assert np.array_equal(visible[clear], expected[clear])
            decided += clear.sum()
            hidden += (~expected[clear]).sum()
    assert decided > 75 and hidden > 3


def test_annotated_keypoints_lie_on_the_pictured_hand(source_scenes):
    on_hand = []
    for scene in source_scenes[:10]:
        buffers = render(scene.cones, scene.intrinsics, scene.size)
        for hand, visible in zip(scene.hands, scene.visibility()):
            pixels = hand.keypoints[visible] @ scene.intrinsics.T
            columns, rows = np.round(pixels[:, :2] / pixels[:, 2:]).astype(int).T
            on_hand.extend(buffers.part[rows, columns] >= 0)
    assert len(on_hand) > 150
    assert np.mean(on_hand) > 0.99


def test_held_object_hides_keypoints_of_the_target_only_when_held():
    rng = np.random.default_rng(5)
    held = [sample_target_scene(rng, PHOTO, holding=True) for _ in range(8)]
    empty = [sample_target_scene(rng, PHOTO) for _ in range(4)]
    assert all(HELD_OBJECT in scene.cones.part for scene in held)
    assert not any(HELD_OBJECT in scene.cones.part for scene in empty)
    bare = sum(scene.visibility(with_objects=False).sum() for scene in held)
    seen = sum(scene.visibility().sum() for scene in held)
    assert seen < bare


def test_domains_differ_in_appearance(pair):
    """The target is noisy and lossy where the source is smooth."""
    rhd, h3d = pair

    def grain(path):
        # Typical second difference: noise has it everywhere, shading not.
        image = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE).astype(float)
        return np.median(np.abs(cv2.Laplacian(image, cv2.CV_64F)))

    source = [grain(path) for path in (rhd / 'training' / 'color').iterdir()]
    target = [grain(path) for path in h3d.glob('part*/*.jpg')]
    assert np.median(target) > np.median(source) + 1


# Determinism


def test_bytes_depend_on_the_seed_and_not_on_the_workers(pair, tmp_path):
    rhd, h3d = pair
    again = synthetic.write_rhd(
        tmp_path / 'again', NUM_TRAIN, NUM_TEST, num_workers=2, progress=False
    )
    assert files_of(again) == files_of(rhd)

    other = synthetic.write_h3d(
        tmp_path / 'other', 3, seed=1, num_workers=1, progress=False
    )
    for name, data in files_of(other).items():
        assert data != files_of(h3d)[name]


def test_first_images_do_not_depend_on_how_many_follow(pair, tmp_path):
    _, h3d = pair
    short = synthetic.write_h3d(tmp_path, 2, num_workers=1, progress=False)
    for entry in read_h3d(short):
        name = entry['name']
        assert (short / name).read_bytes() == (h3d / name).read_bytes()


def test_parallel_map_keeps_the_order_and_passes_errors_on():
    assert parallel.parallel_map(abs, [-3, 2, -1], 1, progress=False) == [3, 2, 1]
    with pytest.raises(TypeError):
        parallel.parallel_map(abs, [1, 'x'], 1, progress=False)


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

    write = hand_pair.write_image
    monkeypatch.setattr(hand_pair, 'write_image', fail_late)
    with pytest.raises(RuntimeError, match='disk on fire'):
        write_few(tmp_path)
    assert len(calls) == 2
    assert list(tmp_path.iterdir()) == []
    monkeypatch.undo()
    assert len(read_h3d(write_few(tmp_path))) == 2


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
    final = tmp_path / hand_pair.H3D_FOLDER
    process = subprocess.Popen(
        [sys.executable, '-c', program, str(final)],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == 'writing\n'
    process.send_signal(signal.SIGKILL)
    process.communicate()
    leftovers = [path.name for path in tmp_path.iterdir()]
    assert len(leftovers) == 1 and not final.exists()

    assert write_few(tmp_path) == final
    assert [path.name for path in tmp_path.iterdir()] == [final.name]
    assert len(read_h3d(final)) == 2


def test_finished_folder_is_not_written_twice(tmp_path, capsys):
    folder = write_few(tmp_path)
    before = {path: path.stat().st_mtime_ns for path in folder.rglob('*')}
    capsys.readouterr()
    time.sleep(0.01)
    assert write_few(tmp_path) == folder
    assert {path: path.stat().st_mtime_ns for path in folder.rglob('*')} == before
    assert len(capsys.readouterr().out.strip().splitlines()) == 1


def test_other_parameters_are_refused_unless_overwritten(tmp_path):
    folder = write_few(tmp_path)
    before = files_of(folder)
    with pytest.raises(FileExistsError, match=str(folder)):
        write_few(tmp_path, seed=1)
    assert files_of(folder) == before
    write_few(tmp_path, seed=1, overwrite=True)
    after = files_of(folder)
    assert set(after) == set(before) and after != before
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]


@pytest.mark.parametrize('manifest', [None, 'not json', '{}'])
@pytest.mark.parametrize('overwrite', [False, True])
def test_foreign_folder_is_never_touched(tmp_path, manifest, overwrite):
    folder = tmp_path / hand_pair.H3D_FOLDER
    folder.mkdir()
    (folder / 'annotation.json').write_text('my own data')
    if manifest is not None:
        (folder / output_folder.MANIFEST).write_text(manifest)
    before = files_of(folder)
    with pytest.raises(FileExistsError, match=str(folder)):
        write_few(tmp_path, overwrite=overwrite)
    assert files_of(folder) == before
