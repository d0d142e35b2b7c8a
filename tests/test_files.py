"""Files are whole or as they were."""

import errno
import os

import pytest

from mmregda import InputError
from mmregda.files import atomic_write, room_to_write


def test_writing_that_fails_leaves_the_file_as_it_was_and_nothing_beside(tmp_path):
    path = tmp_path / 'a.txt'
    path.write_text('before')
    with pytest.raises(KeyboardInterrupt), atomic_write(path) as partial:
        with open(partial, 'w') as file:
            file.write('half')
        raise KeyboardInterrupt
    assert path.read_text() == 'before' and os.listdir(tmp_path) == ['a.txt']
    with atomic_write(path) as partial, open(partial, 'w') as file:
        file.write('after')
    assert path.read_text() == 'after' and os.listdir(tmp_path) == ['a.txt']


@pytest.mark.skipif(not os.path.exists('/dev/full'), reason='needs /dev/full')
def test_full_disk_is_one_message_that_names_the_file(tmp_path):
    path = tmp_path / 'a.txt'
    path.write_text('before')

    def write():
        with atomic_write(path) as partial:
            os.symlink('/dev/full', partial)
            with open(partial, 'w') as file:
                file.write('x' * 100_000)

    with pytest.raises(InputError, match='a.txt" cannot be written: No space left'):
        write()
    assert path.read_text() == 'before' and os.listdir(tmp_path) == ['a.txt']


def test_other_errors_are_not_taken_for_a_full_disk(tmp_path):
    for elsewhere in (None, '/somewhere/else', f'{tmp_path}_data'):
        with pytest.raises(PermissionError), room_to_write(tmp_path):
            raise PermissionError(errno.EACCES, 'no', elsewhere)


@pytest.mark.parametrize('kind', [PermissionError, NotADirectoryError, FileExistsError])
def test_place_that_takes_nothing_is_one_message(tmp_path, kind):
    numbers = {
        PermissionError: errno.EACCES,
        NotADirectoryError: errno.ENOTDIR,
        FileExistsError: errno.EEXIST,
    }
    # Within the place, or, of parents that are not there, the first.
    for place in (tmp_path / 'b' / 'a.txt', tmp_path):
        message = f'{place.name}" cannot be written: '
        with pytest.raises(InputError, match=message), room_to_write(tmp_path / 'b'):
            raise kind(numbers[kind], os.strerror(numbers[kind]), str(place))


def test_two_that_write_a_file_at_once_leave_one_of_theirs(tmp_path):
    path = tmp_path / 'a.txt'
    with atomic_write(path) as one, atomic_write(path) as other:
        for partial in (one, other):
            with open(partial, 'w') as file:
                file.write(partial)
        assert not path.exists()
    assert path.read_text() in (one, other) and os.listdir(tmp_path) == ['a.txt']
