"""Two models' predictions side by side: a page that needs nothing but a browser."""

from __future__ import annotations

import base64
import os
from collections import Counter
from typing import Any, Dict, List, Sequence, Tuple

import cv2
import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined

from mmregda.datasets.image_loading import read_image
from mmregda.files import write_text
from mmregda.progress import track

# Around a box there is so much of its longer side beside it.
_MARGIN = 0.15


def write_comparison(
    path: str,
    title: str,
    models: Tuple[str, str],
    found: Tuple[Dict[str, Any], Dict[str, Any]],
    moved: np.ndarray,
    root: str,
    scores: Sequence[Sequence[str]] = (),
    thr: float = 0.05,
    side: int = 192,
    progress: str = '',
) -> int:
    """Write a page of all boxes, those on which two models differ most first.

    It holds its images, and opens from disk without a network.

    Args:
        path (str): The HTML file.
        title (str): Its heading.
        models (tuple[str, str]): What the two are called.
        found (tuple[dict, dict]): Of :func:`~mmregda.apis.predict_images`, on the same
            dataset.
        moved (np.ndarray): (N, K), of :func:`~mmregda.apis.compare.displacements`.
        root (str): The folder of the images.
        scores (Sequence[Sequence[str]]): Rows of a table: what was measured, and of
            either model.
        thr (float): From where on a keypoint counts as moved, in units of the box's
            longer side. Defaults to 0.05.
        side (int): Of the pictures, in pixels. Defaults to 192.
        progress (str): What to show beside a progress bar; without it there is none.
    """
    (category,) = found[0]['categories']
    files = {image['id']: image['file_name'] for image in found[0]['images']}
    order = np.argsort(-moved.mean(axis=1), kind='stable')
    # The boxes of one image one after the other in the file are read at once.
    pictures = [''] * len(order)
    items: List[dict] = [{}] * len(order)
    opened, pixels = None, None
    several = Counter(a['image_id'] for a in found[0]['annotations'])
    places = np.argsort(order)
    pairs = list(zip(*(f['annotations'] for f in found)))
    for index, pair in enumerate(track(pairs, progress)):
        name = files[pair[0]['image_id']]
        if name != opened:
            opened, pixels = name, read_image(os.path.join(root, name))
        corner, scale, pictures[places[index]] = _crop(pixels, pair[0]['bbox'], side)
        values = [np.reshape(annotation['keypoints'], (-1, 3)) for annotation in pair]
        points = [((v[:, :2] - corner) * scale).round(1).tolist() for v in values]
        items[places[index]] = dict(
            file=name,
            box=pair[0]['bbox'] if several[pair[0]['image_id']] > 1 else None,
            points=points,
            scores=[np.round(a['keypoint_scores'], 2).tolist() for a in pair],
            moved=moved[index].round(4).tolist(),
        )
    environment = Environment(
        loader=PackageLoader('mmregda.visualization'),
        autoescape=True,
        undefined=StrictUndefined,
    )
    names = category['keypoints']
    text = environment.get_template('comparison.html').render(
        title=title,
        models=models,
        rows=scores,
        keypoints=[
            (name, (column > thr).mean(), np.median(column), np.quantile(column, 0.9))
            for name, column in zip(names, moved.T)
        ],
        whole=((moved > thr).mean(), np.median(moved), np.quantile(moved, 0.9)),
        num_images=len(files),
        left_out=found[0]['left_out'],
        data=dict(
            names=names,
            links=[[a - 1, b - 1] for a, b in category['skeleton']],
            thr=thr,
            side=side,
            items=items,
        ),
        pictures=pictures,
    )
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    write_text(path, text)
    return os.path.getsize(path)


def _crop(
    image: np.ndarray, box: Sequence[float], side: int
) -> Tuple[np.ndarray, float, str]:
    """The square around a box: its corner, its scale, and the picture as base64."""
    x, y, w, h = box
    length = max(w, h, 1) * (1 + 2 * _MARGIN)
    corner = np.array([x + w / 2, y + h / 2]) - length / 2
    scale = side / length
    warp = np.column_stack([np.eye(2) * scale, -scale * corner])
    # Large photographs are averaged, not sampled.
    if scale < 0.5:
        half = dict(fx=2 * scale, fy=2 * scale, interpolation=cv2.INTER_AREA)
        image = cv2.resize(image, None, **half)
        warp = np.column_stack([np.eye(2) / 2, -scale * corner])
    picture = cv2.warpAffine(image, warp, (side, side), borderValue=(230, 226, 222))
    _, content = cv2.imencode('.jpg', picture, [cv2.IMWRITE_JPEG_QUALITY, 72])
    return corner, scale, base64.b64encode(content.tobytes()).decode()
