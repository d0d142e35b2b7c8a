"""Config files and overrides, with whatever is wrong in them as one message."""

from __future__ import annotations

import hashlib
import inspect
import os
from contextlib import contextmanager
from typing import Any, Iterator, List, Mapping, Optional

import mmengine.config
from mmengine.config import Config
from mmengine.runner import Runner

from mmregda.components import require_components
from mmregda.errors import InputError, close_matches
from mmregda.files import shipped

_OF_MMENGINE = os.path.dirname(mmengine.config.__file__)
_KINDS = ('.py', '.json', '.yaml', '.yml')
_IMPORTER = 'import_modules_from_strings'
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
    """Read a config file, and look at the names in it.

    Args:
        path (str): The file, or one that comes with the package, such as
            ``configs/regda_rhd2h3d.py``.
        options (Mapping[str, Any], optional): Overrides by dotted key, such as
            ``{'train_cfg.max_iters': 100}``.
        given_as (str): What the user calls the overrides.

    Returns:
        Config: The config, with the overrides.

    Raises:
        InputError: If the file or one that it builds on is missing or cannot be
            read, if an override fits nothing, or if a component or an argument of
            one is unknown.
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
    with _one_message(path):
        cfg = Config.fromfile(path)
    merge_options(cfg, options or {}, given_as)
    require_components(cfg)
    return cfg


def merge_options(cfg: Config, options: Mapping[str, Any], given_as: str) -> None:
    """Override entries of a config.

    Args:
        cfg (Config): Changed in place.
        options (Mapping[str, Any]): By dotted key.
        given_as (str): What the user calls them.

    Raises:
        InputError: If a key is near one that is there and fits none, if no run
            reads it, or if it leads into what is no dict or list.
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
    node, place = cfg.get(first), first
    for part in parts:
        if isinstance(node, (list, tuple)):
            if not part.isdigit() or int(part) >= len(node):
                raise InputError(
                    f'{given_as} {key}: {place} of "{cfg.filename}" is a list of '
                    f'{len(node)}, whose entries are named by their number from 0'
                )
            node = node[int(part)]
        elif isinstance(node, dict) and part in node:
            node = node[part]
        else:
            if node is not None and not isinstance(node, dict):
                raise InputError(
                    f'{given_as} {key}: {place} of "{cfg.filename}" is {node!r}, which '
                    f'has no "{part}"'
                )
            # Arguments of components are looked at when all is merged.
            if isinstance(node, dict) and 'type' not in node:
                near = close_matches(part, node, listed=0)
                if near:
                    raise InputError(
                        f'{given_as} {key}: {place} of "{cfg.filename}" has no '
                        f'"{part}".{near}'
                    )
            return
        place = f'{place}.{part}'


@contextmanager
def _one_message(path: str) -> Iterator[None]:
    """Within, a config is read; its mistakes become an :class:`InputError`."""
    try:
        yield
    except Exception as error:
        steps = _steps(error)
        files = [step.f_locals['filename'] for step in steps if _reads_a_file(step)]
        if any(step.f_code.co_name == _IMPORTER for step in steps) and not isinstance(
            error, (ImportError, SyntaxError)
        ):
            raise  # A bug of the module that is imported.
        raise InputError(_message(path, files, steps, error)) from error


def _message(path: str, files: List[str], steps: List[Any], error: Exception) -> str:
    where = f'config "{path}"'
    if isinstance(error, FileNotFoundError) and files and not os.path.isfile(files[-1]):
        missing, owner = os.path.normpath(files[-1]), [path, *files][-2]
        own = os.path.abspath(owner) == os.path.abspath(path)
        whose = '' if own else f' of "{owner}"'
        near = _neighbours(missing)
        return f'{where}: the _base_ "{missing}"{whose} does not exist.{near}'
    if files and os.path.abspath(path) != files[-1]:
        where += f', which builds on "{files[-1]}"'
    if isinstance(error, SyntaxError):
        text = (error.text or '').strip()
        if error.filename and os.path.isfile(error.filename):
            where = f'"{error.filename}"'  # It may be a module of custom_imports.
        return f'{where}: line {error.lineno}: {error.msg}' + f': {text}' * bool(text)
    lines = [step.line for step in steps if step.f_code.co_filename in files]
    where += f', line {lines[-1]}' if lines else ''
    reason = ' '.join(str(error).split()) or type(error).__name__
    if isinstance(error, ImportError):
        cause = error
        while cause.__cause__ or cause.__context__:
            cause = cause.__cause__ or cause.__context__
        return (
            f'{where}: custom_imports: {cause}. Its modules are to be installed, or in '
            'a folder of PYTHONPATH.'
        )
    return f'{where}: {type(error).__name__}: {reason}'


class _Step:
    """A frame of a traceback, and the line it was in."""

    def __init__(self, traceback: Any) -> None:
        self.f_code = traceback.tb_frame.f_code
        self.f_locals = traceback.tb_frame.f_locals
        self.line = traceback.tb_lineno


def _steps(error: BaseException) -> List[_Step]:
    steps, traceback = [], error.__traceback__
    while traceback is not None:
        steps.append(_Step(traceback))
        traceback = traceback.tb_next
    return steps


def _reads_a_file(step: _Step) -> bool:
    in_mmengine = step.f_code.co_filename.startswith(_OF_MMENGINE)
    reader = step.f_code.co_name in ('_file2dict', '_parse_lazy_import')
    return in_mmengine and reader and isinstance(step.f_locals.get('filename'), str)


def _neighbours(path: str) -> str:
    """What lies where a file was looked for, if its name is similar."""
    folder, name = os.path.split(path)
    try:
        names = os.listdir(folder or '.')
    except OSError:
        return ''
    stems = [os.path.splitext(n)[0] for n in names if n.endswith(_KINDS)]
    return close_matches(os.path.splitext(name)[0], stems, listed=0)
