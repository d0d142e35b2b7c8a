"""Finding the config, the weights and the logs of finished runs."""

from __future__ import annotations

import os
from dataclasses import dataclass
from glob import escape, glob
from typing import Dict, Sequence

from mmengine.config import Config

from mmregda.config_files import read_config
from mmregda.engine.checkpoints import NOTE, noted_checkpoint
from mmregda.errors import InputError


@dataclass
class Run:
    """A trained model.

    Attributes:
        cfg (Config): Its whole config.
        checkpoint (str): The file of its weights.
    """

    cfg: Config
    checkpoint: str


def load_run(place: str) -> Run:
    """Find the config and the checkpoint of a run.

    Args:
        place (str): A run's ``work_dir``; or ``config.py:weights.pth``.

    Raises:
        InputError: If one of the two files is missing.
    """
    place = os.fspath(place)
    if not os.path.isdir(place) and ':' in place:
        config, checkpoint = place.split(':', 1)
        for path in (config, checkpoint):
            if not os.path.isfile(path):
                raise InputError(f'file "{path}" of the run "{place}" does not exist')
        return Run(read_config(config), checkpoint)

    if not os.path.isdir(place):
        raise InputError(
            f'run "{place}" does not exist. Name the work directory of a training, '
            'or a config and a checkpoint as config.py:weights.pth.'
        )
    configs = glob(os.path.join(escape(place), '*.py'))
    if not configs:
        raise InputError(
            f'work directory "{place}" holds no config (*.py), which a training '
            'leaves there. Name the config and the checkpoint as '
            'config.py:weights.pth.'
        )
    latest = max(configs, key=os.path.getmtime)
    return Run(read_config(latest), _last_checkpoint(place))


def _last_checkpoint(work_dir: str) -> str:
    checkpoint = noted_checkpoint(work_dir)
    if checkpoint is None:
        raise InputError(
            f'work directory "{work_dir}" has no checkpoint: the file '
            f'"{NOTE}", which a training leaves there, is missing. Finish '
            'the training, or name a checkpoint as config.py:weights.pth.'
        )
    if not os.path.isfile(checkpoint):
        note = os.path.join(work_dir, NOTE)
        raise InputError(
            f'checkpoint "{checkpoint}", which "{note}" names, does not exist'
        )
    return checkpoint


def labeled(arguments: Sequence[str]) -> Dict[str, str]:
    """Read ``label=place`` arguments; a place without a label has its last part's name.

    Raises:
        InputError: If two have the same label.
    """
    places: Dict[str, str] = {}
    for argument in arguments:
        label, equals, place = argument.partition('=')
        if not equals or os.path.exists(argument):
            label, place = os.path.basename(os.path.normpath(argument)), argument
        if label in places:
            raise InputError(
                f'two runs, "{places[label]}" and "{place}", have the label '
                f'"{label}". Give them their own as label=place.'
            )
        places[label] = place
    return places
