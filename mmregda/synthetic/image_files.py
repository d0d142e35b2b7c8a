"""Random streams and files of rendered images."""

from __future__ import annotations

from pathlib import Path
from typing import List, Sequence

import cv2
import numpy as np
from rich.console import Console

from .styles import Style


def generator(*key: int) -> np.random.Generator:
    """The random stream of one image, independent of those of all others.

    Args:
        *key (int): The seed and what tells the image from others.
    """
    return np.random.default_rng(np.random.SeedSequence(key))


def jpeg_options(rng: np.random.Generator, style: Style) -> List[int]:
    """Options of ``write_image`` for a JPEG of the style's quality."""
    low, high = style.jpeg_quality or (100, 100)
    return [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(low, high + 1))]


def write_image(path: Path, image: np.ndarray, options: Sequence[int] = ()) -> None:
    """Write an (H, W, 3) uint8 RGB image in the format of the path's suffix.

    Raises:
        OSError: If it cannot be encoded.
    """
    written, data = cv2.imencode(path.suffix, image[..., ::-1], list(options))
    if not written:
        raise OSError(f'{path} could not be encoded')
    path.write_bytes(data.tobytes())


def report_ready(folder: Path) -> None:
    """Say that a folder needs no writing."""
    Console(soft_wrap=True).print(
        f'{folder} is there already, nothing to do.', highlight=False
    )
