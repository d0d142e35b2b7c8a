#!/usr/bin/env python
"""What pseudo labels and their loss cost, against two other ways to make them.

python benchmarks/pseudo_heatmaps.py
python benchmarks/pseudo_heatmaps.py --batch 4 --rounds 5 --device cuda

From logits to the ground truth and ground false heatmaps of RegDA, three ways on
the same logits, in turns within one run:

- ours: argmax, two axes and their outer product, the sum without one's own;
- table: the argmax on the CPU, a table with the heatmap of every position
  (size^4 numbers), and a K x K matrix for the sum, through NumPy and back;
- dense: the squared distance and the exponential at every position, and the
  K x K matrix, on the device.

Prints two Markdown tables: the ways side by side, with the two losses forward and
backward beside them, and how ours and the dense way grow with the number of
keypoints. Ratios are medians over the rounds, with the quartiles behind them; they
carry over to other machines, the milliseconds do not. The process keeps the memory
that it frees, as a training does, for all three.
"""

from __future__ import annotations

import argparse
import time
from typing import Callable, Dict, List, Tuple

import numpy as np
import torch
from report import machine, quartiles, track
from torch import Tensor

from mmregda.codecs import argmax_keypoints, gaussian_heatmaps
from mmregda.engine.host_memory import keep_freed_memory
from mmregda.models.losses import GroundFalseKLLoss, KeypointKLLoss, ground_false

SIGMA = 2.0
KEYPOINTS = (5, 10, 21, 42, 68, 133)
Heatmaps = Tuple[Tensor, Tensor]


def ours(logits: Tensor) -> Heatmaps:
    """Ground truth and ground false heatmaps, as in training."""
    keypoints = argmax_keypoints(logits)
    truth = gaussian_heatmaps(keypoints, logits.shape[-2:], SIGMA)
    return truth, ground_false(truth)


def dense(logits: Tensor) -> Heatmaps:
    """The formulas as they stand."""
    count, height, width = logits.shape[1:]
    position = logits.flatten(2).argmax(dim=-1)[..., None, None]
    x, y = position % width, position // width
    columns = torch.arange(width, device=logits.device)
    rows = torch.arange(height, device=logits.device)[:, None]
    dx, dy = (columns - x).float(), (rows - y).float()
    truth = torch.exp(-(dx**2 + dy**2) / (2 * SIGMA**2))
    truth = truth * ((dx.abs() <= 3 * SIGMA) & (dy.abs() <= 3 * SIGMA))
    others = 1 - torch.eye(count, device=logits.device)
    return truth, (others @ truth.flatten(2)).view_as(truth).clamp(0, 1)


class Table:
    """A heatmap for every position, looked up on the CPU.

    Args:
        size (int): Height and width of the heatmaps.
    """

    def __init__(self, size: int) -> None:
        grid = np.arange(size)
        distance = np.abs(grid - grid[:, None])
        axis = np.exp(-(distance**2) / (2 * SIGMA**2)) * (distance <= 3 * SIGMA)
        axis = axis.astype(np.float32)
        self.heatmaps = axis[:, None, :, None] * axis[None, :, None, :]

    def __call__(self, logits: Tensor) -> Heatmaps:
        batch, count, _, width = logits.shape
        position = logits.cpu().numpy().reshape(batch, count, -1).argmax(-1)
        truth = self.heatmaps[position // width, position % width]
        others = 1 - np.eye(count, dtype=np.float32)
        false = (others @ truth.reshape(batch, count, -1)).reshape(truth.shape)
        heatmaps = (truth, false.clip(0, 1))
        return tuple(torch.from_numpy(x).to(logits.device) for x in heatmaps)


def losses(logits: Tensor) -> None:
    """Both losses of RegDA on the target, forward and backward."""
    truth, _ = ours(logits)
    for loss in (KeypointKLLoss(), GroundFalseKLLoss()):
        leaf = logits.detach().requires_grad_()
        loss(leaf, truth).backward()


def seconds(function: Callable, logits: Tensor) -> float:
    """How long one call takes, the device's work included."""
    synchronize = torch.cuda.synchronize if logits.is_cuda else lambda: None
    synchronize()
    start = time.perf_counter()
    function(logits)
    synchronize()
    return time.perf_counter() - start


def measure(
    functions: Dict[str, Callable], logits: Tensor, rounds: int
) -> Dict[str, List[float]]:
    """Time functions in turns; the first round does not count."""
    times: Dict[str, List[float]] = {name: [] for name in functions}
    for _ in track(range(rounds + 1), f'{logits.shape[1]} keypoints'):
        for name, function in functions.items():
            times[name].append(seconds(function, logits))
    return {name: values[1:] for name, values in times.items()}


def ratio(times: Dict[str, List[float]], name: str) -> str:
    """How many times as long as ours, round by round."""
    return quartiles([a / b for a, b in zip(times[name], times['ours'])])


def spread(times: List[float], unit: float) -> str:
    return quartiles([value / unit for value in times], '.3g')


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--batch', type=int, default=32)
    parser.add_argument('--keypoints', type=int, default=21)
    parser.add_argument('--size', type=int, default=64, help='of the heatmaps')
    parser.add_argument('--rounds', type=int, default=30)
    parser.add_argument('--device', default='cpu')
    args = parser.parse_args()
    keep_freed_memory()  # as the training loops do

    def draw(count: int) -> Tensor:
        generator = torch.Generator().manual_seed(count)
        shape = (args.batch, count, args.size, args.size)
        return torch.randn(shape, generator=generator).to(args.device)

    table = Table(args.size)
    logits = draw(args.keypoints)
    for other in (table, dense):
        for a, b in zip(ours(logits), other(logits)):
            torch.testing.assert_close(a, b, atol=1e-5, rtol=0)

    print(
        f'{machine()}\n{args.batch} x {args.keypoints} heatmaps of '
        f'{args.size} x {args.size} on {args.device}; '
        f'the table has {table.heatmaps.nbytes / 2**20:.0f} MiB\n'
    )
    functions = dict(ours=ours, table=table, dense=dense, losses=losses)
    times = measure(functions, logits, args.rounds)
    print('| way | ms | times ours |\n| --- | --: | --: |')
    for name in ('ours', 'table', 'dense'):
        print(f'| {name} | {spread(times[name], 1e-3)} | {ratio(times, name)} |')
    print(f'| ours, with both losses | {spread(times["losses"], 1e-3)} | |')

    print('\n| keypoints | ours, µs a keypoint | dense, times ours |')
    print('| --: | --: | --: |')
    for count in KEYPOINTS:
        times = measure(dict(ours=ours, dense=dense), draw(count), args.rounds)
        each = spread(times['ours'], 1e-6 * count)
        print(f'| {count} | {each} | {ratio(times, "dense")} |')


if __name__ == '__main__':
    main()
