"""The one error of the package that a user can mend."""

from __future__ import annotations

from contextlib import contextmanager
from typing import Iterator


class InputError(RuntimeError):
    """Wrong or missing input: data, checkpoint, config or device.

    Its message names the file or the option, says what was expected and what
    to do. The command-line tools print it without a traceback; everything
    that is *not* an ``InputError`` is a bug and keeps its traceback.
    """


def message_of(error: InputError) -> str:
    """The message, to be printed.

    It comes without the traceback that a data worker puts before it, and
    without control characters: names in data files end in messages, and a
    terminal obeys what it is told.
    """
    text = str(error).rsplit('InputError: ', 1)[-1].strip()
    return ''.join(c if c.isprintable() or c == '\n' else repr(c)[1:-1] for c in text)


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
        message = f'{type(error).__name__}: {error}'
        if 'need at least one array to concatenate' in message:
            message = 'it has no samples'  # Which MMEngine finds out so.
        raise InputError(f'{what} can not be read: {message}') from error
