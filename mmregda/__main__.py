"""``python -m mmregda COMMAND``, or ``mmregda COMMAND``: the tools, wherever they are.

``mmregda train CONFIG`` is ``python tools/train.py CONFIG`` of a checkout, and
``mmregda doctor`` shows what was found, what was repaired and what is missing.
"""

from __future__ import annotations

import ast
import os
import runpy
import sys

from mmregda.compat.__main__ import main as doctor
from mmregda.errors import close_matches
from mmregda.files import shipped


def main() -> None:
    """Run the command that ``sys.argv`` names."""
    folder = shipped('tools')
    files = sorted(file for file in os.listdir(folder) if file.endswith('.py'))
    tools = {file[:-3]: os.path.join(folder, file) for file in files}
    name = sys.argv[1] if len(sys.argv) > 1 else '--help'
    if name == 'doctor':
        sys.exit(doctor())
    if name in ('-h', '--help'):
        print('usage: mmregda COMMAND [--help] ...\n')
        for tool, path in tools.items():
            print(f'  {tool:<18} {_title(path)}')
        print(f'  {"doctor":<18} Show what was found, repaired, and is missing.')
        return
    if name not in tools:
        near = close_matches(name, [*tools, 'doctor'])
        print(f'error: there is no command "{name}".{near}', file=sys.stderr)
        sys.exit(2)
    sys.argv = sys.argv[1:]
    runpy.run_path(tools[name], run_name='__main__')


def _title(path: str) -> str:
    """The first sentence of a tool's docstring."""
    with open(path, encoding='utf-8') as file:
        return ast.get_docstring(ast.parse(file.read())).splitlines()[0]


if __name__ == '__main__':
    main()
