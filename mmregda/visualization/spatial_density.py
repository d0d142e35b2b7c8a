"""Where wrong predictions fall: the sparsity of the spatial density.

RegDA rests on the observation that a mistaken keypoint is mostly predicted at
another keypoint and rarely on the background (Jiang et al., CVPR 2021, section
4.1). Here it is measured, beside what mere chance would give.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import Dict, List, Optional, Sequence, Tuple

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.image import AxesImage

from mmregda.visualization.figures import new_figure, save_figure, write_text
from mmregda.visualization.predictions import Predictions, require_same_test_set

CHANCES = dict(
    box='anywhere in the box of the keypoints',
    other_images="laid over other images' keypoints",
    same_distance='as far off, in any direction',
)
"""dict: What a wrong prediction is compared with, and how figures call it."""

_SHARES = (
    ('right', '#0072B2'),
    ('at another keypoint', '#E69F00'),
    ('on the background', '#CCCCCC'),
)
_MARKERS = dict(box='s', other_images='^', same_distance='o')
_MAX_SHIFTS = 8
_NUM_ANGLES = 64
_GRID = 32


@dataclass
class ErrorPositions:
    """Where the predictions of a test set fall.

    Attributes:
        counts (np.ndarray): (K, K + 1) int. Of the labelled keypoints k, how
            many were predicted at keypoint j; in the last column, how many
            on the background. The diagonal is right.
        chance (dict[str, float]): The part of the wrong predictions that
            would be on another keypoint by chance, see :data:`CHANCES`.
        num_images (int): Images.
        thr (float): How near is *at* a keypoint, in units of the input's side.
    """

    counts: np.ndarray
    chance: Dict[str, float]
    num_images: int
    thr: float

    @property
    def shares(self) -> np.ndarray:
        """np.ndarray: (K, 3), of each keypoint the parts that are right, on
        another keypoint, and on the background; NaN if never labelled."""
        right = np.diagonal(self.counts)
        background = self.counts[:, -1]
        total = self.counts.sum(axis=1)
        columns = np.stack([right, total - right - background, background], axis=1)
        with np.errstate(invalid='ignore'):
            return columns / total[:, None]

    def summary(self) -> dict:
        """The overall parts, as plain numbers.

        Returns:
            dict: ``right``, ``another_keypoint`` and ``background`` of all
            labelled keypoints; ``another_keypoint_of_wrong``, and the same by
            ``chance``. What is not defined is None.
        """
        total = int(self.counts.sum())
        right = int(np.trace(self.counts))
        background = int(self.counts[:, -1].sum())
        another = total - right - background
        return dict(
            right=_part(right, total),
            another_keypoint=_part(another, total),
            background=_part(background, total),
            another_keypoint_of_wrong=_part(another, another + background),
            chance={
                name: None if np.isnan(value) else round(value, 4)
                for name, value in self.chance.items()
            },
            num_images=self.num_images,
            num_keypoints=total,
            thr=self.thr,
        )

    def confusions(self, count: int = 5) -> List[Tuple[int, int, int]]:
        """The most frequent confusions.

        Returns:
            list[tuple[int, int, int]]: Keypoint, the keypoint at which it was
            predicted, and how often; the most frequent first.
        """
        wrong = self.counts[:, :-1].copy()
        np.fill_diagonal(wrong, 0)
        order = np.argsort(-wrong, axis=None, kind='stable')[:count]
        pairs = zip(*np.unravel_index(order, wrong.shape))
        return [(int(k), int(j), int(wrong[k, j])) for k, j in pairs if wrong[k, j]]


def _part(count: int, total: int) -> Optional[float]:
    return round(count / total, 4) if total else None


def error_positions(
    predicted: np.ndarray,
    keypoints: np.ndarray,
    visible: np.ndarray,
    input_size: Sequence[int],
    thr: float = 0.05,
) -> ErrorPositions:
    """Count where predictions fall: right, at another keypoint, or elsewhere.

    A prediction is *right* if it is at most ``thr`` of the input's longer
    side from its keypoint, as in PCK, even if another keypoint is nearer. A
    wrong one is *at* the nearest other keypoint if that is as near, otherwise
    on the *background*. Keypoints that are not visible are not counted, and
    nothing can be at them.

    That a wrong prediction is at another keypoint can be mere chance: a hand
    has many keypoints, close to one another. Three levels of chance are
    computed for the same wrong predictions.

    - ``box``: at a position drawn uniformly from the bounding box of the
      image's visible keypoints, apart from what is right (on a grid of 32 x 32
      positions);
    - ``other_images``: where it is, but over the keypoints of other images
      (up to eight images each, and those where it would be right left out):
      what the mere habit of predicting certain places gives;
    - ``same_distance``: as far from its keypoint, but in any direction (64 of
      them, inside the image): what a misplacement of this size gives, as the
      nearest keypoints are the neighbours of the own one.

    Args:
        predicted (np.ndarray): (N, K, 2), in pixels of the input.
        keypoints (np.ndarray): (N, K, 2), ground truth.
        visible (np.ndarray): (N, K) bool.
        input_size (Sequence[int]): Width and height of the input in pixels.
        thr (float): In units of the input's longer side. Defaults to 0.05.

    Returns:
        ErrorPositions: The counts and the chances.
    """
    visible = np.asarray(visible, dtype=bool)
    num_images, num_keypoints = visible.shape
    radius = thr * max(input_size)
    counts = np.zeros((num_keypoints, num_keypoints + 1), dtype=int)
    wrong = np.zeros_like(visible)
    for i in range(num_images):
        (owners,) = np.nonzero(visible[i])
        landed = _land(predicted[i, owners], owners, keypoints[i], visible[i], radius)
        np.add.at(counts, (owners, landed), 1)
        wrong[i, owners] = landed != owners
    inputs = predicted, keypoints, visible, wrong, radius
    chance = dict(
        box=_chance_in_box(*inputs),
        other_images=_chance_in_other_images(*inputs),
        same_distance=_chance_at_same_distance(*inputs, input_size),
    )
    return ErrorPositions(counts, chance, num_images, thr)


def _land(
    points: np.ndarray,
    owners: np.ndarray,
    keypoints: np.ndarray,
    visible: np.ndarray,
    radius: float,
) -> np.ndarray:
    """At which keypoint of an image each of M points is.

    Args:
        points (np.ndarray): (M, 2).
        owners (np.ndarray): (M,), the keypoint that each of them means.
        keypoints (np.ndarray): (K, 2).
        visible (np.ndarray): (K,) bool.
        radius (float): In pixels.

    Returns:
        np.ndarray: (M,), the keypoints' indices; K for the background.
    """
    distance = np.linalg.norm(points[:, None] - keypoints, axis=-1)
    distance[:, ~visible] = np.inf
    nearest = distance.argmin(axis=1)
    nearest[distance.min(axis=1) > radius] = len(keypoints)
    right = distance[np.arange(len(points)), owners] <= radius
    return np.where(right, owners, nearest)


def _chance_in_box(predicted, keypoints, visible, wrong, radius) -> float:
    parts = []
    for i in np.flatnonzero(wrong.any(axis=1)):
        shown = keypoints[i, visible[i]]
        low, high = shown.min(axis=0), shown.max(axis=0)
        steps = (np.arange(_GRID) + 0.5) / _GRID
        axes = (low + steps[:, None] * (high - low)).T
        grid = np.stack(np.meshgrid(*axes), axis=-1).reshape(-1, 2)
        near = np.linalg.norm(grid[:, None] - keypoints[i], axis=-1) <= radius
        near &= visible[i]
        for k in np.flatnonzero(wrong[i]):
            elsewhere = near[~near[:, k]]
            if len(elsewhere):
                parts.append(elsewhere.any(axis=1).mean())
    return float(np.mean(parts)) if parts else float('nan')


def _chance_in_other_images(predicted, keypoints, visible, wrong, radius) -> float:
    num_images, num_keypoints = visible.shape
    count = min(_MAX_SHIFTS, num_images - 1)
    shifts = np.linspace(1, max(1, num_images - 1), count).round().astype(int)
    another = background = 0
    for shift in shifts:
        for i in np.flatnonzero(wrong.any(axis=1)):
            j = (i + shift) % num_images
            (owners,) = np.nonzero(wrong[i] & visible[j])
            landed = _land(
                predicted[i, owners], owners, keypoints[j], visible[j], radius
            )
            on_background = np.sum(landed == num_keypoints)
            background += on_background
            another += np.sum(landed != owners) - on_background
    total = another + background
    return float(another / total) if total else float('nan')


def _chance_at_same_distance(
    predicted, keypoints, visible, wrong, radius, input_size
) -> float:
    angles = (np.arange(_NUM_ANGLES) + 0.5) * 2 * np.pi / _NUM_ANGLES
    directions = np.stack([np.cos(angles), np.sin(angles)], axis=-1)
    last = np.array(input_size) - 1
    parts = []
    for i in np.flatnonzero(wrong.any(axis=1)):
        for k in np.flatnonzero(wrong[i]):
            distance = np.linalg.norm(predicted[i, k] - keypoints[i, k])
            points = keypoints[i, k] + distance * directions
            points = points[((points >= 0) & (points <= last)).all(axis=1)]
            if len(points):
                owners = np.full(len(points), k)
                landed = _land(points, owners, keypoints[i], visible[i], radius)
                parts.append(np.mean(landed < len(keypoints[i])))
    return float(np.mean(parts)) if parts else float('nan')


def write_error_positions(
    path: str, runs: Dict[str, Predictions], thr: float = 0.05
) -> Dict[str, ErrorPositions]:
    """Measure and draw where the predictions of runs fall.

    Beside the figure stand its figures as JSON and as Markdown, in files of
    the same name.

    Args:
        path (str): The figure to write; its ending says the format.
        runs (dict[str, Predictions]): By label, on the same test set. The
            figure has a column for each: two or three are legible.
        thr (float): In units of the input's longer side. Defaults to 0.05.

    Returns:
        dict[str, ErrorPositions]: By label.

    Raises:
        InputError: If the runs were predicted on different test sets.
    """
    require_same_test_set(runs)
    found = {
        label: error_positions(p.predicted, p.keypoints, p.visible, p.input_size, thr)
        for label, p in runs.items()
    }
    names = next(iter(runs.values())).names
    plot_error_positions(path, found, names)
    stem = os.path.splitext(os.fspath(path))[0]
    content = {label: errors.summary() for label, errors in found.items()}
    for label, errors in found.items():
        content[label].update(keypoints=list(names), counts=errors.counts.tolist())
    write_text(f'{stem}.json', json.dumps(content) + '\n')
    write_text(f'{stem}.md', error_positions_table(found, names))
    return found


def plot_error_positions(
    path: str, runs: Dict[str, ErrorPositions], names: Sequence[str]
) -> None:
    """Draw where predictions fall, by keypoint, run beside run.

    Above, the parts of each keypoint's predictions that are right, at another
    keypoint and on the background; in the middle, at which other keypoint;
    below, how many of all wrong predictions are at another keypoint, beside
    what chance would give.

    Args:
        path (str): The figure to write; its ending says the format.
        runs (dict[str, ErrorPositions]): By label, with the same keypoints.
        names (Sequence[str]): Of the K keypoints.
    """
    width = max(8.0, 4.6 * len(runs))
    low = 1.3 + 0.3 * len(runs)
    figure = new_figure(width, 3.0 + 4.6 + low)
    top, middle, bottom = figure.subfigures(3, 1, height_ratios=(3.0, 4.6, low))

    rows = top.subplots(1, len(runs), sharey=True, squeeze=False)[0]
    for axes, (label, found) in zip(rows, runs.items()):
        _draw_shares(axes, found, names)
        axes.set_title(f'{label}: {_percent(found.summary()["right"])} right')
    rows[0].set_ylabel("% of the keypoint's predictions")
    top.legend(
        *rows[0].get_legend_handles_labels(), loc='outside upper center', ncols=3
    )

    rows = middle.subplots(1, len(runs), squeeze=False)[0]
    confusions = [_confusion(found) for found in runs.values()]
    peak = max(np.nanmax(confusion, initial=0) for confusion in confusions)
    for axes, label, confusion in zip(rows, runs, confusions):
        drawn = _draw_confusion(axes, confusion, names, peak)
        axes.set_title(f'{label}: wrong ones', fontsize=10)
    rows[0].set_ylabel('keypoint')
    middle.colorbar(
        drawn, ax=list(rows), shrink=0.7, label="% of the keypoint's predictions"
    )
    _draw_chances(bottom.subplots(), runs)
    save_figure(figure, path)


def _draw_shares(axes: Axes, found: ErrorPositions, names: Sequence[str]) -> None:
    shares = 100 * np.nan_to_num(found.shares)
    below = np.zeros(len(shares))
    for (label, color), share in zip(_SHARES, shares.T):
        axes.bar(names, share, bottom=below, color=color, label=label, width=0.85)
        below += share
    axes.set_ylim(0, 100)
    axes.set_xlim(-0.6, len(names) - 0.4)
    axes.tick_params('x', labelrotation=90, labelsize=7)


def _confusion(found: ErrorPositions) -> np.ndarray:
    """(K, K) in percent of each keypoint's predictions, without the right ones."""
    total = found.counts.sum(axis=1, keepdims=True)
    confusion = 100 * found.counts[:, :-1] / np.maximum(total, 1)
    np.fill_diagonal(confusion, np.nan)
    return confusion


