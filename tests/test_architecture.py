"""Which part of the package may import which."""

import ast

from conftest import ROOT

PACKAGE = ROOT / 'mmregda'
# Modules beside the rooms: all import them but compat, and they import no room.
SHARED = {'command_line', 'config_files', 'errors', 'files', 'progress', 'version'}
# What else each room may import, of those above it.
ROOMS = {
    'compat': set(),
    'codecs': set(),
    'losses': set(),  # of models
    'synthetic': set(),
    'datasets': {'compat'},
    'evaluation': {'codecs', 'datasets'},
    'models': {'codecs', 'compat', 'losses'},
    'engine': {'codecs', 'datasets', 'evaluation', 'models'},
    'apis': {'codecs', 'datasets', 'engine', 'evaluation', 'models'},
    'visualization': {'datasets', 'engine'},
    'benchmark': {'apis', 'compat', 'datasets', 'engine', 'visualization'},
}


def room_of(name):
    """The room of a module, or of what is imported from it; '' of other packages."""
    first, *parts = name.split('.')
    if first != 'mmregda':
        return 'tools' if first == 'tools' else ''
    return 'losses' if parts[:2] == ['models', 'losses'] else '.'.join(parts[:1])


def imports_of(path):
    """Everything that a file imports, within functions too."""
    parts = path.relative_to(ROOT).with_suffix('').parts
    for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = parts[: -node.level] if node.level else ()
            origin = '.'.join([*above, *filter(None, [node.module])])
            yield from (f'{origin}.{alias.name}' for alias in node.names)


def test_imports_between_rooms_are_those_of_the_table():
    wrong = []
    for path in sorted(PACKAGE.rglob('*.py')):
        room = room_of('.'.join(path.relative_to(ROOT).with_suffix('').parts))
        if room in ('__init__', '__main__'):  # They import all.
            continue
        allowed = {'', room} | ROOMS.get(room, set())
        if room != 'compat':
            allowed |= SHARED
        found = {name for name in imports_of(path) if room_of(name) not in allowed}
        wrong += [f'{path.relative_to(ROOT)}: {name}' for name in sorted(found)]
    assert not wrong


def test_table_has_every_room_and_no_circle():
    folders = {path.parent.name for path in PACKAGE.glob('*/__init__.py')}
    modules = {path.stem for path in PACKAGE.glob('[!_]*.py')}
    assert (folders | {'losses'}, modules) == (set(ROOMS), SHARED)
    above = set()
    for room, others in ROOMS.items():
        assert others <= above, room
        above.add(room)
