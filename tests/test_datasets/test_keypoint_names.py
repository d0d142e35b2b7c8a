"""Whether names of keypoints contradict each other."""

import itertools

import pytest

from mmregda import InputError
from mmregda.datasets.keypoint_names import (
    keypoint_names,
    mirrored,
    misplaced,
    require_same_keypoints,
)


@pytest.mark.parametrize('order', itertools.permutations(range(4)))
def test_first_channel_out_of_place_is_found_in_every_order(order):
    names = ['nose', 'left_eye', 'right_eye', 'chin']
    moved = [names[k] for k in order]
    expected = next((k for k in range(4) if names[k] != moved[k]), None)
    assert misplaced(names, moved) == expected
    # Spelling, and names that only one of them has, change nothing.
    assert misplaced([n.upper().replace('_', ' ') for n in names], moved) == expected
    assert misplaced(['nose', 'a', 'b', 'c'], ['nose', 'd', 'e', 'f']) is None


def test_names_that_only_spelling_tells_apart_are_told_apart():
    assert misplaced(['a_1', 'a1'], ['a1', 'a_1']) == 0
    assert misplaced(['a_1', 'a1'], ['a_1', 'a1']) is None


def test_synonyms_are_reported_and_another_number_refused(capsys):
    require_same_keypoints(['a', 'b'], ['a', 'c'], 'one', 'other', '')
    assert 'b is c' in capsys.readouterr().out
    with pytest.raises(InputError, match=r'one has 2 .*other has 3 .*Do this'):
        require_same_keypoints(['a', 'b'], ['a', 'b', 'c'], 'one', 'other', 'Do this')


@pytest.mark.parametrize(
    ('name', 'other'),
    [
        ('left_eye', 'righteye'),
        ('Right Shoulder', 'leftshoulder'),
        ('L_Paw', 'rpaw'),
        ('RPaw', 'lpaw'),
        ('lower_lip', ''),
        ('Rib', ''),
        ('nose', ''),
    ],
)
def test_side_of_a_keypoint_is_read_from_its_name(name, other):
    assert mirrored(name) == other


def test_names_come_in_the_order_of_their_channels():
    assert keypoint_names(dict(keypoint_id2name={1: 'b', 0: 'a'})) == ['a', 'b']
    for unknown in (
        *(None, {}, [], dict(keypoint_id2name={}), dict(keypoint_id2name=None)),
        *(dict(keypoint_id2name={1: 'b'}), dict(keypoint_id2name=['a'])),
    ):
        assert keypoint_names(unknown) == []
