"""Folders that appear complete or not at all.

Data is written into a hidden sibling of the final folder and moved into
place at the end, together with a manifest of the parameters it came from. A
killed run therefore leaves no folder that looks finished, and a finished one
is recognised and not made twice.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MANIFEST = 'synthetic_manifest.json'
#: Marks a manifest as ours.
GENERATOR = 'mmregda.synthetic'


def holds(folder: Path, parameters: dict, overwrite: bool = False) -> bool:
    """Whether a folder already holds what the parameters describe.

    Args:
        folder (Path): The final folder.
        parameters (dict): What would be generated; must survive JSON.
        overwrite (bool): Whether generated data of other parameters may be
            replaced.

    Returns:
        bool: False if the folder is to be written.

    Raises:
        FileExistsError: If the folder holds something else and may not be
            replaced. Without a manifest it may never be: it is not ours.
    """
    if not folder.exists():
        return False
    found = _read_manifest(folder)
    if found is None:
        raise FileExistsError(
            f'{folder} exists and was not generated here (it has no '
            f'{MANIFEST}). Choose another folder; this one is left alone.'
        )
    if found == _through_json(dict(generator=GENERATOR, **parameters)):
        return True
    if not overwrite:
        raise FileExistsError(
            f'{folder} was generated with other parameters. Choose another '
            'folder, or replace it (overwrite=True, --overwrite).'
        )
    return False


@contextmanager
def assembled(folder: Path, parameters: dict) -> Iterator[Path]:
    """Yield an empty folder that takes the place of ``folder`` at the end.

    If the body raises, nothing is left behind. What a killed run has left is
    removed at the start. A folder in the way is replaced only if it has a
    manifest.
    """
    partial = folder.with_name(f'.{folder.name}.partial')
    replaced = folder.with_name(f'.{folder.name}.replaced')
    folder.parent.mkdir(parents=True, exist_ok=True)
    for leftover in (partial, replaced):
        shutil.rmtree(leftover, ignore_errors=True)
    partial.mkdir()
    try:
        yield partial
        manifest = dict(generator=GENERATOR, **parameters)
        (partial / MANIFEST).write_text(json.dumps(manifest, indent=2))
        if folder.exists():
            # Raises if the folder is not ours.
            holds(folder, parameters, overwrite=True)
            os.replace(folder, replaced)
        os.replace(partial, folder)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    shutil.rmtree(replaced, ignore_errors=True)


def _read_manifest(folder):
    """The manifest of a folder that this package wrote, or None."""
    try:
        found = json.loads((folder / MANIFEST).read_text())
    except (OSError, ValueError):
        return None
    if isinstance(found, dict) and found.get('generator') == GENERATOR:
        return found
    return None


def _through_json(parameters):
    return json.loads(json.dumps(parameters))
