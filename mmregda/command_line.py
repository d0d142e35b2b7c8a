"""What the commands in tools/ have in common."""

from __future__ import annotations

import argparse
import os
from typing import Any, List, NoReturn, Optional, Sequence

from mmengine.config import DictAction

from mmregda.errors import close_matches


class ArgumentParser(argparse.ArgumentParser):
    """Takes no abbreviation of an option, and says which one may be meant.

    The description is printed as it is written, paragraphs and all.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault('formatter_class', argparse.RawDescriptionHelpFormatter)
        super().__init__(*args, allow_abbrev=False, **kwargs)

    def parse_args(
        self, args: Optional[Sequence[str]] = None, namespace: Any = None
    ) -> argparse.Namespace:
        """Parse arguments; exit with status 2 and a message if one is wrong."""
        found, unknown = self.parse_known_args(args, namespace)
        if unknown:
            self.unknown(unknown)
        return found

    def unknown(self, arguments: List[str]) -> NoReturn:
        """Exit because of arguments that there are not."""
        options = [argument for argument in arguments if argument.startswith('-')]
        known = [name for name in _options(self) if name.startswith('--')]
        hints = [close_matches(o.partition('=')[0], known, listed=0) for o in options]
        hint = ''.join(dict.fromkeys(hints))
        self.error(f'unrecognized arguments: {" ".join(arguments)}.{hint}')


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
