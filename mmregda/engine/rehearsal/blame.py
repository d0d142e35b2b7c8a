"""Errors of other packages as one message of ours."""

from __future__ import annotations

from contextlib import contextmanager
from typing import Iterator

from mmcv.transforms import BaseTransform
from mmengine.evaluator import BaseMetric
from mmpose.codecs.base import BaseKeypointCodec
from torch import nn

from mmregda.errors import InputError, place_of

_LONGEST = 400
# Of whose modules the name says less than that of what holds them.
_OF_LIBRARIES = ('torch.', 'mmengine.', 'mmcv.')


@contextmanager
def during(what: str, remedy: str = '') -> Iterator[None]:
    """Within, an error becomes an :class:`InputError` that says where it was.

    Its own traceback stays with it as the cause.

    Args:
        what (str): What is done, and with which entry of the config or file.
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
