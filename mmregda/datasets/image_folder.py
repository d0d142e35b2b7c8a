"""The images below a folder, and the names that other files call them by."""

from __future__ import annotations

import os
import unicodedata
from collections import Counter
from typing import Dict, List, Sequence, Set

from mmregda.errors import InputError


class ImageFolder:
    """The images below a folder, at any depth, in the order of their paths.

    Links are followed; a folder that is reached twice, as in a loop of links,
    is read once. What is hidden (a name that begins with a dot) is left out.

    Args:
        root (str): The folder.
        extensions (Sequence[str]): What the name of an image ends in, in lower
            case.

    Attributes:
        paths (list[str]): Relative to the root, with forward slashes.
        others (Counter): How many other files there are, by extension.

    Raises:
        InputError: If the folder is missing or none, or a folder in it cannot
            be read.
    """

    def __init__(self, root: str, extensions: Sequence[str]) -> None:
        if not os.path.isdir(root):
            what = 'is a file' if os.path.exists(root) else 'does not exist'
            raise InputError(
                f'"{os.path.abspath(root)}" {what}. Expected the folder that '
                'holds the images.'
            )
        self.root = root
        self.others: Counter = Counter()
        self.paths: List[str] = []
        self._extensions = tuple(extensions)
        self._read()
        # By components: a folder's images stay together whatever its name is.
        self.paths.sort(key=lambda path: path.split('/'))
        self._by_name: Dict[str, List[str]] = {}
        for path in self.paths:
            name = _composed(path.rpartition('/')[2])
            for called in {name, os.path.splitext(name)[0]}:
                self._by_name.setdefault(called, []).append(path)

    def full_path(self, path: str) -> str:
        """The path of an image to open."""
        return os.path.join(self.root, path)

    def find(self, name: str, named_by: str) -> str:
        """The image that a file calls by a name, or ''; as in :attr:`paths`.

        A link may lead anywhere, another file may not: what it calls an image lies
        below the root by its name.

        Args:
            name (str): A path relative to the root, an absolute path, or the
                bare name of an image in any folder, with its extension or without.
            named_by (str): Where the name stands, for the error message.

        Raises:
            InputError: If a bare name fits several images, or a path leads out
                of the root.
        """
        path = os.path.normpath(name)
        if os.path.isabs(path):
            roots = os.path.abspath(self.root), os.path.realpath(self.root)
            # Of two names of the root, the one that the path begins with.
            path = min((os.path.relpath(path, root) for root in roots), key=_is_outside)
        path = os.path.normpath(name_on_disk(self.root, path)).replace(os.sep, '/')
        if _is_outside(path):
            raise InputError(
                f'{named_by}: "{name}" lies outside of "{os.path.abspath(self.root)}"'
            )
        if os.path.isfile(self.full_path(path)):
            return path
        if '/' in path:
            return ''
        found = self._by_name.get(_composed(path), [])
        if len(found) > 1:
            raise InputError(
                f'{named_by}: "{name}" may be "{found[0]}" or "{found[1]}" of '
                f'"{self.root}". Give paths relative to that folder, or rename one.'
            )
        return found[0] if found else ''

    def _read(self) -> None:
        seen: Set[str] = set()
        walk = os.walk(self.root, onerror=_refuse, followlinks=True)
        for folder, subfolders, names in walk:
            place = os.path.realpath(folder)
            if place in seen:  # By way of a link.
                subfolders.clear()
                continue
            seen.add(place)
            self.others['hidden'] += sum(n[0] == '.' for n in (*subfolders, *names))
            # Which of two ways to a folder is taken must not be chance.
            subfolders[:] = sorted(name for name in subfolders if name[0] != '.')
            prefix = os.path.relpath(folder, self.root).replace(os.sep, '/')
            prefix = '' if prefix == os.curdir else f'{prefix}/'
            for name in (name for name in names if name[0] != '.'):
                if name.lower().endswith(self._extensions):
                    self.paths.append(prefix + name)
                else:
                    extension = os.path.splitext(name)[1].lower()
                    self.others[extension or 'without extension'] += 1


def _refuse(error: OSError) -> None:
    raise InputError(
        f'folder "{error.filename}" cannot be read: {error.strerror}'
    ) from error


def name_on_disk(folder: str, name: str) -> str:
    """A file's name as it is in a folder, given in another Unicode form or Windows'.

    It stays as it is if there is no such file.
    """
    if os.path.exists(os.path.join(folder, name)):
        return name
    spellings = (
        unicodedata.normalize(form, path)
        for path in (name, name.replace('\\', '/'))
        for form in ('NFC', 'NFD')
    )
    found = (s for s in spellings if os.path.exists(os.path.join(folder, s)))
    return next(found, name)


def _composed(name: str) -> str:
    return unicodedata.normalize('NFC', name)


def _is_outside(path: str) -> bool:
    return path.replace(os.sep, '/').split('/')[0] == os.pardir
