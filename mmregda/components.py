"""Names of components, and of their arguments, looked up before anything is built.

MMEngine builds a component when it is needed, a metric after hours, and what its
constructor does not take is a ``TypeError`` from somewhere within. What can be known
from a config is known at once.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from difflib import get_close_matches
from typing import Any, Dict, Iterator, List, Mapping, Optional, Set, Tuple

from mmengine.registry import FUNCTIONS, Registry, init_default_scope
from mmengine.runner import Runner
from mmpose import registry as registries
from torch.utils.data import DataLoader

from mmregda.errors import InputError, close_matches

# Arguments that are not the config's, but given by who builds a component.
_GIVEN = dict(
    adaptation=('head',),
    loop=('runner', 'dataloader', 'evaluator', 'fp16'),
    param_scheduler=('optimizer',),
    optimizer=('params',),
    sampler=('dataset', 'seed', 'round_up', 'shuffle'),
    batch_sampler=('sampler', 'batch_size'),
    collate_fn=('data_batch',),
    optim_wrapper=('optimizer', 'model_wrapper_cfg'),
    vis_backends=('save_dir',),
)
# Keys beside the arguments, which who builds a component takes out.
_TAKEN_OUT = dict(
    hook=('priority',),
    param_scheduler=('convert_to_iter_based', 'epoch_length'),
    optim_wrapper=('constructor', 'paramwise_cfg', 'optimizer'),
    # It is said elsewhere what is to be written instead.
    loop=('by_epoch', 'max_epochs'),
    visualizer=('name',),
    vis_backends=('name',),
)
# Which registry builds what stands under a key within a component.
_WITHIN = dict(
    adaptation=registries.MODELS,
    adversary=registries.MODELS,
    backbone=registries.MODELS,
    neck=registries.MODELS,
    head=registries.MODELS,
    loss=registries.MODELS,
    data_preprocessor=registries.MODELS,
    batch_augments=registries.MODELS,
    decoder=registries.KEYPOINT_CODECS,
    encoder=registries.KEYPOINT_CODECS,
    dataset=registries.DATASETS,
    datasets=registries.DATASETS,
    pipeline=registries.TRANSFORMS,
    metrics=registries.METRICS,
    vis_backends=registries.VISBACKENDS,
)
_LOADER_KEYS = (
    *('dataset', 'sampler', 'batch_sampler', 'collate_fn', 'batch_size'),
    *('num_batch_per_epoch', 'worker_init_fn'),
)

_OWN_SCOPES = ('', 'mmpose', 'mmengine')

Problems = Iterator[str]


def require_components(cfg: Mapping[str, Any]) -> None:
    """Refuse components and arguments that there are not.

    Nothing is built. Of a component that is registered by nobody, or whose
    constructor hands its arguments on to who knows where, nothing is said but
    where its place in the config leaves no doubt.

    Args:
        cfg (Mapping): A config.

    Raises:
        InputError: With the entries of the config, and what is known instead.
    """
    init_default_scope(cfg.get('default_scope') or 'mmpose')
    problems = list(_problems(cfg))
    if problems:
        file = getattr(cfg, 'filename', None)
        where = f'config "{file}": ' if file else ''
        listed = problems[0] if len(problems) == 1 else '\n- '.join(['', *problems])
        raise InputError(f'{where}{listed}')


def _problems(cfg: Mapping) -> Problems:
    models = registries.MODELS
    yield from _component(cfg.get('model'), 'model', models)
    yield from _component(cfg.get('adaptation'), 'adaptation', models, 'adaptation')
    for key, value in cfg.items():
        if key.endswith(('_dataloader', '_loader')):
            yield from _loaders(value, key)
        elif key.endswith('_evaluator'):
            yield from _evaluators(value, key)
    for key in ('train_cfg', 'val_cfg', 'test_cfg'):
        yield from _component(cfg.get(key), key, registries.LOOPS, 'loop')
    for place, hook in _hooks(cfg):
        yield from _component(hook, place, registries.HOOKS, 'hook')
    yield from _optimizers(cfg.get('optim_wrapper'), 'optim_wrapper')
    for place, entry in _listed(cfg.get('param_scheduler'), 'param_scheduler'):
        yield from _component(
            entry, place, registries.PARAM_SCHEDULERS, 'param_scheduler'
        )
    yield from _component(
        cfg.get('visualizer'), 'visualizer', registries.VISUALIZERS, 'visualizer'
    )
    yield from _unknown_keys(
        cfg.get('randomness'), 'randomness', _parameters(Runner.set_randomness)
    )


def _hooks(cfg: Mapping) -> Iterator[Tuple[str, Any]]:
    for name, hook in _items(cfg.get('default_hooks')):
        yield f'default_hooks.{name}', hook
    for index, hook in enumerate(cfg.get('custom_hooks') or []):
        yield f'custom_hooks[{index}]', hook


def _loaders(value: Any, place: str) -> Problems:
    if not isinstance(value, Mapping):
        return
    if 'dataset' not in value:
        for domain, loader in value.items():
            if isinstance(loader, Mapping) and 'dataset' in loader:
                yield from _loaders(loader, f'{place}.{domain}')
        return
    known = {*_parameters(DataLoader.__init__), *_LOADER_KEYS}
    yield from _unknown_keys(value, place, known)
    for key, registry in (
        ('dataset', registries.DATASETS),
        ('sampler', registries.DATA_SAMPLERS),
        ('batch_sampler', registries.DATA_SAMPLERS),
        ('collate_fn', FUNCTIONS),
    ):
        yield from _component(value.get(key), f'{place}.{key}', registry, key)


def _evaluators(value: Any, place: str) -> Problems:
    for entry_place, entry in _listed(value, place):
        if isinstance(entry, Mapping) and entry.get('type') == 'Evaluator':
            yield from _evaluators(entry.get('metrics'), f'{entry_place}.metrics')
        else:
            yield from _component(entry, entry_place, registries.METRICS)


def _optimizers(value: Any, place: str) -> Problems:
    if not isinstance(value, Mapping):
        return
    optimizer = value.get('optimizer')
    if optimizer is None:  # of several players
        for player, entry in value.items():
            if player != 'constructor':
                yield from _optimizers(entry, f'{place}.{player}')
        return
    registry, kind = registries.OPTIMIZERS, 'optimizer'
    yield from _component(optimizer, f'{place}.optimizer', registry, kind)
    wrapper = {'type': 'OptimWrapper', **value}
    if isinstance(value.get('constructor'), str):
        return  # It may take whatever it likes.
    yield from _component(wrapper, place, registries.OPTIM_WRAPPERS, 'optim_wrapper')


def _component(cfg: Any, place: str, registry: Registry, kind: str = '') -> Problems:
    """What is wrong with the config of a component, and with those within it."""
    if isinstance(cfg, (list, tuple)):
        for index, entry in enumerate(cfg):
            yield from _component(entry, f'{place}[{index}]', registry, kind)
        return
    if not isinstance(cfg, Mapping) or '_scope_' in cfg:
        return
    if 'type' in cfg:
        found = _found(cfg['type'], registry)
        if found is None and _is_certain(cfg['type'], place):
            yield _unknown_type(cfg['type'], place, registry, kind)
        if found is not None:
            yield from _arguments(found, cfg, place, kind)
            if getattr(found, '__name__', '') == 'Albumentation':
                return  # Its transforms are another package's.
    elif kind == 'hook':
        yield f'{place} has no type'
    for key, value in cfg.items():
        yield from _within(key, value, f'{place}.{key}')


def _within(key: str, value: Any, place: str) -> Problems:
    if key == 'views':
        for name, transforms in _items(value):
            yield from _within('pipeline', transforms, f'{place}.{name}')
    elif key == 'transforms' or key in _WITHIN:
        registry = _WITHIN.get(key, registries.TRANSFORMS)
        if not isinstance(value, str):
            yield from _component(value, place, registry, key)


def _found(name: Any, registry: Registry) -> Any:
    """What a registry has under a name; of another package, if it can be imported."""
    if not isinstance(name, str):
        return name
    try:
        return registry.get(name)
    except Exception:
        if _scope(name) in _OWN_SCOPES:
            raise
        return None


def _is_certain(name: Any, place: str) -> bool:
    # Models of other packages are needed by all; hooks of theirs are not.
    return _scope(name) in _OWN_SCOPES or place.startswith('model')


def _scope(name: str) -> str:
    return name.rpartition('.')[0].partition('.')[0]


def _unknown_type(name: str, place: str, registry: Registry, kind: str) -> str:
    known = _registered(registry)
    message = f'{place}.type is "{name}", which is not registered.'
    if _scope(name) not in _OWN_SCOPES:
        return f'{message} Is the package "{_scope(name)}" installed?'
    if kind == 'adaptation':
        known = {n: c for n, c in known.items() if hasattr(c, 'players')}
        known = {n: c for n, c in known.items() if hasattr(c, 'attach')}
    message += close_matches(name, known)
    return f'{message} One of your own names its module in custom_imports.'


def _registered(registry: Optional[Registry]) -> Dict[str, Any]:
    found: Dict[str, Any] = {}
    while registry is not None:
        found = {**registry.module_dict, **found}
        registry = registry.parent
    return found


def _arguments(found: Any, cfg: Mapping, place: str, kind: str) -> Problems:
    name = getattr(found, '__name__', str(found))
    given = {*_GIVEN.get(kind, ()), *_TAKEN_OUT.get(kind, ())}
    asked = [key for key in cfg if key not in given and key not in ('type', '_delete_')]
    known, closed = arguments_of(found)
    for key in asked:
        if key in known or not (closed or _nearly(key, known)):
            continue
        shown = known - set(_GIVEN.get(kind, ()))
        hint = close_matches(key, shown) if shown else ' It takes none.'
        yield f'{place}: {name} takes no "{key}".{hint}'
    missing = required_of(found) - {*cfg, *given}
    if missing:
        yield f'{place}: {name} needs {", ".join(sorted(missing))}.'


def _nearly(key: str, known: Set[str]) -> bool:
    """Whether it is hardly meant as a new name."""
    return bool(get_close_matches(key, known, n=1, cutoff=0.9))


def _unknown_keys(value: Any, place: str, known: Set[str]) -> Problems:
    for key in value if isinstance(value, Mapping) else ():
        if key not in known:
            yield f'{place} has no "{key}".{close_matches(key, known)}'


def _items(value: Any) -> List[Tuple[str, Any]]:
    return list(value.items()) if isinstance(value, Mapping) else []


def _listed(value: Any, place: str) -> Iterator[Tuple[str, Any]]:
    """The single entries of what may be one, a list, or a dict of those."""
    if isinstance(value, (list, tuple)):
        for index, entry in enumerate(value):
            yield from _listed(entry, f'{place}[{index}]')
    elif isinstance(value, Mapping) and 'type' not in value:
        for key, entry in value.items():
            yield from _listed(entry, f'{place}.{key}')
    elif value is not None:
        yield place, value


def arguments_of(kind: Any) -> Tuple[Set[str], bool]:
    """The names of the arguments that a class or a function takes.

    Args:
        kind (type | Callable): A class, whose constructors may hand ``**kwargs`` on
            to each other, or a function.

    Returns:
        tuple[set[str], bool]: The names that are known, and whether there are no
        others.
    """
    found: Set[str] = set()
    for function in _constructors(kind):
        names, open_ended = _own_arguments(function)
        found |= names
        if open_ended is None:
            return found, True
        if not _hands_on(function, open_ended):
            return found, False
    return found, True


def required_of(kind: Any) -> Set[str]:
    """The names of the arguments that a class or a function cannot do without."""
    function = next(_constructors(kind), None)
    if function is None or hasattr(function, '__wrapped__'):
        return set()
    return {
        name
        for name, parameter in _signature(function)
        if parameter.default is parameter.empty
        and parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
    }


def _constructors(kind: Any) -> Iterator[Any]:
    if not inspect.isclass(kind):
        yield kind
        return
    for owner in kind.__mro__:
        if '__init__' in vars(owner) and owner is not object:
            yield owner.__init__


def _own_arguments(function: Any) -> Tuple[Set[str], Optional[str]]:
    """The named arguments of a function, and the name of its ``**kwargs``."""
    names, open_ended = set(), None
    for name, parameter in _signature(function):
        if parameter.kind is parameter.VAR_KEYWORD:
            open_ended = name
        elif parameter.kind is not parameter.VAR_POSITIONAL:
            names.add(name)
    if hasattr(function, '__wrapped__'):  # Who knows what else the wrapper takes.
        open_ended = open_ended or ''
    return names, open_ended


def _signature(function: Any) -> List[Tuple[str, inspect.Parameter]]:
    try:
        parameters = inspect.signature(function).parameters.items()
    except (TypeError, ValueError):  # It is not written in Python.
        parameters = [('', inspect.Parameter('kwargs', inspect.Parameter.VAR_KEYWORD))]
    return [(name, parameter) for name, parameter in parameters if name != 'self']


def _parameters(function: Any) -> Set[str]:
    return _own_arguments(function)[0]


def _hands_on(function: Any, name: str) -> bool:
    """Whether a constructor does nothing with ``**kwargs`` but hand it to super()."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, TypeError, SyntaxError):
        return False
    uses = [n for n in ast.walk(tree) if isinstance(n, ast.Name) and n.id == name]
    handed = [
        keyword.value
        for call in ast.walk(tree)
        if isinstance(call, ast.Call) and _is_super(call.func)
        for keyword in call.keywords
        if keyword.arg is None
    ]
    return bool(uses) and all(use in handed for use in uses)


def _is_super(function: ast.AST) -> bool:
    return (
        isinstance(function, ast.Attribute)
        and function.attr == '__init__'
        and isinstance(function.value, ast.Call)
        and isinstance(function.value.func, ast.Name)
        and function.value.func.id == 'super'
    )
