"""The hand's keypoints: a tree from the wrist to five finger tips."""

from mmpose.datasets.datasets.utils import parse_pose_metainfo

from mmregda.datasets.keypoints import HAND21, KEYPOINT_GROUPS, metainfo_of

FINGERS = ('thumb', 'index', 'middle', 'ring', 'little')


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
