"""The one error of the package that a user can mend, and what others become it."""

from __future__ import annotations

import os
import re
import sys
import sysconfig
import traceback
from contextlib import contextmanager
from difflib import get_close_matches
from typing import Iterable, Iterator

from mmcv.transforms import BaseTransform
from mmengine.evaluator import BaseMetric
from mmengine.registry import Registry
from mmpose import registry
from mmpose.codecs.base import BaseKeypointCodec
from torch import nn

_HERE = os.path.dirname(os.path.abspath(__file__))
_NOT_AT_FAULT = (
    *{sysconfig.get_path(name) for name in ('stdlib', 'purelib', 'platlib')},
    *(os.path.join(_HERE, name) for name in ('errors.py', 'config_files.py')),
    os.path.join(_HERE, 'engine', 'rehearsal'),
    '<',
)
# As MMEngine's registries and Python itself word them.
_NO_COMPONENT = re.compile(r'(\S+) is not in the \S+::(.+?) registry')
_WRONG_ARGUMENT = re.compile(
    r'got an unexpected keyword argument|missing \d+ required|multiple values for'
)

_LONGEST = 400
_LONGEST_SETTING = 60
# Of whose modules the name says less than that of what holds them.
_OF_LIBRARIES = ('torch.', 'mmengine.', 'mmcv.')


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
def during(what: str, remedy: str = '') -> Iterator[None]:
    """Within, an error becomes an :class:`InputError` that says where it was.

    Its own traceback stays with it as the cause.

    Args:
        what (str): What cannot be done, and with which entry of the config or file.
        remedy (str): What to look at.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # Whatever it is, a run would end with it.
        message = f'{what}: {described(error)}. {remedy}'.rstrip()
        raise InputError(message) from error


def described(error: BaseException) -> str:
    """An error's type and message, and what raised it where."""
    text = ' '.join(str(error).split()).rstrip('.')
    if 'need at least one array to concatenate' in text:
        return 'it has no samples'  # Which MMEngine finds out so.
    text = _unknown_component(text).rstrip('.') or text
    if len(text) > _LONGEST:
        text = f'{text[:_LONGEST]}...'
    if isinstance(error, KeyError):
        text = f'{text} is missing' if len(text.split()) == 1 else text
    name = type(error).__name__
    by = culprit_of(error)
    told = f'{by} raised {name}: {text}' if by else f'{name}: {text}'
    return f'{told}, at {place_of(error)}'


def culprit_of(error: BaseException) -> str:
    """The transform, codec, metric or layer that raised an error, by its class."""
    found = ''
    step = error.__traceback__
    while step is not None:
        owner = step.tb_frame.f_locals.get('self')
        if isinstance(owner, (BaseTransform, BaseMetric, BaseKeypointCodec)):
            found = type(owner).__name__
        elif isinstance(owner, nn.Module):
            kind = type(owner)
            if not kind.__module__.startswith(_OF_LIBRARIES):
                found = kind.__name__
        step = step.tb_next
    return found


@contextmanager
def building(what: str) -> Iterator[None]:
    """Turn what a component cannot be built with into an :class:`InputError`.

    Any other error keeps its traceback.

    Raises:
        InputError: With the component, its settings and why, or with the unknown name
            and the one that it may be meant to be.
    """
    try:
        yield
    except ImportError as error:
        frames = (frame.f_locals for frame, _ in traceback.walk_tb(error.__traceback__))
        needing = [known['obj_type'] for known in frames if 'obj_type' in known]
        if not needing:
            raise
        raise InputError(
            f'{what}: {needing[-1]} needs a package that is not installed ({error}). '
            'Install it, or leave out what needs it.'
        ) from error
    except (AssertionError, LookupError, OSError, TypeError, ValueError) as error:
        text = ' '.join(str(error.args[0] if error.args else '').split())
        built = _being_built(error)
        if not built:
            raise
        unknown = _unknown_component(text)
        if not unknown and not _WRONG_ARGUMENT.search(text):
            text = f'{built} cannot be used: {described(error)}'
        raise InputError(f'{what}: {unknown or text}') from error


def _being_built(error: BaseException) -> str:
    """The component in whose constructor an error was raised, with its settings."""
    found = ''
    for frame, _ in traceback.walk_tb(error.__traceback__):
        name, known = frame.f_code.co_name, frame.f_locals
        if name == 'from_cfg':
            found = 'its settings'
        elif name == 'build_from_cfg' and 'obj_cls' in known:
            plain = (bool, int, float, str, list, tuple, type(None))
            settings = [
                f'{key}={value!r}'
                for key, value in known['args'].items()
                if isinstance(value, plain) and len(repr(value)) < _LONGEST_SETTING
            ]
            kind = getattr(known['obj_cls'], '__name__', '')
            found = f'{kind}({", ".join(settings)})'
        elif name == '_load_checkpoint':
            found = f'"{known.get("filename")}" of an init_cfg'
    return '' if isinstance(error, OSError) and 'init_cfg' not in found else found


def _unknown_component(text: str) -> str:
    """What to say for MMEngine's message on an unknown name; nothing for others."""
    unknown = _NO_COMPONENT.search(text)
    return unknown_component(unknown[1].strip('\'"'), unknown[2]) if unknown else ''


def unknown_component(name: str, kind: str) -> str:
    """What to say of a name that no registry of a kind, such as ``model``, has."""
    near = close_matches(name, _registered(kind), listed=0)
    return (
        f'"{name}" is not registered as a {kind}.{near} One of your own names its '
        'module in custom_imports.'
    )


def _registered(kind: str) -> Iterator[str]:
    """The names in MMPose's and MMEngine's registries of a kind, such as ``model``."""
    for each in vars(registry).values():
        if isinstance(each, Registry) and each.name == kind:
            yield from each.module_dict
            yield from each.parent.module_dict if each.parent else ()


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
