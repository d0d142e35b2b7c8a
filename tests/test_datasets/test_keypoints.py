"""Keypoints: a hand is a tree of five fingers, a body has two sides."""

import numpy as np
from mmpose.datasets.datasets.utils import parse_pose_metainfo

from mmregda.datasets.keypoints import (
    BODY16,
    HAND21,
    KEYPOINT_GROUPS,
    metainfo_of,
    visibility_of,
)

FINGERS = ('thumb', 'forefinger', 'middle_finger', 'ring_finger', 'pinky_finger')


def parsed():
    return parse_pose_metainfo(metainfo_of(HAND21, 'any'))


def test_names_are_unique_and_run_from_root_to_tip():
    names = [parsed()['keypoint_id2name'][i] for i in range(21)]
    assert len(set(names)) == 21
    expected = ['wrist'] + [f'{finger}{i}' for finger in FINGERS for i in range(1, 5)]
    assert names == expected


def test_skeleton_is_a_tree_rooted_at_the_wrist():
    links = parsed()['skeleton_links']
    parent = {child: origin for origin, child in links}
    assert len(links) == len(parent) == 20
    assert 0 not in parent
    for tip in (4, 8, 12, 16, 20):
        path = [tip]
        while path[-1]:
            path.append(parent[path[-1]])
        assert path == [tip, tip - 1, tip - 2, tip - 3, 0]


def test_a_mirrored_hand_keeps_its_keypoints():
    meta = parsed()
    assert list(meta['flip_indices']) == list(range(21))
    assert meta['flip_pairs'] == []


def test_every_keypoint_has_a_colour_a_weight_and_a_sigma():
    meta = parsed()
    assert meta['num_keypoints'] == 21
    assert len(meta['keypoint_colors']) == 21
    assert len(meta['skeleton_link_colors']) == 20
    assert list(meta['dataset_keypoint_weights']) == [1] * 21
    assert len(meta['sigmas']) == 21 and min(meta['sigmas']) > 0


def test_a_definition_under_another_name_leaves_the_original_alone():
    assert parsed()['dataset_name'] == 'any'
    assert HAND21['dataset_name'] == 'hand21'
    assert metainfo_of(HAND21, 'any')['keypoint_info'] == HAND21['keypoint_info']


def test_groups_are_those_of_the_published_tables():
    assert KEYPOINT_GROUPS['hand21'] == dict(
        MCP=[1, 5, 9, 13, 17],
        PIP=[2, 6, 10, 14, 18],
        DIP=[3, 7, 11, 15, 19],
        Fingertip=[4, 8, 12, 16, 20],
        Avg=[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20],
    )
    assert list(KEYPOINT_GROUPS['hand21']) == ['MCP', 'PIP', 'DIP', 'Fingertip', 'Avg']


# The body


def body():
    return parse_pose_metainfo(metainfo_of(BODY16, 'any'))


def test_a_mirrored_body_swaps_its_sides():
    meta = body()
    names = meta['keypoint_id2name']
    for i, j in enumerate(meta['flip_indices']):
        side, _, part = names[i].partition('_')
        other = dict(left='right', right='left').get(side)
        assert names[j] == (f'{other}_{part}' if other else names[i])


def test_body_skeleton_is_a_tree_whose_links_keep_to_a_side():
    meta = body()
    names = meta['keypoint_id2name']
    links = meta['skeleton_links']
    parent = {child: origin for origin, child in links}
    (root,) = set(range(16)) - set(parent)
    assert len(links) == len(parent) == 15
    for leaf in range(16):
        seen = [leaf]
        while seen[-1] in parent:
            seen.append(parent[seen[-1]])
            assert len(seen) <= 16
        assert seen[-1] == root
    for origin, child in links:
        sides = {
            side
            for side in ('left', 'right')
            for i in (origin, child)
            if names[i].startswith(side)
        }
        assert len(sides) <= 1


def test_sides_of_a_body_differ_in_colour():
    meta = body()
    colors = {
        side: {
            tuple(meta['keypoint_colors'][i])
            for i, name in meta['keypoint_id2name'].items()
            if name.partition('_')[0] == side
        }
        for side in ('left', 'right')
    }
    assert len(colors['left']) == len(colors['right']) == 1
    assert colors['left'] != colors['right']


def test_body_groups_are_those_of_the_published_tables():
    names = body()['keypoint_id2name']
    groups = KEYPOINT_GROUPS['body16']
    assert list(groups) == [
        *('Shoulder', 'Elbow', 'Wrist', 'Hip', 'Knee', 'Ankle', 'Avg')
    ]
    for group, indices in groups.items():
        if group != 'Avg':
            found = {names[i] for i in indices}
            assert found == {f'{side}_{group.lower()}' for side in ('left', 'right')}
    twelve = [i for group in list(groups)[:-1] for i in groups[group]]
    assert sorted(twelve) == groups['Avg'] and len(twelve) == 12


def test_visibility_is_read_with_and_without_a_weight_beside_it():
    flags = np.array([[1, 0, 2]])
    beside = np.stack([flags, np.array([[0, 1, 0]])], axis=-1)
    for found in map(visibility_of, (flags, beside)):
        assert found.tolist() == [1, 0, 2]
