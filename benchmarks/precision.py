#!/usr/bin/env python
"""What bfloat16 does to pseudo labels: how often an argmax is another.

python benchmarks/precision.py configs/quickstart/regda.py \
    work_dirs/quickstart/regda/iter_300.pth --images 32

Prints a Markdown table: of the keypoints of each domain's test images, the part
whose argmax is not that of float32, the part whose maximum is attained at several
positions, and the mean distance to the argmax of float32 where it is another, in
heatmap pixels. With the last layer in bfloat16 as all others, and with the last
layer in float32, as the model is trained in mixed precision.
"""

from __future__ import annotations

import argparse
from contextlib import nullcontext
from functools import partial
from typing import Tuple
from unittest.mock import patch

import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmpose.registry import DATASETS, MODELS
from torch import Tensor

import mmregda  # noqa: F401
from mmregda.codecs import argmax_keypoints
from mmregda.engine.checkpoints import read_checkpoint, weights_of


def compare(logits: Tensor, reference: Tensor) -> Tuple[float, float, float]:
    """How the argmax of logits compares with that of others.

    Args:
        logits (Tensor): (B, K, h, w).
        reference (Tensor): Of the same shape, in float32.

    Returns:
        tuple[float, float, float]: The part that differs, the part that is a
        tie, and the mean distance in pixels of those that differ.
    """
    apart = (
        (argmax_keypoints(logits) - argmax_keypoints(reference)).float().norm(dim=-1)
    )
    flat = logits.flatten(2)
    ties = (flat == flat.amax(dim=-1, keepdim=True)).sum(dim=-1) > 1
    differs = apart > 0
    distance = apart[differs].mean().item() if differs.any() else 0.0
    return differs.float().mean().item(), ties.float().mean().item(), distance


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config')
    parser.add_argument('checkpoint')
    parser.add_argument('--images', type=int, default=32, help='of each domain')
    args = parser.parse_args()
    cfg = Config.fromfile(args.config)
    init_default_scope('mmpose')
    cfg.model.backbone.init_cfg = None
    model = MODELS.build(cfg.model)
    model.load_state_dict(weights_of(read_checkpoint(args.checkpoint), args.checkpoint))
    model.eval()
    print('| domain | last layer | another argmax | ties | pixels apart |')
    print('| --- | --- | --: | --: | --: |')
    for domain, loader in cfg.val_dataloader.items():
        dataset = DATASETS.build(loader.dataset)
        samples = [dataset[i] for i in range(min(args.images, len(dataset)))]
        keys = ('inputs', 'data_samples')
        batch = {key: [sample[key] for sample in samples] for key in keys}
        images = model.data_preprocessor(batch)['inputs']
        reference = model.head(model.extract_feat(images))
        last = model.head.final_layer
        # As it was before keep_precision.
        cast = patch.object(last, 'forward', partial(type(last).forward, last))
        for name, layer in (('float32', nullcontext()), ('bfloat16', cast)):
            with layer, torch.autocast(images.device.type, dtype=torch.bfloat16):
                logits = model.head(model.extract_feat(images))
            differs, ties, distance = compare(logits, reference)
            print(
                f'| {domain} | {name} | {differs:.2%} | {ties:.2%} | {distance:.2f} |'
            )


if __name__ == '__main__':
    main()
