"""What the commands in tools/ have in common."""

from __future__ import annotations

import argparse
import os
import re
import sys
from typing import Any, List, NoReturn, Optional, Sequence

from mmengine.config import DictAction

from mmregda.errors import close_matches


class ArgumentParser(argparse.ArgumentParser):
    """Takes no abbreviation of an option, and says which one may be meant.

    The description is printed as it is written, paragraphs and all.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault('formatter_class', argparse.RawDescriptionHelpFormatter)
        folder, file = os.path.split(sys.argv[0])
        if folder.endswith(os.path.join('.mim', 'tools')):  # Nobody calls it there.
            kwargs.setdefault('prog', f'mmregda {os.path.splitext(file)[0]}')
            text = kwargs.get('description') or ''
            kwargs['description'] = re.sub(
                r'python tools/(\w+)\.py', r'mmregda \1', text
            )
        super().__init__(*args, allow_abbrev=False, **kwargs)

    def error(self, message: str) -> NoReturn:
        """Exit with status 2, and the option that an unknown one may be meant to be."""
        unknown = [word.partition('=')[0] for word in message.split()[2:]]
        if message.startswith('unrecognized arguments'):
            known = [name for name in _options(self) if name.startswith('--')]
            hints = [
                close_matches(o, known, listed=0) for o in unknown if o.startswith('-')
            ]
            message = f'{message}.{"".join(dict.fromkeys(hints))}'
        super().error(message)


def _options(parser: argparse.ArgumentParser) -> List[str]:
    names = list(parser._option_string_actions)
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for inner in action.choices.values():
                names += _options(inner)
    return names


class ConfigOptions(DictAction):
    """``--cfg-options key=value``, as MMEngine reads it."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Sequence[str],
        option_string: Optional[str] = None,
    ) -> None:
        for text in values:
            key, equals, _ = text.partition('=')
            if equals and all(part.strip() for part in key.split('.')):
                continue
            hint = ''
            if os.path.exists(text):
                hint = f' Write "{text}" before {option_string}.'
            raise argparse.ArgumentError(
                self, f'"{text}" is not of the form key.key=value.{hint}'
            )
        try:
            super().__call__(parser, namespace, values, option_string)
        except (ValueError, AssertionError) as error:
            raise argparse.ArgumentError(self, str(error)) from error


def add_cfg_options(
    parser: argparse.ArgumentParser, help: str = 'override config settings, key=value'
) -> None:
    """Give a command ``--cfg-options``."""
    parser.add_argument(
        '--cfg-options', nargs='+', action=ConfigOptions, metavar='KEY=VALUE', help=help
    )
