"""The dataset check: every kind of damage, and nothing where there is none."""

import json
import pickle
import shutil

import cv2
import numpy as np
import pytest
from conftest import ROOT, tiny_config
from mmengine.config import Config

from mmregda import InputError
from mmregda.datasets import UnlabeledDataset, check_config, check_datasets, checks
from mmregda.datasets.checks import domains_of


class Annotated:
    """As much of a dataset as the check asks for: annotations in memory."""

    def __init__(self, *infos, num_keypoints=3):
        self.infos = infos
        names = dict(enumerate('abcdefgh'[:num_keypoints]))
        self.metainfo = dict(num_keypoints=num_keypoints, keypoint_id2name=names)

    def __len__(self):
        return len(self.infos)

    def get_data_info(self, index):
        return dict(self.infos[index])


@pytest.fixture
def image(tmp_path):
    """Writes images of 80 x 60 pixels, each of its own content."""

    def write(name, seed=0):
        noise = np.random.default_rng(seed).integers(0, 256, (60, 80, 3), np.uint8)
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), noise)
        return str(path)

    return write


def sample(path, **changes):
    info = dict(
        img_path=path,
        bbox=np.array([[10, 10, 50, 40]], np.float32),
        keypoints=np.array([[[12, 12], [20, 20], [79.5, 59.5]]], np.float32),
        keypoints_visible=np.array([[1, 1, 0]], np.float32),
    )
    info.update(changes)
    return {key: value for key, value in info.items() if value is not None}


def kinds(report, spoils=True):
    return [f.kind for f in report.findings if f.spoils == spoils]


def check(**datasets):
    named = {name.replace('_', '/'): dataset for name, dataset in datasets.items()}
    return check_datasets(named, num_workers=1, progress=False)


def test_sound_data_is_found_sound(image):
    report = check(train=Annotated(sample(image('a.png')), sample(image('b.jpg', 1))))
    assert report.findings == []
    assert 'Nothing was found' in report.to_markdown()


def test_summary_counts_samples_images_boxes_and_visibility(image):
    path = image('a.png')
    seen = np.array([[1, 0, 0]], np.float32)
    boxes = np.array([[0, 0, 30, 10]], np.float32)
    report = check(
        train=Annotated(
            sample(path),
            sample(path, keypoints_visible=seen, bbox=boxes),
            sample(image('b.png', 1), bbox=None),
        )
    )
    (split,) = report.splits
    assert (split.num_samples, split.num_images, split.num_labeled) == (3, 2, 3)
    # Without a box, the whole image of 80 x 60.
    np.testing.assert_array_equal(split.box_sides, [40, 30, 80])
    np.testing.assert_allclose(split.visible, 5 / 9)


def test_each_broken_image_is_found_once_and_named(image, tmp_path):
    missing, empty = str(tmp_path / 'none.png'), str(tmp_path / 'empty.png')
    open(empty, 'w').close()
    cut = tmp_path / 'cut.png'
    with open(image('whole.png'), 'rb') as file:
        cut.write_bytes(file.read()[:-200])
    text = tmp_path / 'text.jpg'
    text.write_text('<html>')
    paths = [missing, empty, str(cut), str(text)]
    report = check(train=Annotated(*(sample(p) for p in paths for _ in range(2))))
    found = {finding.path: finding.kind for finding in report.problems}
    assert found == {
        missing: checks.MISSING,
        empty: checks.ZERO_SIZE,
        str(cut): checks.DAMAGED,
        str(text): checks.DAMAGED,
    }
    assert len(report.problems) == 4
    assert 'cut short' in report.problems[2].detail


