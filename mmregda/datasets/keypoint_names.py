"""Whether two sets of keypoints are the same ones in the same order."""

from __future__ import annotations

import logging
import re
from typing import List, Mapping, Optional, Sequence

from mmengine.logging import print_log

from mmregda.errors import InputError

_SHOWN = 6


def keypoint_names(metainfo: Optional[Mapping]) -> List[str]:
    """The names of a dataset's keypoints by channel; none if it does not say."""
    # It may be of a checkpoint, which anyone may have written.
    names = metainfo.get('keypoint_id2name') if isinstance(metainfo, Mapping) else None
    if not isinstance(names, Mapping) or set(names) != set(range(len(names))):
        return []
    return [str(names[k]) for k in range(len(names))]


def misplaced(names: Sequence[str], others: Sequence[str]) -> Optional[int]:
    """The first channel whose name is another channel's in the other list, if any.

    Spelling (case, spaces, underscores) does not matter, nor do names that only
    one of them has: datasets call the same keypoint by different names.
    """
    distinct = all(len(set(map(_plain, n))) == len(n) for n in (names, others))
    spelling = _plain if distinct else str
    places = {spelling(name): k for k, name in enumerate(others)}
    for k, name in enumerate(names):
        if places.get(spelling(name), k) != k:
            return k
    return None


def require_same_keypoints(
    trained: Sequence[str],
    names: Sequence[str],
    where_trained: str,
    where: str,
    remedy: str,
) -> None:
    """Refuse names that would be given to other keypoints' channels.

    Channels are trained by the first names and would be called by the others; messages
    say where either are from.

    Raises:
        InputError: If a name is at another channel. Names that merely differ are
            a warning: nobody but the user knows whether they are synonyms.
    """
    if not trained or not names:
        return
    if len(trained) != len(names):
        raise InputError(
            f'{where_trained} has {len(trained)} keypoints ({shown(trained)}), but '
            f'{where} has {len(names)} ({shown(names)}). {remedy}'
        )
    k = misplaced(trained, names)
    if k is not None:
        raise InputError(
            f'the keypoints of {where_trained} are {shown(trained)}, but those of '
            f'{where} are {shown(names)}: channel {k} would be trained as '
            f'"{trained[k]}" and called "{names[k]}". {remedy}'
        )
    renamed = [f'{a} is {b}' for a, b in zip(trained, names) if _plain(a) != _plain(b)]
    if renamed:
        print_log(
            f'keypoints have other names in {where} than in {where_trained}: '
            f'{shown(renamed)}. They are taken for the same, channel by channel.',
            logger='current',
            level=logging.WARNING,
        )


def shown(names: Sequence[str]) -> str:
    """The first names of a list, for a message."""
    return ', '.join([*names[:_SHOWN], *['...'] * (len(names) > _SHOWN)])


def mirrored(name: str) -> str:
    """What a keypoint is called on the other side; nothing if it has no side."""
    for side, other in (('left', 'right'), ('right', 'left')):
        if side in name.lower():
            return _plain(name.lower().replace(side, other, 1))
    sided = re.match(r'([lrLR])([\W_].*|[A-Z].*)$', name, flags=re.DOTALL)
    if not sided:
        return ''
    return _plain(dict(l='r', r='l')[sided.group(1).lower()] + sided.group(2))


def same_name(name: str, other: str) -> bool:
    """Whether two names differ in spelling at most."""
    return _plain(name) == _plain(other)


def _plain(name: str) -> str:
    return re.sub(r'[\W_]+', '', name.lower())
