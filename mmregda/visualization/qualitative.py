"""The same images under every method, chosen by a rule."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from typing import Dict, List, Optional, Sequence

import numpy as np
from matplotlib.axes import Axes

from mmregda.errors import InputError
from mmregda.visualization.figures import new_figure, save_figure
from mmregda.visualization.predictions import Predictions, require_same_test_set
from mmregda.visualization.skeletons import draw_image, draw_skeleton


@dataclass
class Case:
    """An image and why it is shown.

    Attributes:
        index (int): In the test set.
        reason (str): What it is a case of.
    """

    index: int
    reason: str


def mean_errors(predictions: Predictions) -> np.ndarray:
    """Each image's mean distance of its labelled keypoints.

    Returns:
        np.ndarray: (N,), in percent of the input's longer side; NaN for an
        image without a labelled keypoint.
    """
    distance = predictions.distance
    count = predictions.visible.sum(axis=1)
    with np.errstate(invalid='ignore'):
        return 100 * np.nansum(distance, axis=1) / np.where(count, count, np.nan)


def choose_cases(
    baseline: np.ndarray, compared: np.ndarray, per_case: int = 2
) -> List[Case]:
    """Choose images by the errors (N,) of two methods, at most four times ``per_case``.

    In this order, each image at most once: the largest improvements from the
    first to the second method, the changes nearest to the median change, the
    largest deteriorations, and the largest errors of the second. Images whose error
    is not known (NaN) are left out; ties go to the first image.
    """
    known = np.flatnonzero(~np.isnan(baseline) & ~np.isnan(compared))
    if not len(known):
        return []
    change = (compared - baseline)[known]
    ranks = {
        'largest improvement': change,
        'median change': np.abs(change - np.median(change)),
        'largest deterioration': -change,
        'largest error': -compared[known],
    }
    return _first_of_each(ranks, known, per_case)


def choose_differences(difference: np.ndarray, per_case: int = 2) -> List[Case]:
    """Choose images by how far two methods are apart (N,), where no labels judge them.

    In this order, each image at most once, ``per_case`` of each: the largest
    differences, those nearest to the median, the smallest.
    """
    ranks = {
        'largest difference': -difference,
        'median difference': np.abs(difference - np.median(difference)),
        'smallest difference': difference,
    }
    return _first_of_each(ranks, np.arange(len(difference)), per_case)


def _first_of_each(
    ranks: Dict[str, np.ndarray], indices: np.ndarray, per_case: int
) -> List[Case]:
    cases: List[Case] = []
    for reason, rank in ranks.items():
        chosen = {case.index for case in cases}
        order = indices[np.argsort(rank, kind='stable')]
        free = [int(index) for index in order if index not in chosen]
        cases += [Case(index, reason) for index in free[:per_case]]
    return cases


def mean_differences(one: Predictions, other: Predictions) -> np.ndarray:
    """How far the keypoints of two runs are apart in each image, on the mean.

    Returns:
        np.ndarray: (N,), in percent of the input's longer side.
    """
    first, second = (p.predicted / max(p.input_size) for p in (one, other))
    return 100 * np.linalg.norm(first - second, axis=-1).mean(axis=1)


def plot_predictions(
    path: str,
    runs: Dict[str, Predictions],
    baseline: Optional[str] = None,
    compared: Optional[str] = None,
    per_case: int = 2,
) -> List[Case]:
    """Draw the same images under every method, the ground truth first.

    The images are chosen by :func:`choose_cases`; the rule and every image's
    error under every method are written into the figure. Of a test set without
    labels they are chosen by :func:`choose_differences`, and how far each method is
    from the baseline stands below.

    Args:
        path (str): The figure to write; its ending says the format. JPEG
            suits the many images.
        runs (dict[str, Predictions]): By label, on the same test set.
        baseline (str, optional): The label of the method that the choice
            starts from. Defaults to the first.
        compared (str, optional): The label of the method that it is compared
            with. Defaults to the last.
        per_case (int): Images of each kind of case. Defaults to 2.

    Raises:
        InputError: If a label is not known, or the runs were predicted on
            different test sets.
    """
    require_same_test_set(runs)
    labels = list(runs)
    baseline = labels[0] if baseline is None else baseline
    compared = labels[-1] if compared is None else compared
    for label in (baseline, compared):
        if label not in runs:
            raise InputError(f'no run is labelled "{label}", but {", ".join(labels)}')
    reference = runs[baseline]
    labeled = reference.labeled
    if labeled:
        errors = {label: mean_errors(found) for label, found in runs.items()}
        cases = choose_cases(errors[baseline], errors[compared], per_case)
    else:
        errors = {
            label: mean_differences(reference, found) for label, found in runs.items()
        }
        cases = choose_differences(errors[compared], per_case)

    columns = 1 + len(runs)
    # Of few methods, two images fit side by side.
    blocks = 2 if columns <= 5 else 1
    rows = -(-len(cases) // blocks)
    width = 1.5 * columns * blocks + 0.5
    figure = new_figure(width, 1.62 * rows + 1.1)
    grid = figure.subplots(rows, columns * blocks, squeeze=False)
    for axes in grid.flat:
        axes.set(xticks=[], yticks=[], frame_on=False)
    for case, cells in zip(cases, grid.reshape(-1, columns)):
        _draw_case(cells, case, reference, runs, errors)
    first = 'ground truth' if labeled else 'image'
    for axes, label in zip(grid[0], [first, *labels] * blocks):
        axes.set_title(textwrap.fill(label, 18), fontsize=9)
    rule = _rule(baseline, compared, len(errors[baseline]), labeled)
    figure.suptitle(textwrap.fill(rule, int(15 * width)), fontsize=8)
    save_figure(figure, path)
    return cases


def _draw_case(
    cells: Sequence[Axes],
    case: Case,
    reference: Predictions,
    runs: Dict[str, Predictions],
    errors: Dict[str, np.ndarray],
) -> None:
    """Draw one image under every method, the ground truth first."""
    image, metainfo = reference.image(case.index), reference.dataset.metainfo
    for axes in cells:
        draw_image(axes, image)
    if reference.labeled:
        truth, known = reference.keypoints, reference.visible
        draw_skeleton(cells[0], truth[case.index], metainfo, known[case.index])
    cells[0].set_ylabel(f'{case.reason}\nimage {case.index}', fontsize=7)
    for axes, (label, predictions) in zip(cells[1:], runs.items()):
        # A network of another input sees the image in another size.
        factor = np.divide(reference.input_size, predictions.input_size)
        draw_skeleton(axes, predictions.predicted[case.index] * factor, metainfo)
        error = f'{errors[label][case.index]:.1f} %'
        axes.set_xlabel(error, fontsize=7, labelpad=1)


def _rule(baseline: str, compared: str, num_images: int, labeled: bool) -> str:
    """What a figure says of its choice."""
    if not labeled:
        return (
            'There are no labels. Below each image: mean distance of its keypoints '
            f'from those of "{baseline}", in % of the input\'s side. Chosen by that of '
            f'"{compared}" among {num_images} images: the largest, those nearest to '
            'the median, and the smallest.'
        )
    return (
        "Below each image: mean distance of its keypoints, in % of the input's side. "
        f'Chosen by it among {num_images} images: the largest improvement from '
        f'"{baseline}" to "{compared}", the changes nearest to the median, the largest '
        f'deterioration, and the largest error of "{compared}".'
    )