@pytest.mark.parametrize(
    'box, kind',
    [
        ((10, 10, 10, 40), checks.EMPTY_BOX),
        ((10, 40, 50, 10), checks.EMPTY_BOX),
        ((80, 10, 120, 40), checks.BOX_OUTSIDE),
        ((-40, 10, 0, 40), checks.BOX_OUTSIDE),
        ((-40, -40, 1, 1), None),
        ((79, 59, 200, 200), None),
    ],
)
def test_boxes_are_judged_by_their_area_within_the_image(image, box, kind):
    boxes = np.array([box], np.float32)
    unlabeled = UnlabeledDataset(
        Annotated(sample(image('a.png'), bbox=boxes)), pipeline=[]
    )
    assert kinds(check(train_target=unlabeled)) == [kind] * (kind is not None)


@pytest.mark.parametrize(
    'point, visible, kind',
    [
        ((80.4, 30), 1, None),
        ((81, 30), 1, checks.KEYPOINT_OUTSIDE),
        ((-1, 30), 1, checks.KEYPOINT_OUTSIDE),
        ((30, 61), 1, checks.KEYPOINT_OUTSIDE),
        ((30, -1000), 0, None),
        ((np.inf, 30), 1, checks.KEYPOINT_OUTSIDE),
    ],
)
def test_labelled_keypoints_lie_in_the_image(image, point, visible, kind):
    info = sample(image('a.png'))
    info['keypoints'][0, 1], info['keypoints_visible'][0, 1] = point, visible
    report = check(train=Annotated(info))
    assert kinds(report) == [kind] * (kind is not None)
    if kind:
        assert 'keypoint 1 at' in report.problems[0].detail


def test_images_in_training_and_test_are_found_by_file_and_by_content(image, tmp_path):
    shared, copied = image('train/a.png', 1), image('train/b.png', 2)
    other = image('train/c.png', 3)
    copy = str(tmp_path / 'copy.png')
    shutil.copy(copied, copy)
    link = tmp_path / 'link.png'
    link.symlink_to(other)
    fresh = image('test/d.png', 4)
    report = check(
        train_source=Annotated(*map(sample, (shared, copied, other))),
        val_source=Annotated(*map(sample, (fresh, shared, copy, str(link)))),
        # Other test splits may share what they like among them.
        val_target=Annotated(sample(fresh)),
    )
    found = {f.path: (f.kind, f.split) for f in report.problems}
    assert found == {
        shared: (checks.IN_BOTH, 'val/source'),
        copy: (checks.IN_BOTH, 'val/source'),
        str(link): (checks.IN_BOTH, 'val/source'),
    }
    by_path = {f.path: f.detail for f in report.problems}
    assert copied in by_path[copy] and 'train/source' in by_path[copy]


def test_a_link_in_training_is_the_file_it_leads_to(image, tmp_path):
    path, link = image('a.png'), tmp_path / 'link.png'
    link.symlink_to(path)
    report = check(
        train=Annotated(sample(str(link))), val_source=Annotated(sample(path))
    )
    assert [(f.kind, f.path) for f in report.problems] == [(checks.IN_BOTH, path)]


def test_test_images_in_the_unlabelled_target_are_said_but_spoil_nothing(image):
    info = sample(image('a.png'))
    report = check(
        train_target=UnlabeledDataset(Annotated(info), pipeline=[]),
        val_target=Annotated(info),
    )
    assert report.problems == []
    assert kinds(report, spoils=False) == [checks.IN_BOTH]
    assert 'spoils nothing' in report.to_markdown()


def test_what_spoils_is_told_from_what_does_not_where_both_are_found(image):
    info = sample(image('a.png'))
    page = check(
        train_target=UnlabeledDataset(Annotated(info), pipeline=[]),
        train_source=Annotated(info),
        val_source=Annotated(info),
    ).to_markdown()
    assert '**1 problem found.**' in page
    assert '## image in training and test: 2 (1 of them spoil nothing)' in page


