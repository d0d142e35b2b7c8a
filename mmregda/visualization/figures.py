"""What the figures share: colours and files."""

from __future__ import annotations

import os

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from mmregda.files import atomic_write

COLORS = (
    '#000000',
    '#0072B2',
    '#D55E00',
    '#009E73',
    '#CC79A7',
    '#E69F00',
    '#56B4E9',
    '#999999',
)
"""tuple[str]: Of Okabe and Ito (2008): told apart with any colour vision."""


def new_figure(width: float, height: float) -> Figure:
    """A figure in inches that lays itself out and needs no display."""
    figure = Figure(figsize=(width, height), layout='constrained')
    FigureCanvasAgg(figure)
    return figure


def save_figure(figure: Figure, path: str, dpi: int = 110) -> None:
    """Write a figure as a file that is whole or not there.

    Args:
        figure (Figure): The figure.
        path (str): The file; its ending says the format (PNG, JPEG, PDF, SVG).
        dpi (int): Pixels an inch. Defaults to 110.
    """
    path = os.fspath(path)
    ending = os.path.splitext(path)[1].lstrip('.').lower() or 'png'
    # Thin coloured lines do not survive JPEG's usual halving of colour.
    jpeg = dict(pil_kwargs=dict(quality=88, subsampling=0))
    options = jpeg if ending in ('jpg', 'jpeg') else {}
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    with atomic_write(path) as partial:
        figure.savefig(partial, format=ending, dpi=dpi, **options)
