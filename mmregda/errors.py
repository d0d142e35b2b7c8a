"""The one error of the package that a user can mend."""

from __future__ import annotations

import os
import sys
import sysconfig
import traceback
from contextlib import contextmanager
from difflib import get_close_matches
from typing import Iterable, Iterator

_HERE = os.path.dirname(os.path.abspath(__file__))
_NOT_AT_FAULT = (
    *{sysconfig.get_path(name) for name in ('stdlib', 'purelib', 'platlib')},
    *(os.path.join(_HERE, 'engine', 'rehearsal'), os.path.join(_HERE, 'errors.py')),
    '<',
)


class InputError(RuntimeError):
    """Wrong or missing input: data, checkpoint, config or device.

    Its message names the file or the option, says what was expected and what
    to do. The command-line tools print it without a traceback; everything
    that is *not* an ``InputError`` is a bug and keeps its traceback.
    """


def message_of(error: InputError) -> str:
    """The message, to be printed.

    It comes without the traceback that a data worker puts before it.
    """
    return printable(str(error).rsplit('InputError: ', 1)[-1].strip())


def printable(text: str) -> str:
    """A text without control characters.

    Messages quote names from data files, and a terminal would obey what they contain.
    """
    return ''.join(c if c.isprintable() or c == '\n' else repr(c)[1:-1] for c in text)


def place_of(error: BaseException) -> str:
    """Where an error was raised, such as ``transforms.py:12``.

    That is the last line of code that is neither a library's nor does nothing but
    pass errors on, or the last line of all.
    """
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if not f.filename.startswith(_NOT_AT_FAULT)]
    if not frames:
        return ''
    last = (own or frames)[-1]
    return f'{last.filename.rpartition("site-packages" + os.sep)[2]}:{last.lineno}'


@contextmanager
def reading(what: str) -> Iterator[None]:
    """Turn what other packages' datasets raise into an :class:`InputError`.

    MMPose asserts that an annotation file exists, and pycocotools opens and
    parses it as it is.

    Args:
        what (str): What is read, for the message.

    Raises:
        InputError: In place of an error about a file or its content.
    """
    try:
        yield
    except (
        *(AssertionError, OSError, ValueError, LookupError),
        *(TypeError, AttributeError),
    ) as error:
        message = f'{type(error).__name__}: {error}, at {place_of(error)}'
        if 'need at least one array to concatenate' in message:
            message = 'it has no samples'  # Which MMEngine finds out so.
        raise InputError(f'{what} cannot be read: {message}') from error


@contextmanager
def ending_in_one_line(status: int = 1) -> Iterator[None]:
    """Let a command end with the message of an :class:`InputError` alone.

    Args:
        status (int): The exit status it ends with. Defaults to 1.
    """
    try:
        yield
    except InputError as error:
        if status == 1:
            sys.exit(f'error: {message_of(error)}')
        print(f'error: {message_of(error)}', file=sys.stderr)
        sys.exit(status)


def close_matches(given: str, known: Iterable[str], listed: int = 30) -> str:
    """What may have been meant by an unknown name, and what is known.

    Args:
        given (str): The name.
        known (Iterable[str]): Those that there are.
        listed (int): They are all listed if there are no more. Defaults to 30.

    Returns:
        str: Sentences with a space before them; nothing if there is nothing to say.
    """
    known = sorted(map(str, known))
    folded = {name.lower(): name for name in known}
    near = get_close_matches(given.lower(), folded, n=3, cutoff=0.7)
    text = ''
    if near:
        text += f' Did you mean {" or ".join(folded[name] for name in near)}?'
    if known and len(known) <= listed:
        text += f' Known: {", ".join(known)}.'
    return text