def test_boxes_that_reach_out_of_the_image_are_counted(image):
    # As when x1, y1, x2, y2 are taken for x, y, w, h.
    boxes = [[30, 20, 100, 70], [10, 10, 50, 40], [0, 0, 80.5, 60], [-9, 0, 80, 60]]
    path = image('a.png')
    report = check(
        train=Annotated(*(sample(path, bbox=np.array([box])) for box in boxes))
    )
    assert report.findings == []
    assert report.splits[0].num_over_border == 2
    assert 'reach out of the image' in report.to_markdown()
    assert '50.0 %' in report.to_markdown()


def test_what_a_folder_of_photographs_goes_on_without_is_found(image, tmp_path):
    image('photographs/a.png')
    empty = tmp_path / 'photographs/empty.jpg'
    empty.touch()
    loader = dict(dataset=dict(type='UnlabeledImages', root=str(empty.parent)))
    cfg = dict(train_dataloader=dict(target=loader))
    report = check_config(cfg, num_workers=1, progress=False)
    assert kinds(report) == [checks.ZERO_SIZE]
    loader['dataset']['skip_corrupt'] = True
    report = check_config(cfg, num_workers=1, progress=False)
    assert kinds(report) == []
    assert kinds(report, spoils=False) == [checks.LEFT_OUT]
    assert str(empty) in report.findings[0].detail


def test_a_wrapper_given_as_a_class_hides_labels_too(hand_pair):
    cfg = tiny_config(hand_pair, 'unused')
    cfg = dict(train_dataloader=cfg.train_dataloader.to_dict())
    cfg['train_dataloader']['target']['dataset']['type'] = UnlabeledDataset
    report = check_config(cfg, num_workers=1, progress=False)
    assert checks.LABELED_TARGET not in kinds(report)


def test_labels_of_the_training_target_are_not_looked_at(image):
    wrong = dict(keypoints=np.full((1, 9, 2), np.nan))
    hidden = UnlabeledDataset(Annotated(sample(image('a.png'), **wrong)), pipeline=[])
    report = check(train_target=hidden)
    assert report.findings == []
    assert report.splits[0].num_labeled == 0


def test_missing_files_of_a_published_dataset_are_all_found(hand_pair, tmp_path):
    pair = tmp_path / 'pair'
    shutil.copytree(hand_pair, pair)
    removed = sorted((pair / 'H3D_crop').glob('part*/*.jpg'))[::3]
    for path in removed:
        path.unlink()
    with open(pair / 'H3D_crop/annotation.json') as file:
        used = {e['name'] for e in json.load(file) if e['without_object']}
    expected = {
        str(p) for p in removed if str(p.relative_to(pair / 'H3D_crop')) in used
    }
    report = check_config(tiny_config(pair, 'unused'), num_workers=1, progress=False)
    found = {f.path for f in report.problems if f.kind == checks.MISSING}
    assert len(expected) > 1 and found == expected
    assert {f.kind for f in report.problems} == {checks.MISSING}


@pytest.mark.slow
def test_a_config_is_checked_in_both_domains_by_several_threads(hand_pair):
    cfg = tiny_config(hand_pair, 'unused')
    report = check_config(cfg, num_workers=2, progress=False)
    names = ['train/source', 'train/target', 'val/source', 'val/target']
    assert [split.name for split in report.splits] == names
    assert report.problems == []
    with open(hand_pair / 'RHD_published_v2/training/anno_training.pickle', 'rb') as f:
        assert report.splits[0].num_images <= len(pickle.load(f))
    assert [split.num_labeled > 0 for split in report.splits] == [1, 0, 1, 1]


def test_what_is_tested_on_as_well_as_validated_is_checked_once(hand_pair):
    cfg = tiny_config(hand_pair, 'unused')
    cfg.train_dataloader = cfg.train_dataloader.source
    cfg.val_dataloader = cfg.val_dataloader.source
    cfg.test_dataloader = cfg.val_dataloader
    report = check_config(cfg, num_workers=1, progress=False)
    assert [split.name for split in report.splits] == ['train', 'val']


