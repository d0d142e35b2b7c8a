"""The commands that a page shows, as bash reads them."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Dict, List, NamedTuple

# Programs of which a page only asks what they are given.
_PROGRAMS = ['bash', 'make', 'mmregda', 'pip', 'python', 'tensorboard', 'torchrun']
_RECORDER = """\
#!{python} -SE
import json, os, sys
name = os.path.basename(sys.argv[0])
with open({record!r}, 'a') as file:
    file.write(json.dumps([[name, *sys.argv[1:]], dict(os.environ)]) + chr(10))
"""
_OF_BASH = {'PATH', 'PWD', 'OLDPWD', 'SHLVL', '_'}


class Command(NamedTuple):
    """What is called, and the variables that the page has set by then."""

    words: List[str]
    variables: Dict[str, str]

    def __str__(self) -> str:
        return ' '.join(self.words)


def blocks(page: Path, language: str) -> List[str]:
    """The code blocks of a page in a language, in order."""
    text = page.read_text(encoding='utf-8')
    return re.findall(rf'^```{language}\n(.*?)^```', text, re.DOTALL | re.MULTILINE)


def commands(page: Path, folder: Path, placeholders: Dict[str, str]) -> List[Command]:
    """Let bash read a page from top to bottom, and note what it would run.

    Args:
        page (Path): A page in Markdown.
        folder (Path): Where it is read, in which its globs are looked for.
        placeholders (dict[str, str]): Words, and what is put in their place.
    """
    script = '\n'.join(['set -euo pipefail', *blocks(page, 'bash')])
    script = script.replace('=/path/to/', f'={folder}/path/to/')
    record = folder / 'record'
    record.write_text('')
    (folder / 'bin').mkdir(exist_ok=True)
    for name in _PROGRAMS:
        program = folder / 'bin' / name
        program.write_text(_RECORDER.format(python=sys.executable, record=str(record)))
        program.chmod(0o755)
    env = dict(os.environ, PATH=f'{folder / "bin"}{os.pathsep}{os.environ["PATH"]}')
    subprocess.run(['/bin/bash', '-c', script], cwd=folder, env=env, check=True)
    found = []
    for line in record.read_text().splitlines():
        words, variables = json.loads(line)
        changed = {
            name: value
            for name, value in variables.items()
            if name not in _OF_BASH and os.environ.get(name) != value
        }
        words = [placeholders.get(word, word) for word in words]
        found.append(Command(words, changed))
    return found


def saved_files(page: Path) -> Dict[str, str]:
    """The files that a page asks its reader to save, by name."""
    text = page.read_text(encoding='utf-8')
    pattern = r'[Ss]ave\s+this\s+as\s+`([\w.]+)`[^`]*```python\n(.*?)```'
    return dict(re.findall(pattern, text, re.DOTALL))
