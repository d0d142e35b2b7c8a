"""Predictions on a folder of images, as files."""

from __future__ import annotations

import json
import os
from typing import Any, Dict, List, Optional

import cv2
import numpy as np
from mmengine.structures import InstanceData
from mmpose.structures import PoseDataSample
from mmpose.visualization import PoseLocalVisualizer

from mmregda.datasets.coco_files import arrays_of, by_image
from mmregda.datasets.image_loading import read_image
from mmregda.errors import InputError
from mmregda.files import atomic_write, write_text
from mmregda.progress import track


def write_predictions(path: str, found: Dict[str, Any]) -> None:
    """Write predictions as JSON, a file that is whole or not there.

    Args:
        path (str): The file; its folder is made if it is missing.
        found (dict): From :func:`mmregda.apis.predict_images`, which
            describes it.
    """
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    write_text(path, json.dumps(found, allow_nan=False) + '\n')


def draw_predictions(
    folder: str,
    found: Dict[str, Any],
    root: str,
    metainfo: dict,
    num: Optional[int] = None,
    progress: str = '',
) -> List[str]:
    """Draw predictions with MMPose's visualizer, boxes and all keypoints.

    Args:
        folder (str): Where the pictures go, JPEGs under the images' own paths
            with ``.jpg`` added.
        found (dict): From :func:`mmregda.apis.predict_images`.
        root (str): The folder of the images.
        metainfo (dict): The dataset's parsed metainfo.
        num (int, optional): How many images, evenly spread over all; by
            default all of them.
        progress (str): What to show beside a progress bar; without it there is none.

    Raises:
        InputError: If the pictures would become images of ``root`` themselves,
            or if an image cannot be read any more.
    """
    root = os.path.realpath(root)
    if os.path.commonpath([root, os.path.realpath(folder)]) == root:
        raise InputError(
            f'pictures in "{folder}" would be among the images of "{root}" from '
            'then on. Write them elsewhere.'
        )
    on = by_image(found)
    images = found['images']
    if num is not None and num < len(images):
        places = np.linspace(0, len(images) - 1, num).round().astype(int)
        images = [images[place] for place in places]
    visualizer = PoseLocalVisualizer()
    visualizer.set_dataset_meta(metainfo)
    paths = []
    for image in track(images, progress):
        paths.append(os.path.join(folder, f'{image["file_name"]}.jpg'))
        pixels = read_image(os.path.join(root, image['file_name']))
        drawn = _drawn(visualizer, pixels, on[image['id']])
        _write_jpeg(paths[-1], drawn)
    return paths


def _drawn(
    visualizer: PoseLocalVisualizer, image: np.ndarray, annotations: List[dict]
) -> np.ndarray:
    """An image, (h, w, 3) uint8 BGR, with what is predicted on it."""
    values, boxes = arrays_of(annotations)
    # As thick for a hand in a large photograph as for a small crop.
    side = float(np.median(boxes[:, 2:].max(axis=1)))
    visualizer.radius = max(1, round(side / 80))
    visualizer.line_width = max(1, round(side / 120))
    instances = InstanceData(
        bboxes=np.hstack([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]]),
        keypoints=values[..., :2],
        keypoint_scores=np.array([a['keypoint_scores'] for a in annotations]),
    )
    drawn = visualizer.add_datasample(
        'prediction',
        np.ascontiguousarray(image[..., ::-1]),
        PoseDataSample(pred_instances=instances),
        draw_gt=False,
        draw_bbox=True,
        # What is uncertain is drawn, too.
        kpt_thr=-np.inf,
    )
    return np.ascontiguousarray(drawn[..., ::-1])


def _write_jpeg(path: str, image: np.ndarray) -> None:
    """Write a picture as a file that is whole or not there."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    _, content = cv2.imencode('.jpg', image, [cv2.IMWRITE_JPEG_QUALITY, 90])
    with atomic_write(path) as partial:
        content.tofile(partial)
