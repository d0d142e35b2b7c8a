"""Adaptation methods, one file each.

A method is there by its file being here: every module of this folder is imported, and
every method that it registers is an attribute of this package.
"""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules

from mmpose.registry import MODELS

from mmregda.models.adaptations.base import BaseAdaptation, frozen, minimize, pooled
from mmregda.models.adaptations.warm_start import WarmStartGradientScale
from mmregda.models.batch_norm import counted

for _module in iter_modules(__path__):
    import_module(f'{__name__}.{_module.name}')

METHODS = {
    name: kind
    for name, kind in sorted(MODELS.module_dict.items())
    if kind.__module__.startswith(f'{__name__}.')
    and isinstance(kind, type)
    and issubclass(kind, BaseAdaptation)
}
"""dict[str, type]: The methods that are shipped, by the name in a config."""
globals().update(METHODS)

__all__ = [
    'METHODS',
    'BaseAdaptation',
    'WarmStartGradientScale',
    'counted',
    'frozen',
    'minimize',
    'pooled',
]
__all__ += METHODS
