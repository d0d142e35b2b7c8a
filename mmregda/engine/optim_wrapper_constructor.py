"""One optimiser for each player."""

from __future__ import annotations

import copy
from typing import Any, Dict, List, Optional

import mmpose.engine  # noqa: F401, registers the constructor of ViTs
from mmengine.model import is_model_wrapper
from mmengine.optim import (
    AmpOptimWrapper,
    DefaultOptimWrapperConstructor,
    OptimWrapper,
    OptimWrapperDict,
)
from mmpose.registry import OPTIM_WRAPPER_CONSTRUCTORS, OPTIM_WRAPPERS, OPTIMIZERS
from torch import nn

from mmregda.engine.player_optim_wrappers import (
    PlayerAmpOptimWrapper,
    PlayerOptimWrapper,
)
from mmregda.errors import InputError, unknown_component

_DEFAULT = 'DefaultOptimWrapperConstructor'
# What it reads of paramwise_cfg; it ignores all else.
_KNOWN = {
    *('custom_keys', 'norm_decay_mult', 'bias_lr_mult', 'bias_decay_mult'),
    *('dwconv_decay_mult', 'dcn_offset_lr_mult', 'bypass_duplicate'),
    'flat_decay_mult',
}
# MMEngine's wrappers are named in configs of MMPose's; here players have ours.
_FOR_PLAYERS = {
    OptimWrapper: PlayerOptimWrapper,
    AmpOptimWrapper: PlayerAmpOptimWrapper,
}
SHARED = ('type', 'dtype', 'loss_scale', 'clip_grad', 'accumulative_counts')


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class PlayerOptimWrapperConstructor:
    """Builds an optimiser for each of the model's players.

    The config has one entry for each key of ``model.players()``, each an
    ordinary ``optim_wrapper`` config of MMEngine. Entries of players that the
    method does not have are refused, so that no setting is silently unused.

    .. code-block:: python

        optim_wrapper = dict(
            constructor='PlayerOptimWrapperConstructor',
            feature_extractor=dict(optimizer=dict(type='SGD', lr=0.01)),
            head=dict(optimizer=dict(type='SGD', lr=0.1)),
            adversary=dict(optimizer=dict(type='SGD', lr=0.1)))

    ``type``, ``dtype``, ``loss_scale`` and ``clip_grad`` beside the entries are
    those of each entry that has none of its own. With
    ``type='PlayerAmpOptimWrapper'`` the players share one loss scale. Clipping is
    by player: of its own gradients, whose norm is logged by its name.

    An ``optim_wrapper`` with one ``optimizer`` in place of entries, as any
    config of MMPose has it, gives each player an optimiser of that kind.

    What builds a player's optimiser may be another constructor: ``constructor`` in an
    entry or, for all, ``player_constructor`` beside them. So a ViT keeps its layer
    decay:

    .. code-block:: python

        optim_wrapper = dict(
            constructor='PlayerOptimWrapperConstructor',
            player_constructor='LayerDecayOptimWrapperConstructor')

    Args:
        optim_wrapper_cfg (dict): The entries, or one config for all.
        paramwise_cfg (dict, optional): Given to every player that has no
            ``paramwise_cfg`` of its own. Keys are matched against names such
            as ``backbone.layer1.0.conv1.weight``.

    Raises:
        InputError: If the entries are not the model's players, if a trained
            parameter belongs to none or to two of them, if their gradient
            scalings differ, or if a constructor would ignore ``paramwise_cfg``.
    """

    def __init__(
        self, optim_wrapper_cfg: dict, paramwise_cfg: Optional[dict] = None
    ) -> None:
        self.optim_wrapper_cfg = dict(optim_wrapper_cfg)
        self.paramwise_cfg = paramwise_cfg

    def __call__(self, model: nn.Module) -> OptimWrapperDict:
        if is_model_wrapper(model):
            model = model.module
        if not hasattr(model, 'players'):
            raise InputError(
                f'{type(model).__name__} has no players: leave out '
                'optim_wrapper.constructor, or set model.type to '
                '"DomainAdaptiveTopdown"'
            )
        players = model.players()
        constructor = self.optim_wrapper_cfg.pop('player_constructor', _DEFAULT)
        configs = self._configs_of(players)
        if set(players) != set(configs):
            raise InputError(
                f'optim_wrapper has entries for {sorted(configs)}, but the players of '
                f'{type(model.adaptation).__name__} are {sorted(players)}'
            )
        _require_each_parameter_once(model, players)
        names = {id(module): name for name, module in model.named_modules()}
        wrappers = {}
        for player, modules in players.items():
            # The modules keep the names they have in the model; a dot is not
            # allowed in the name of a child.
            named = {names[id(m)].replace('.', '_'): m for m in modules}
            # MMEngine takes keys out of it, and parts may be other players' too.
            cfg = copy.deepcopy({'constructor': constructor, **configs[player]})
            wrappers[player] = self._build(player, cfg, nn.ModuleDict(named))
        _share_scale(wrappers)
        return OptimWrapperDict(**wrappers)

    def _configs_of(self, players: Dict[str, List[nn.Module]]) -> Dict[str, dict]:
        """The entry of each player, with what stands beside the entries."""
        configs = self.optim_wrapper_cfg
        if 'optimizer' in configs:
            doubled = sorted(set(players) & set(configs))
            if doubled:
                raise InputError(
                    f'optim_wrapper has an optimizer for all players and {doubled} '
                    'besides. To replace an inherited one add _delete_=True.'
                )
            return {player: configs for player in players}
        shared = {key: configs.pop(key) for key in SHARED if key in configs}
        for name, value in configs.items():
            if not isinstance(value, dict):
                raise InputError(
                    f'optim_wrapper.{name}={value!r} is no config of a player. '
                    f'Beside those there may be {", ".join(SHARED)}.'
                )
        return {player: {**shared, **cfg} for player, cfg in configs.items()}

    def _build(self, player: str, cfg: dict, modules: nn.Module) -> PlayerOptimWrapper:
        """The optimiser of one player."""
        entry = f'optim_wrapper.{player}'
        paramwise_cfg = cfg.pop('paramwise_cfg', self.paramwise_cfg)
        cfg['type'] = _wrapper_of(cfg, entry)
        _require_known(cfg.get('optimizer'), entry)
        kind = cfg.pop('constructor')
        wrapper = _constructor(kind, cfg, paramwise_cfg, entry)(modules)
        if not isinstance(wrapper, PlayerOptimWrapper):
            raise InputError(
                f'{entry}: {kind} builds {type(wrapper).__name__}, not the type that '
                'it is given'
            )
        if player == 'feature_extractor':
            _require_layer_decay(wrapper, paramwise_cfg, kind)
        if wrapper.clip_grad_kwargs:
            wrapper.grad_name = f'{player}.{wrapper.grad_name}'
        wrapper.averages = True
        return wrapper