def _draw_confusion(
    axes: Axes, confusion: np.ndarray, names: Sequence[str], peak: float
) -> AxesImage:
    colors = colormaps['Blues'].with_extremes(bad='0.8')
    drawn = axes.imshow(confusion, cmap=colors, vmin=0, vmax=max(peak, 1))
    ticks = range(len(names))
    axes.set_xticks(ticks, names, rotation=90, fontsize=7)
    axes.set_yticks(ticks, names, fontsize=7)
    axes.set_xlabel('is predicted at')
    return drawn


def _draw_chances(axes: Axes, runs: Dict[str, ErrorPositions]) -> None:
    places = np.arange(len(runs))
    summaries = [found.summary() for found in runs.values()]
    observed = [100 * (s['another_keypoint_of_wrong'] or 0) for s in summaries]
    axes.barh(places, observed, color=_SHARES[1][1], height=0.6, label='observed')
    for name, description in CHANCES.items():
        values = [100 * found.chance[name] for found in runs.values()]
        axes.plot(
            values,
            places,
            _MARKERS[name],
            color='black',
            markerfacecolor='white',
            label=f'by chance: {description}',
        )
    axes.set_yticks(places, list(runs))
    axes.invert_yaxis()
    axes.set_xlim(0, None)
    axes.set_xlabel('% of the wrong predictions that are at another keypoint')
    axes.legend(loc='center left', bbox_to_anchor=(1, 0.5), fontsize=8)


