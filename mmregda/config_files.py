"""Config files and overrides, with whatever is wrong in them as one message."""

from __future__ import annotations

import hashlib
import inspect
import os
import traceback
from typing import Any, Iterator, List, Mapping, Optional

from mmengine.config import Config
from mmengine.registry import Registry
from mmengine.runner import Runner

from mmregda.errors import InputError, close_matches, place_of
from mmregda.files import shipped

_KINDS = ('.py', '.json', '.yaml', '.yml')
# Keys that a run reads beside those of MMEngine's runner.
_OWN_KEYS = (
    *('channels_last', 'compile', 'pretrain', 'runner_type', 'sync_bn'),
    *('auto_scale_lr', 'custom_imports', 'model_wrapper_cfg', 'benchmark'),
)

# How a dataloader does what it does, on which nothing that is learnt depends.
_MECHANICS = {'num_workers', 'persistent_workers', 'pin_memory', 'prefetch_factor'}


def fingerprint(settings: Any) -> str:
    """What a result depends on, as a short text that can be compared.

    Args:
        settings (Any): Parts of a config. The order of keys does not matter, nor how
            many workers a dataloader has.
    """
    return hashlib.sha256(repr(_plain(settings)).encode()).hexdigest()[:8]


def _plain(value: Any) -> Any:
    """A config's value with its keys in one order, and no mere mechanics."""
    if isinstance(value, dict):
        keys = sorted(set(value) - _MECHANICS)
        return {key: _plain(value[key]) for key in keys}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value


def read_config(
    path: str,
    options: Optional[Mapping[str, Any]] = None,
    given_as: str = '--cfg-options',
) -> Config:
    """Read a config file.

    Args:
        path (str): The file, or one that comes with the package, such as
            ``configs/regda_rhd2h3d.py``.
        options (Mapping[str, Any], optional): Overrides by dotted key, such as
            ``{'train_cfg.max_iters': 100}``.
        given_as (str): What the user calls the overrides.

    Raises:
        InputError: If the file or one that it builds on is missing or cannot be
            read, or if an override fits nothing.
    """
    path = os.fspath(path)
    own = os.path.join(os.path.dirname(shipped('configs')), path)
    if not os.path.exists(path) and os.path.isfile(own):
        path = own
    if not os.path.isfile(path):
        what = 'is a folder' if os.path.isdir(path) else 'does not exist'
        raise InputError(f'config "{path}" {what}.{_neighbours(path)}')
    if not path.endswith(_KINDS):
        raise InputError(f'config "{path}" is none: its name ends in none of {_KINDS}')
    try:
        cfg = Config.fromfile(path)
    except Exception as error:
        raise InputError(f'config "{path}": {_mistake(error)}') from error
    merge_options(cfg, options or {}, given_as)
    return cfg


def name_of(cfg: Mapping) -> str:
    """What messages call a config."""
    return f'config "{getattr(cfg, "filename", None) or "(of no file)"}"'


def class_of(cfg: Any, *registries: Registry) -> Any:
    """The class that a component's config names, if it can be known."""
    kind = cfg.get('type') if isinstance(cfg, Mapping) else None
    if not isinstance(kind, str):
        return kind
    try:
        found = (registry.get(kind) for registry in registries)
        return next((each for each in found if each is not None), None)
    except ImportError:  # Of a package that is not whole: what builds it says so.
        return None


def dicts_in(value: Any) -> Iterator[dict]:
    """All dicts in a config's value, however deep."""
    if isinstance(value, dict):
        yield value
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        for item in value:
            yield from dicts_in(item)


def imported_by(cfg: Mapping) -> List[str]:
    """The modules of a config's ``custom_imports``."""
    names = (cfg.get('custom_imports') or {}).get('imports') or []
    return [names] if isinstance(names, str) else list(names)


def merge_options(cfg: Config, options: Mapping[str, Any], given_as: str) -> None:
    """Override entries of a config.

    Args:
        cfg (Config): Changed in place.
        options (Mapping[str, Any]): By dotted key.
        given_as (str): What the user calls them.

    Raises:
        InputError: If no run reads a key, if one misspells a key that is there, or
            leads into what is no dict or list.
    """
    for key in options:
        _require_place(cfg, key, given_as)
    try:
        cfg.merge_from_dict(dict(options))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        reason = ' '.join(str(error.args[0] if error.args else error).split())
        raise InputError(
            f'{given_as} {" ".join(options)} cannot be merged into '
            f'"{cfg.filename}": {reason}'
        ) from error


def _require_place(cfg: Config, key: str, given_as: str) -> None:
    first, *parts = key.split('.')
    known = set(inspect.signature(Runner.__init__).parameters) - {'self', 'cfg'}
    known |= {*cfg.keys(), *_OWN_KEYS}
    if first not in known:
        raise InputError(
            f'{given_as} {key}: no run reads "{first}", and "{cfg.filename}" does '
            f'not set it.{close_matches(first, known, listed=0)}'
        )
    node = cfg.get(first)
    for part in parts:
        if isinstance(node, (list, tuple)) and part.isdigit() and int(part) < len(node):
            node = node[int(part)]
        elif isinstance(node, dict) and part in node:
            node = node[part]
        else:
            break
    # Arguments of components are looked at when these are built.
    if parts and isinstance(node, dict) and part not in node and 'type' not in node:
        near = close_matches(part, node, listed=0)
        if near:
            raise InputError(
                f'{given_as} {key}: there is no "{part}" in "{cfg.filename}".{near}'
            )


def _mistake(error: Exception) -> str:
    """What went wrong while a config was read, and where."""
    if isinstance(error, SyntaxError):
        text = f': {error.text.strip()}' if error.text else ''
        # MMEngine parses a config without its name, which its functions are given.
        frames = [frame.f_locals for frame, _ in traceback.walk_tb(error.__traceback__)]
        given = [str(local['filename']) for local in frames if 'filename' in local]
        given.append(error.filename or '')
        file = [path for path in given if os.path.isfile(path)][-1]
        return f'"{file}", line {error.lineno}: {error.msg}{text}'
    hint = ''
    if isinstance(error, ImportError):
        while error.__context__:  # MMEngine says less.
            error = error.__context__
        hint = ' Modules of custom_imports are installed, or in a folder of PYTHONPATH.'
    text = ' '.join(str(error).split())
    return f'{type(error).__name__}: {text}, at {place_of(error)}.{hint}'


def _neighbours(path: str) -> str:
    """What lies where a file was looked for, if its name is similar."""
    folder, name = os.path.split(path)
    try:
        names = os.listdir(folder or '.')
    except OSError:
        return ''
    stems = [os.path.splitext(n)[0] for n in names if n.endswith(_KINDS)]
    return close_matches(os.path.splitext(name)[0], stems, listed=0)