def test_a_labelled_target_in_training_is_a_problem(hand_pair):
    cfg = Config.fromfile(ROOT / 'configs/regda_rhd2h3d.py')
    leaking = cfg.labeled_target_loader.dataset
    leaking.data_root = str(hand_pair)
    cfg.train_dataloader = dict(
        source=None, target=dict(dataset=dict(type='RepeatDataset', dataset=leaking))
    )
    cfg.val_dataloader = None
    report = check_config(cfg, num_workers=1, progress=False)
    assert kinds(report) == [checks.LABELED_TARGET]
    assert report.splits[0].num_labeled == 0


def test_views_and_a_few_labelled_images_of_the_target_are_no_problem(hand_pair):
    cfg = tiny_config(hand_pair, 'unused')
    dataset = cfg.train_dataloader.target.dataset
    dataset.update(pipeline=[], views=dict(teacher=dataset.pipeline))
    few = dict(cfg.labeled_target_loader.dataset, data_root=str(hand_pair), indices=3)
    cfg.train_dataloader = dict(
        target=dict(dataset=dataset), labeled_target=dict(dataset=few)
    )
    cfg.val_dataloader = None
    report = check_config(cfg, num_workers=1, progress=False)
    assert report.problems == []
    counts = {split.name: split.num_labeled for split in report.splits}
    assert counts == {'train/target': 0, 'train/labeled_target': 3}


def test_a_split_that_cannot_be_read_is_a_problem_and_the_others_are_checked(
    hand_pair, tmp_path
):
    cfg = tiny_config(hand_pair, 'unused')
    cfg.val_dataloader.target.dataset.data_root = str(tmp_path)
    coco = dict(type='CocoDataset', ann_file=str(tmp_path / 'none.json'))
    cfg.val_dataloader.source.dataset = coco
    report = check_config(cfg, num_workers=1, progress=False)
    assert kinds(report) == [checks.UNREADABLE] * 2
    assert [f.split for f in report.problems] == ['val/source', 'val/target']
    assert 'none.json' in report.problems[0].detail
    assert 'H3D_crop' in report.problems[1].detail
    assert report.problems[1].path == str(tmp_path)
    assert len(report.splits) == 2
    photographs = dict(type='UnlabeledImages', root=str(tmp_path / 'nowhere'))
    cfg.val_dataloader.source.dataset = photographs
    report = check_config(cfg, num_workers=1, progress=False)
    assert report.problems[0].path == str(tmp_path / 'nowhere')


def test_nothing_that_can_be_read_is_an_error(tmp_path):
    cfg = tiny_config(tmp_path, 'unused')
    with pytest.raises(InputError, match='no dataset of the config can be read'):
        check_config(cfg, num_workers=1, progress=False)
    with pytest.raises(InputError, match='no dataloader'):
        check_config(dict(), num_workers=1, progress=False)


def test_domains_are_told_from_one_ordinary_dataloader():
    one, other = dict(type='A'), dict(type='B')
    assert domains_of(None) == {}
    assert domains_of(dict(dataset=one)) == {'': one}
    both = dict(source=dict(dataset=one), target=dict(dataset=other))
    assert domains_of(both) == dict(source=one, target=other)
    assert domains_of(dict(both, target=None)) == dict(source=one)
    with pytest.raises(InputError, match='for the target'):
        domains_of(dict(both, target=dict(batch_size=2)))


def test_the_page_shows_examples_of_each_kind_and_counts_the_rest(image, tmp_path):
    infos = [sample(str(tmp_path / f'{i}.png')) for i in range(5)]
    infos.append(sample(image('a.png'), bbox=np.zeros((1, 4), np.float32)))
    page = check(train=Annotated(*infos)).to_markdown(examples=2)
    assert '**6 problems found.**' in page
    assert (
        '## missing image: 5' in page
        and 'In train: 5.' in page
        and 'and 3 more' in page
    )
    assert page.count('there is no such file') == 2
    assert '## empty box: 1' in page