def _percent(part: Optional[float]) -> str:
    return '-' if part is None else f'{100 * part:.1f} %'


def error_positions_table(runs: Dict[str, ErrorPositions], names: Sequence[str]) -> str:
    """The overall parts and the most frequent confusions as Markdown.

    Args:
        runs (dict[str, ErrorPositions]): By label.
        names (Sequence[str]): Of the K keypoints.

    Returns:
        str: Two tables.
    """
    first = next(iter(runs.values()))
    lines = [
        f'Where predictions fall, in percent ({first.num_images} images; at a '
        f"keypoint: at most {first.thr:g} of the input's side from it).",
        '',
        '| | right | at another keypoint | on the background '
        '| **wrong ones at another keypoint** | '
        + ' | '.join(f'by chance, {text}' for text in CHANCES.values())
        + ' |',
        '| --- |' + ' --: |' * (4 + len(CHANCES)),
    ]
    for label, found in runs.items():
        summary = found.summary()
        parts = [summary['right'], summary['another_keypoint'], summary['background']]
        parts.append(summary['another_keypoint_of_wrong'])
        parts += [summary['chance'][name] for name in CHANCES]
        cells = ['-' if part is None else f'{100 * part:.1f}' for part in parts]
        lines.append(f'| {" | ".join([label, *cells])} |')
    lines += ['', '| | most frequent confusions |', '| --- | --- |']
    for label, found in runs.items():
        texts = [f'{names[k]} at {names[j]} ({n})' for k, j, n in found.confusions()]
        lines.append(f'| {label} | {", ".join(texts)} |')
    return '\n'.join(lines) + '\n'