def _wrapper_of(cfg: dict, entry: str) -> type:
    """The class of a player's wrapper."""
    given = cfg.get('type', 'PlayerOptimWrapper')
    kind = OPTIM_WRAPPERS.get(given) if isinstance(given, str) else given
    kind = _FOR_PLAYERS.get(kind, kind)
    if not (isinstance(kind, type) and issubclass(kind, PlayerOptimWrapper)):
        raise InputError(
            f'{entry}.type is {given!r}, but players share backward passes, and '
            'gradients with other processes: leave it out, or use '
            '"PlayerAmpOptimWrapper" for mixed precision'
        )
    return kind


def _require_known(optimizer: Any, entry: str) -> None:
    """MMEngine itself calls what it has not found."""
    name = (optimizer or {}).get('type')
    if isinstance(name, str) and OPTIMIZERS.get(name) is None:
        problem = unknown_component(name, OPTIMIZERS.name)
        raise InputError(f'{entry}.optimizer: {problem}')


def _constructor(
    kind: str, cfg: dict, paramwise_cfg: Optional[dict], entry: str
) -> DefaultOptimWrapperConstructor:
    """What builds a player's optimiser; nothing that it is told may be ignored."""
    unknown = sorted(set(paramwise_cfg or {}) - _KNOWN) if kind == _DEFAULT else []
    if unknown:
        raise InputError(
            f'{entry}: paramwise_cfg has {" and ".join(unknown)}, which {kind} does '
            'not read. Name the constructor that does, as '
            'optim_wrapper.player_constructor="LayerDecayOptimWrapperConstructor".'
        )
    return OPTIM_WRAPPER_CONSTRUCTORS.build(
        dict(type=kind, optim_wrapper_cfg=cfg, paramwise_cfg=paramwise_cfg)
    )


def _require_layer_decay(
    wrapper: OptimWrapper, paramwise_cfg: Optional[dict], kind: str
) -> None:
    """Refuse a decay by layer whose constructor has found no layers."""
    rate = (paramwise_cfg or {}).get('layer_decay_rate', 1)
    if rate != 1 and len({group['lr'] for group in wrapper.param_groups}) == 1:
        raise InputError(
            f'optim_wrapper.feature_extractor: layer_decay_rate={rate} changes no '
            f'learning rate: {kind} finds no layers by the names that model.backbone '
            'gives them. Leave it out, and set the rates by custom_keys, such as '
            '{"blocks.0.": dict(lr_mult=0.1)}.'
        )


def _require_each_parameter_once(
    model: nn.Module, players: Dict[str, List[nn.Module]]
) -> None:
    owners: Dict[int, str] = {}
    for player, modules in players.items():
        for parameter in (p for module in modules for p in module.parameters()):
            owner = owners.setdefault(id(parameter), player)
            if owner != player:
                raise InputError(f'"{owner}" and "{player}" share a parameter')
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and id(parameter) not in owners:
            raise InputError(f'no player of {sorted(players)} trains "{name}"')


def _share_scale(wrappers: Dict[str, OptimWrapper]) -> None:
    """Players share backward passes, so they must scale the loss alike."""
    for player, wrapper in wrappers.items():
        if wrapper._accumulative_counts != 1:
            raise InputError(
                f'optim_wrapper.{player}: accumulative_counts must be 1: what the '
                'players minimise depends on what the others have learnt in the same '
                'iteration. model.micro_batches passes a batch in parts.'
            )
    amp = [w for w in wrappers.values() if isinstance(w, PlayerAmpOptimWrapper)]
    kinds = {(w.cast_dtype, str(w.loss_scaler.state_dict())) for w in amp}
    if amp and (len(amp) < len(wrappers) or len(kinds) != 1):
        raise InputError(
            'mixed precision: every player needs type="PlayerAmpOptimWrapper", the '
            'same dtype and the same loss_scale'
        )
    for wrapper in amp:
        wrapper.loss_scaler = amp[0].loss_scaler
