"""The statistics figure and the logs that it is drawn from."""

import json

import numpy as np
import pytest
from PIL import Image

from mmregda import InputError
from mmregda.visualization import load_scalars, plot_statistics
from mmregda.visualization.figures import COLORS


def write_log(work_dir, run, records, resumed=False):
    folder = work_dir / run / 'vis_data'
    folder.mkdir(parents=True)
    (folder / 'config.py').write_text(f"name = 'x'\nresume = {resumed}\n")
    text = '\n'.join(json.dumps(record) for record in records)
    (folder / 'scalars.json').write_text(text + '\n')


def test_resumed_run_goes_on_with_the_log_of_the_interrupted_one(tmp_path):
    write_log(tmp_path, '1', [dict(a=n / 10, step=n) for n in (10, 20, 30)])
    # Stopped after 30, resumed from a checkpoint at 20.
    records = [dict(a=n / 100, step=n) for n in (30, 40)]
    write_log(tmp_path, '2', records, resumed=True)
    steps, values = load_scalars(str(tmp_path))['a']
    assert steps == [10, 20, 30, 40]
    assert values == [1.0, 2.0, 0.3, 0.4]


def test_run_started_anew_forgets_the_earlier_one(tmp_path):
    write_log(tmp_path, '1', [dict(a=1.0, old=1.0, step=n) for n in (10, 20)])
    write_log(tmp_path, '2', [dict(a=2.0, step=15)])
    assert load_scalars(str(tmp_path)) == dict(a=([15], [2.0]))


def test_evaluation_in_the_work_directory_hides_no_training(tmp_path):
    write_log(tmp_path, '1', [dict(a=1.0, step=10)])
    write_log(tmp_path, '2', [{'target/PCK/Avg': 0.5, 'step': 0}])
    assert load_scalars(str(tmp_path))['a'] == ([10], [1.0])


def test_log_whose_last_line_was_cut_short_is_read(tmp_path):
    write_log(tmp_path, '1', [dict(a=1.0, step=10)])
    with open(tmp_path / '1/vis_data/scalars.json', 'a') as file:
        file.write('{"a": 2.0, "st')
    assert load_scalars(str(tmp_path))['a'] == ([10], [1.0])


@pytest.mark.parametrize('line', ['nonsense', '[1, 2]', '3'])
def test_damaged_log_is_named_with_the_line(tmp_path, line):
    write_log(tmp_path, '1', [dict(a=1.0, step=10)])
    path = tmp_path / '1/vis_data/scalars.json'
    path.write_text(f'{line}\n{path.read_text()}')
    with pytest.raises(InputError, match='scalars.json", line 1'):
        load_scalars(str(tmp_path))


def statistics(f, adversary=None, iterations=(50, 100)):
    """Records as the hook logs them, of constant accuracies by domain."""
    found = {}
    for domain in ('source', 'target'):
        found[f'statistics/{domain}/accuracy_f'] = f[domain]
        if adversary:
            names = ('adversary', 'difference')
            values = (adversary[domain], f[domain] - adversary[domain])
            for name, value in zip(names, values):
                found[f'statistics/{domain}/accuracy_{name}'] = value
            found[f'statistics/{domain}/prediction_difference'] = 0.2
    return [dict(found, step=step) for step in iterations]


def panels(path, color):
    """Where a colour is in the four panels: (row, column) -> its rows."""
    image = np.asarray(Image.open(path).convert('RGB')).astype(int)
    # The legend is below the panels.
    image = image[: int(0.9 * len(image))]
    rgb = [int(color[i : i + 2], 16) for i in (1, 3, 5)]
    found = np.abs(image - rgb).max(axis=-1) < 20
    height, width = found.shape
    return {
        (i, j): np.flatnonzero(
            found[
                i * height // 2 : (i + 1) * height // 2,
                j * width // 2 : (j + 1) * width // 2,
            ].any(axis=1)
        )
        for i in range(2)
        for j in range(2)
    }


def test_each_run_is_drawn_where_it_has_statistics(tmp_path):
    low, high = dict(source=0.3, target=0.1), dict(source=0.9, target=0.7)
    write_log(tmp_path / 'unseen', '1', statistics(low))
    write_log(tmp_path / 'plain', '1', statistics(high))
    write_log(tmp_path / 'adversarial', '1', statistics(low, adversary=low))
    # The first colour is black, that of the letters.
    names = ('unseen', 'plain', 'adversarial')
    runs = {name: str(tmp_path / name) for name in names}
    plot_statistics(str(tmp_path / 'figure.png'), runs)
    plain = panels(tmp_path / 'figure.png', COLORS[1])
    adversarial = panels(tmp_path / 'figure.png', COLORS[2])
    assert len(plain[0, 0])
    # Without f' there is nothing else to draw.
    assert all(not len(plain[place]) for place in ((0, 1), (1, 0), (1, 1)))
    assert all(len(rows) for rows in adversarial.values())
    # The more accurate run is drawn higher.
    assert plain[0, 0].max() < adversarial[0, 0].min()
    assert not list(tmp_path.glob('*.partial'))


@pytest.mark.parametrize(
    'ending, start',
    [('png', b'\x89PNG'), ('jpg', b'\xff\xd8'), ('pdf', b'%PDF'), ('svg', b'<?xml')],
)
def test_ending_says_the_format(tmp_path, ending, start):
    write_log(tmp_path / 'run', '1', statistics(dict(source=0.5, target=0.5)))
    path = tmp_path / 'folder' / f'figure.{ending}'
    plot_statistics(str(path), dict(run=str(tmp_path / 'run')))
    assert path.read_bytes().startswith(start)


def test_run_without_statistics_is_named(tmp_path):
    write_log(tmp_path / 'good', '1', statistics(dict(source=0.5, target=0.5)))
    write_log(tmp_path / 'bad', '1', [dict(loss=1.0, step=50)])
    runs = {name: str(tmp_path / name) for name in ('good', 'bad')}
    with pytest.raises(InputError, match='"bad".*DisparityStatisticsHook'):
        plot_statistics(str(tmp_path / 'figure.png'), runs)
    assert not list(tmp_path.glob('figure*'))
