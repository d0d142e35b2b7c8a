#!/usr/bin/env python
"""How fast data is: images a second and worker, and what an index costs.

python benchmarks/data.py
python benchmarks/data.py --only pipelines --images 128 --rounds 15

Prints Markdown tables.

Pipelines: one process with one thread, as a data worker is, reads rendered
pairs through the training pipelines of the configs (or data of your own, where
RHD_ROOT and so on say). Beside it runs the same augmentation written with PIL,
on the same images, in turns within one run: only the ratio of the two carries
over to other machines. PIL's ends in normalised floats and ours in bytes that
the model's preprocessor normalises, so ours is timed with that as well, and the
ratio is that one's.

Stages: what each transform of these pipelines takes of it, and what comes after them:
collating a batch of 32, handing it from a worker to the training (pickling on both
sides), and normalising it.

Preprocessors: a batch of 32 + 32 images on its way into the model, by ours and by
MMPose's, in turns: the samples alone (on a GPU the rest is its own), and all of it.

Recolouring: colour jitter and blur of a whole batch of each domain as tensor
operations, on the GPU if there is one, from the same draws as the transforms: what it
takes there, what it saves of a core, and how far the bytes are apart; by more than 2,
there are no figures. Seconds are those of a core, but on a GPU those of the wall.

Decoders: the same files, decoded from memory by each library that is installed and
loads. Ours reads with OpenCV.

Index: made-up annotation files of the published sizes (about 700 MB for a while,
in the temporary folder), without images, which are not looked for. Memory is that
of the index by itself: what the process has more than before, once the reading is
done, and what each of several forked workers has for itself after it has read every
sample. MMEngine serialises the index so that workers share it; beside it, the same
as plain Python objects.
"""

# ruff: noqa: E402, I001
import os

# A data worker has one thread.
os.environ['OMP_NUM_THREADS'] = '1'

import argparse
import ctypes
import gc
import io
import itertools
import json
import math
import multiprocessing
import pickle
import random
import statistics
import sys
import tempfile
import time
from functools import partial
from multiprocessing.reduction import ForkingPickler
from pathlib import Path

import cv2
import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import Compose, pseudo_collate
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope
from mmpose.registry import DATASETS, MODELS, TRANSFORMS
from PIL import Image, ImageEnhance, ImageFilter

from mmregda.synthetic import write_h3d, write_lsp, write_rhd, write_surreal
from mmregda.datasets.collate import PackingCollate

from report import machine, table, track

CONFIGS = Path(__file__).resolve().parents[1] / 'configs'
MEAN, STD = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]
INPUT, HEATMAP, SIGMA = 256, 64, 2.0


# --- the reference -----------------------------------------------------------


class PILPipeline:
    """The augmentation of the paper, written with PIL and numpy.

    Args:
        rotation (float): As in ``RandomRotatedSubCrop``.
        area (tuple[float, float]): As in ``RandomRotatedSubCrop``.
        jitter (float): As in ``ColorJitter``.
        blur (float): As in ``RandomGaussianBlur``.
    """

    def __init__(
        self,
        rotation: float,
        area: tuple = (0.6, 1.0),
        jitter: float = 0.25,
        blur: float = 0.8,
    ) -> None:
        self.rotation, self.area, self.jitter, self.blur = rotation, area, jitter, blur

    def decode(self, path: str) -> Image.Image:
        return Image.open(path).convert('RGB')

    def augment(self, image: Image.Image, info: dict) -> tuple:
        """From the image to (3, 256, 256) floats and (K, 64, 64) heatmaps."""
        keypoints = info.get('keypoints')
        points = None if keypoints is None else keypoints[0].astype(np.float64)
        if info.get('hand_type') == 'right':
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
            x1, y1, x2, y2 = info['bbox'][0]
            box = np.array([image.width - 1 - x2, y1, image.width - 1 - x1, y2])
            if points is not None:
                points[:, 0] = image.width - 1 - points[:, 0]
        else:
            box = info['bbox'][0] if 'bbox' in info else (0, 0, *image.size)
        image, points = self._crop(image, points, box)
        image, points = self._rotate(image, points)
        image, points = self._cut_and_resize(image, points)
        image = self._recolor(image)
        tensor = torch.from_numpy(np.array(image)).permute(2, 0, 1).float().div_(255)
        mean, std = (torch.tensor(v).view(3, 1, 1) / 255 for v in (MEAN, STD))
        tensor = tensor.sub_(mean).div_(std)
        if points is None:
            return tensor, None
        weights = info['keypoints_visible'][0].copy()
        return tensor, torch.from_numpy(gaussian_heatmaps(points, weights))

    def _crop(self, image, points, box):
        x1, y1, x2, y2 = box
        side = round(max(x2 - x1, y2 - y1))
        left = round((x1 + x2 - side) / 2)
        upper = round((y1 + y2 - side) / 2)
        if points is not None:
            points = points - (left, upper)
        return image.crop((left, upper, left + side, upper + side)), points

    def _rotate(self, image, points):
        angle = random.uniform(-self.rotation, self.rotation)
        image = image.rotate(angle, Image.Resampling.BILINEAR)
        if points is not None:
            cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
            center = np.array(image.size) / 2
            turn = np.array([[cos, sin], [-sin, cos]])
            points = (points - center) @ turn.T + center
        return image, points

    def _cut_and_resize(self, image, points):
        side = math.sqrt(random.uniform(*self.area)) * image.width
        left, upper = (random.uniform(0, image.width - side) for _ in range(2))
        box = (left, upper, left + side, upper + side)
        image = image.crop(tuple(map(round, box)))
        image = image.resize((INPUT, INPUT), Image.Resampling.BILINEAR)
        if points is not None:
            points = (points - (left, upper)) * (INPUT / side)
        return image, points

    def _recolor(self, image):
        enhancers = [ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color]
        random.shuffle(enhancers)
        for enhancer in enhancers:
            factor = random.uniform(1 - self.jitter, 1 + self.jitter)
            image = enhancer(image).enhance(factor)
        radius = random.uniform(0, self.blur)
        return image.filter(ImageFilter.GaussianBlur(radius))


def gaussian_heatmaps(points: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(K, 64, 64) of (K, 2) in pixels of the input; zero beyond 3 sigma.

    The weight of a keypoint whose Gaussian lies wholly outside becomes 0.
    """
    heatmaps = np.zeros((len(points), HEATMAP, HEATMAP), dtype=np.float32)
    radius = int(3 * SIGMA)
    axis = np.arange(2 * radius + 1, dtype=np.float32) - radius
    patch = np.exp(-(axis**2 + axis[:, None] ** 2) / (2 * SIGMA**2))
    centers = (points * (HEATMAP / INPUT) + 0.5).astype(int)
    for heatmap, (x, y), k in zip(heatmaps, centers, range(len(points))):
        x1, x2 = max(0, x - radius), min(HEATMAP, x + radius + 1)
        y1, y2 = max(0, y - radius), min(HEATMAP, y + radius + 1)
        if x1 >= x2 or y1 >= y2 or not weights[k]:
            weights[k] = 0
            continue
        dx, dy = radius - x, radius - y
        heatmap[y1:y2, x1:x2] = patch[y1 + dy : y2 + dy, x1 + dx : x2 + dx]
    return heatmaps


# --- pipelines ---------------------------------------------------------------


class Pipeline:
    """A training pipeline of a config, decoding apart from the rest.

    Args:
        loader (dict): The dataloader's config.
        num_images (int): Images to time with.
    """

    def __init__(self, loader: dict, num_images: int) -> None:
        transforms = [TRANSFORMS.build(cfg) for cfg in loader['dataset']['pipeline']]
        self.decode, self.augment = transforms[0], Compose(transforms[1:])
        dataset = DATASETS.build(dict(loader['dataset'], pipeline=[]))
        count = min(num_images, len(dataset))
        self.infos = [dataset.get_data_info(i) for i in range(count)]
        rotation = next(t.rotation for t in transforms if hasattr(t, 'rotation'))
        self.reference = PILPipeline(rotation)
        self.preprocessor = MODELS.build(
            dict(type='PromptPoseDataPreprocessor', mean=MEAN, std=STD, bgr_to_rgb=True)
        )

    def time_ours(self) -> tuple:
        """Seconds an image: decoding, augmentation, normalisation."""
        clock = Clock()
        samples = []
        for info in self.infos:
            clock.start()
            results = self.decode(dict(info))
            clock.lap('decode')
            samples.append(self.augment(results))
            clock.lap('augment')
        for start in range(0, len(samples), 32):
            batch = samples[start : start + 32]
            batch = dict(
                inputs=[s['inputs'] for s in batch],
                data_samples=[s['data_samples'] for s in batch],
            )
            clock.start()
            self.preprocessor(batch, training=True)
            clock.lap('normalize')
        return clock.mean(len(self.infos), ('decode', 'augment', 'normalize'))

    def time_reference(self) -> tuple:
        """Seconds an image: decoding, augmentation with normalisation."""
        clock = Clock()
        for info in self.infos:
            clock.start()
            image = self.reference.decode(info['img_path'])
            clock.lap('decode')
            self.reference.augment(image, info)
            clock.lap('augment')
        return clock.mean(len(self.infos), ('decode', 'augment'))


class Clock:
    """Adds up seconds by what they were spent on."""

    def __init__(self) -> None:
        self._spent = {}

    def start(self) -> None:
        self._since = time.process_time()

    def lap(self, name: str) -> None:
        now = time.process_time()
        self._spent[name] = self._spent.get(name, 0.0) + now - self._since
        self._since = now

    def seconds(self, count: int) -> dict:
        """Of one out of so many, in the order in which they were first spent."""
        return {name: spent / count for name, spent in self._spent.items()}

    def mean(self, count: int, names: tuple) -> tuple:
        return tuple(self._spent[name] / count for name in names)


def load_pair(name: str) -> Config:
    return Config.fromfile(CONFIGS / '_base_' / 'pairs' / f'{name}.py')


def load_pipelines(data: Path, num_images: int) -> dict:
    render(data, num_images)
    hands, bodies = load_pair('rhd2h3d'), load_pair('surreal2lsp')
    # The augmentation is what is timed, and LSP is trained on without.
    bodies.unlabeled_target_loader.dataset.pipeline = bodies.unlabeled_pipeline
    loaders = {
        'RHD, labelled': hands.labeled_source_loader,
        'H3D, labelled': hands.labeled_target_loader,
        'H3D, unlabelled': hands.unlabeled_target_loader,
        'SURREAL, labelled': bodies.labeled_source_loader,
        'LSP, unlabelled': bodies.unlabeled_target_loader,
    }
    return {name: Pipeline(loader, num_images) for name, loader in loaders.items()}


def benchmark_pipelines(pipelines: dict, rounds: int) -> str:
    """The table of images a second."""
    rows = [
        [
            *('', 'image', 'decode (ms)', 'augment (ms)', 'images/s'),
            *('PIL images/s', 'ratio', 'ratio, normalised'),
        ],
    ]
    for name, pipeline in pipelines.items():
        rows.append([name, *time_pipeline(name, pipeline, rounds)])
    return table(rows)


def render(data: Path, num_images: int) -> None:
    """Render pairs, unless the environment says where data is."""
    # Readers leave some images out: hands too small, hands that hold something,
    # what is the test split's.
    count = max(8, 2 * num_images)
    writers = dict(
        RHD_ROOT=partial(write_rhd, num_train=count, num_test=1),
        H3D_ROOT=partial(write_h3d, num_images=count),
        SURREAL_ROOT=partial(write_surreal, num_train=count, num_test=1),
        LSP_ROOT=partial(write_lsp, num_images=num_images),
    )
    for variable, write in writers.items():
        if variable not in os.environ:
            os.environ[variable] = str(write(data, progress=True))


def time_pipeline(name: str, pipeline: Pipeline, rounds: int) -> list:
    """Medians over rounds of ours and PIL's in turns, as cells of the table."""
    # What is done once (caches, tables, lazy imports) belongs to no round.
    pipeline.time_ours(), pipeline.time_reference()
    ours, theirs = [], []
    for number in track(range(rounds), f'{name:<20}'):
        turns = [(ours, pipeline.time_ours), (theirs, pipeline.time_reference)]
        for results, timed in turns if number % 2 else reversed(turns):
            results.append(timed())
    decode, augment, _ = (statistics.median(part) for part in zip(*ours))
    reference = statistics.median(map(sum, theirs))
    with Image.open(pipeline.infos[0]['img_path']) as image:
        kind = f'{image.format} {image.width}x{image.height}'
    return [
        kind,
        f'{1e3 * decode:.2f}',
        f'{1e3 * augment:.2f}',
        f'{1 / (decode + augment):.0f}',
        f'{1 / reference:.0f}',
        spread([sum(pil) / (mine[0] + mine[1]) for mine, pil in zip(ours, theirs)]),
        spread([sum(pil) / sum(mine) for mine, pil in zip(ours, theirs)]),
    ]


def spread(ratios: list) -> str:
    return f'{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})'


# --- stages ------------------------------------------------------------------


def benchmark_stages(pipelines: dict, rounds: int) -> str:
    """The table of milliseconds a sample, a column for each pipeline."""
    columns = {
        name: time_stages(p, rounds) for name, p in track(pipelines.items(), 'stages')
    }
    # By their places, counted from the end; without labels a stage is missing.
    places = {}
    for times in columns.values():
        for place, stage in enumerate(reversed(times)):
            places[stage] = max(place, places.get(stage, 0))
    rows = [['ms a sample', *columns]]
    for stage in sorted(places, key=places.__getitem__, reverse=True):
        cells = (times.get(stage) for times in columns.values())
        rows.append([stage, *('' if s is None else f'{1e3 * s:.3f}' for s in cells)])
    totals = (sum(times.values()) for times in columns.values())
    rows.append(['all', *(f'{1e3 * total:.2f}' for total in totals)])
    return table(rows)


def time_stages(pipeline: Pipeline, rounds: int) -> dict:
    """Seconds of each stage for a sample, medians over the rounds, in order."""
    found = {}
    collate = PackingCollate(pseudo_collate)
    for number in range(rounds + 1):
        clock = Clock()
        samples = []
        for info in pipeline.infos:
            results = dict(info)
            clock.start()
            for transform in (pipeline.decode, *pipeline.augment.transforms):
                results = transform(results)
                clock.lap(type(transform).__name__)
            samples.append(results)
        for start in range(0, len(samples), 32):
            clock.start()
            batch = collate(samples[start : start + 32])
            clock.lap('collate')
            # Through shared memory: what is pickled has its handles.
            batch = pickle.loads(ForkingPickler.dumps(batch))
            clock.lap('from a worker to the training')
            pipeline.preprocessor(batch, training=True)
            clock.lap('normalise')
        if number:  # The first fills caches.
            for stage, seconds in clock.seconds(len(samples)).items():
                found.setdefault(stage, []).append(seconds)
    return {stage: statistics.median(seconds) for stage, seconds in found.items()}


# --- preprocessors -----------------------------------------------------------


def benchmark_preprocessors(pipelines: dict, rounds: int) -> str:
    """The table of what a batch takes from the loader into the model."""
    batches = [
        pseudo_collate(
            [
                pipeline.augment(pipeline.decode(dict(info)))
                for info in itertools.islice(itertools.cycle(pipeline.infos), 32)
            ]
        )
        for pipeline in (pipelines['RHD, labelled'], pipelines['H3D, unlabelled'])
    ]
    kinds = ('PromptPoseDataPreprocessor', 'PoseDataPreprocessor')
    options = dict(mean=MEAN, std=STD, bgr_to_rgb=True)
    seconds = {kind: [] for kind in kinds}
    for number in range(rounds + 1):
        for kind in kinds if number % 2 else reversed(kinds):
            preprocessor = MODELS.build(dict(type=kind, **options))
            clock = Clock()
            for batch in batches:
                clock.start()
                preprocessor.cast_data(batch['data_samples'])
                clock.lap('samples')
                preprocessor(batch, training=True)
                clock.lap('all')
            if number:  # The first fills caches.
                seconds[kind].append(clock.mean(1, ('samples', 'all')))
    rows = [
        ['32 + 32 images', 'samples (ms)', "of MMPose's", 'all (ms)', "of MMPose's"]
    ]
    for kind, times in seconds.items():
        rows.append([kind])
        for mine, theirs in zip(zip(*times), zip(*seconds[kinds[1]])):
            ratios = [one / other for one, other in zip(mine, theirs)]
            rows[-1] += [f'{1e3 * statistics.median(mine):.2f}', spread(ratios)]
    return table(rows)


# --- recolouring -------------------------------------------------------------


def benchmark_recolouring(pipelines: dict, rounds: int) -> str:
    """The table of colour jitter and blur, of 32 + 32 images."""
    generator = np.random.default_rng(0)
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    images, draws = [], []
    for name in ('RHD, labelled', 'H3D, unlabelled'):
        pipeline = pipelines[name]
        for index in range(32):
            results = dict(pipeline.infos[index % len(pipeline.infos)])
            for transform in (pipeline.decode, *pipeline.augment.transforms):
                if isinstance(transform, TRANSFORMS.get('ColorJitter')):
                    break
                results = transform(results)
            images.append(results['img'])
            factors = generator.uniform(0.75, 1.25, 3)
            radius = generator.uniform(0, 0.8)
            draws.append((generator.permutation(3), factors, radius))
    expected, seconds = recolor_on_cores(images, draws, rounds)
    arguments = as_tensors(images, draws, device)
    ways = {'tensors': recolor}
    if device == 'cuda':
        ways['tensors, compiled'] = torch.compile(recolor)
    rows = [
        ['64 images of 256 x 256', 'ms'],
        ['transforms, on one core', spread([1e3 * s for s in seconds])],
    ]
    for name, way in ways.items():
        apart = levels_apart(way(*arguments), expected)
        if apart.max() > LEVELS:
            sys.exit(
                f'error: {name} on {device} recolour by up to {apart.max()} levels '
                f'otherwise than the transforms, where rounding makes {LEVELS}: it is '
                'another computation, whose time would say nothing'
            )
        times = [1e3 * s for s in time_on(device, way, arguments, rounds)]
        rows.append([f'{name}, on {device}', spread(times)])
    return (
        f'{table(rows)}\n\nBytes apart: {apart.max()} at most, '
        f'{(apart > 1).mean():.2%} by more than 1.'
    )


# A sum that rounds otherwise is a level, and saturation makes more of it.
LEVELS = 2


def as_tensors(images: list, draws: list, device: str) -> tuple:
    """The arguments of :func:`recolor`, of images (H, W, 3) and their draws."""
    batch = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous()
    orders, factors, radii = (torch.from_numpy(np.stack(x)) for x in zip(*draws))
    arguments = (batch, orders, factors.float(), radii.float())
    return tuple(argument.to(device) for argument in arguments)


def levels_apart(found: torch.Tensor, expected: list) -> np.ndarray:
    """Differences of each byte, (B, H, W, 3), without their sign."""
    found = found.permute(0, 2, 3, 1).cpu().numpy()
    return np.abs(found.astype(int) - np.stack(expected))


def recolor_on_cores(images: list, draws: list, rounds: int) -> tuple:
    """The transforms' images, and seconds for all of them in each round."""
    jitter = TRANSFORMS.build(dict(type='ColorJitter'))
    blur = TRANSFORMS.build(dict(type='RandomGaussianBlur'))
    found, seconds = [], []
    for _ in range(rounds + 1):
        found.clear()
        clock = Clock()
        for image, (order, factors, radius) in zip(images, draws):
            enhancers = [jitter._ENHANCERS[kind] for kind in order]
            jitter._draw = partial(list, zip(enhancers, map(float, factors)))
            blur._draw = partial(float, radius)
            clock.start()
            found.append(blur(jitter(dict(img=image)))['img'])
            clock.lap('recolor')
        seconds.append(clock.seconds(1)['recolor'])
    return found, seconds[1:]


def recolor(
    images: torch.Tensor,
    orders: torch.Tensor,
    factors: torch.Tensor,
    radii: torch.Tensor,
) -> torch.Tensor:
    """``ColorJitter`` and ``RandomGaussianBlur`` of a batch.

    Args:
        images (Tensor): (B, 3, H, W) uint8, BGR.
        orders (Tensor): (B, 3), permutations of brightness, contrast, saturation.
        factors (Tensor): (B, 3), of each in its turn.
        radii (Tensor): (B,), in pixels.

    Returns:
        Tensor: Of the type and shape of the images.
    """
    x = images.float()
    weights = x.new_tensor((0.114, 0.587, 0.299)).view(3, 1, 1)
    for kind, factor in zip(orders.T, factors.T):
        kind, factor = (v.view(-1, 1, 1, 1) for v in (kind, factor))
        grey = (x * weights).sum(1, keepdim=True).round()
        level = torch.where(kind == 1, grey.mean((2, 3), keepdim=True).round(), grey)
        x = factor * x + (1 - factor) * level * (kind > 0)
        x = torch.where(kind == 2, x.round(), x.floor()).clamp(0, 255)
    # As many taps as OpenCV takes for images of bytes.
    reach = torch.floor(torch.round(6 * radii + 1) / 2)
    taps = torch.arange(-3, 4, device=x.device)
    kernel = torch.exp(-(taps**2) / (2 * radii[:, None].clamp(min=0.1) ** 2))
    kernel = kernel * (taps.abs() <= torch.where(radii > 0.1, reach, 0)[:, None])
    kernel = (kernel / kernel.sum(1, keepdim=True)).view(-1, 7, 1, 1, 1)
    for axis in (2, 3):
        pad = (0, 0, 3, 3) if axis == 2 else (3, 3, 0, 0)
        padded = torch.nn.functional.pad(x, pad, mode='reflect')
        length = x.shape[axis]
        x = sum(kernel[:, i] * padded.narrow(axis, i, length) for i in range(7))
    return x.round().to(torch.uint8)


def time_on(device: str, way, arguments: tuple, rounds: int) -> list:
    """Seconds of each round: of this core, as the transforms', or of the GPU."""
    on_gpu = device == 'cuda'
    now = time.perf_counter if on_gpu else time.process_time
    wait = torch.cuda.synchronize if on_gpu else lambda: None
    seconds = []
    for _ in range(rounds + 3):
        wait()
        start = now()
        way(*arguments)
        wait()
        seconds.append(now() - start)
    return seconds[3:]


# --- decoders ----------------------------------------------------------------


def benchmark_decoders(pipelines: dict, rounds: int) -> str:
    """The table of milliseconds to decode an image."""
    decoders, missing = find_decoders()
    names = ['RHD, labelled', 'H3D, labelled', 'SURREAL, labelled']
    columns = [time_decoders(pipelines[name], decoders, rounds) for name in names]
    rows = [['ms an image', *(f'{title}' for title, _ in columns)]]
    for decoder in decoders:
        rows.append([decoder])
        for _, times in columns:
            if decoder not in times:
                rows[-1].append('')
                continue
            pairs = zip(times[decoder], times['OpenCV'])
            ratio = spread([mine / opencv for mine, opencv in pairs])
            middle = 1e3 * statistics.median(times[decoder])
            rows[-1].append(f'{middle:.3f}, of OpenCV {ratio}')
    return '\n'.join([table(rows), *(f'\nNot here: {reason}' for reason in missing)])


def time_decoders(pipeline: Pipeline, decoders: dict, rounds: int) -> tuple:
    """The images' kind, and seconds an image of each decoder in each round."""
    files = [Path(info['img_path']).read_bytes() for info in pipeline.infos]
    with Image.open(pipeline.infos[0]['img_path']) as image:
        kind = f'{image.format} {image.width}x{image.height}'
    expected = decoders['OpenCV'](files[0]).shape
    found = {}
    for number in range(rounds + 1):
        turns = list(decoders.items())
        for name, decode in turns if number % 2 else reversed(turns):
            if kind.startswith('PNG') and name in JPEG_ONLY:
                continue
            clock = Clock()
            clock.start()
            for content in files:
                decode(content)
            clock.lap('decode')
            if number:
                found.setdefault(name, []).append(*clock.mean(len(files), ('decode',)))
            elif sorted(decode(files[0]).shape) != sorted(expected):
                raise RuntimeError(f'{name} decodes to another shape')
    return kind, found


JPEG_ONLY = ('PyTurboJPEG', 'simplejpeg')


def find_decoders() -> tuple:
    """Functions of a file's bytes by library, and why others are left out."""
    loaders = {
        'Pillow': _pillow,
        'torchvision': _torchvision,
        'PyTurboJPEG': _turbojpeg,
        'simplejpeg': _simplejpeg,
    }
    decoders, missing = {'OpenCV': _opencv()}, []
    for name, load in loaders.items():
        try:
            decoders[name] = load()
        except (ImportError, OSError, RuntimeError, AttributeError) as error:
            missing.append(f'{name} ({str(error).splitlines()[0]})')
    return decoders, missing


def _opencv():
    def decode(content):
        return cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)

    return decode


def _pillow():
    return lambda content: np.asarray(Image.open(io.BytesIO(content)).convert('RGB'))


def _torchvision():
    from torchvision.io import ImageReadMode, decode_image

    def decode(content):
        encoded = torch.frombuffer(bytearray(content), dtype=torch.uint8)
        return decode_image(encoded, ImageReadMode.RGB)

    example = cv2.imencode('.png', np.zeros((2, 2, 3), np.uint8))[1].tobytes()
    decode(example)  # Its library may not load.
    return decode


def _turbojpeg():
    from turbojpeg import TurboJPEG

    return TurboJPEG().decode


def _simplejpeg():
    from simplejpeg import decode_jpeg

    return partial(decode_jpeg, colorspace='BGR')


# --- index -------------------------------------------------------------------


def benchmark_index(data: Path, rhd: int, surreal: int, workers: int) -> str:
    """The table of index time and memory."""
    datasets = {
        f'RHD, {rhd:,} images': dict(
            type='RHDDataset', data_root=str(make_up_rhd(data, rhd))
        ),
        f'SURREAL, {surreal:,} images': dict(
            type='SURREALDataset', data_root=str(make_up_surreal(data, surreal))
        ),
    }
    rows = [
        [
            *('index of', 'kept as', 'samples', 'seconds', 'peak (MB)'),
            *('index (MB)', f"each of {workers} workers' own (MB)"),
        ],
    ]
    # A process of its own for each, forked from one that has only imported:
    # memory that one index leaves behind would be another's gain.
    server = multiprocessing.get_context('forkserver')
    server.set_forkserver_preload(['mmregda'])
    for name, cfg in track(datasets.items(), 'index'):
        for kept, serialize in (('bytes (the default)', True), ('objects', False)):
            receiver, sender = server.Pipe(duplex=False)
            arguments = (
                dict(cfg, serialize_data=serialize, require_images=False),
                workers,
                sender,
            )
            process = server.Process(target=measure_index, args=arguments)
            process.start()
            sender.close()
            cells = receiver.recv()
            process.join()
            rows.append([name, kept, *cells])
    return table(rows)


def measure_index(cfg: dict, workers: int, sender) -> None:
    """Build a dataset and say what it cost, as cells of the table."""
    MMLogger.get_instance('mmengine', log_level='ERROR')
    init_default_scope('mmpose')
    gc.collect()
    before = memory()
    start = time.perf_counter()
    dataset = DATASETS.build(cfg)
    seconds = time.perf_counter() - start
    gc.collect()
    # What the reading left free in the heap is not the index.
    ctypes.CDLL(None).malloc_trim(0)
    index = memory()['Pss'] - before['Pss']
    owned = own_memory_of_workers(dataset, workers)
    sender.send(
        [
            f'{len(dataset):,}',
            f'{seconds:.1f}',
            f'{peak_memory():.0f}',
            f'{index:.0f}',
            f'{statistics.mean(owned):.0f}' if owned else '',
        ]
    )


def own_memory_of_workers(dataset, count: int) -> list:
    """MB that each of several forks holds alone, once it has read all samples."""
    fork = multiprocessing.get_context('fork')
    barrier = fork.Barrier(count)
    pipes = [fork.Pipe(duplex=False) for _ in range(count)]
    processes = [
        fork.Process(target=read_all, args=(dataset, barrier, sender))
        for _, sender in pipes
    ]
    for process in processes:
        process.start()
    owned = [receiver.recv() for receiver, _ in pipes]
    for process in processes:
        process.join()
    return owned


def read_all(dataset, barrier, sender) -> None:
    for index in range(len(dataset)):
        dataset.get_data_info(index)
    # While one is still starting, it shares less; when one has ended, more is
    # the others' own.
    barrier.wait()
    used = memory()
    barrier.wait()
    sender.send(used['Private_Clean'] + used['Private_Dirty'])


def memory() -> dict:
    """This process's memory in MB, by the kernel's names."""
    lines = Path('/proc/self/smaps_rollup').read_text().splitlines()[1:]
    entries = (line.split() for line in lines)
    return {name.rstrip(':'): int(kb) / 1024 for name, kb, _ in entries}


def peak_memory() -> float:
    """MB of the most this process has held."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def make_up_rhd(data: Path, count: int) -> Path:
    """RHD's annotation of so many images."""
    root = data / 'RHD_published_v2'
    generator = np.random.default_rng(0)
    annotation = {}
    for index in range(count):
        uv_vis = np.zeros((42, 3))
        hand = slice(0, 21) if index % 2 else slice(21, 42)
        uv_vis[hand, :2] = generator.uniform(60, 260, (21, 2))
        uv_vis[hand, 2] = 1
        annotation[index] = dict(
            uv_vis=uv_vis, xyz=generator.uniform(-1, 1, (42, 3)), K=np.eye(3)
        )
    path = root / 'training' / 'anno_training.pickle'
    path.parent.mkdir(parents=True)
    path.write_bytes(pickle.dumps(annotation, protocol=2))
    return root


def make_up_surreal(data: Path, count: int) -> Path:
    """SURREAL's annotation of so many images, in three runs."""
    root = data / 'surreal_processed'
    generator = np.random.default_rng(0)
    # A thousand poses in turn: as costly to read as all different ones.
    poses = [
        json.dumps(
            dict(
                keypoint2d=generator.uniform(0, 256, (24, 2)).tolist(),
                keypoint3d=generator.uniform(-1, 1, (24, 3)).tolist(),
                intrinsic_matrix=np.eye(3).tolist(),
            )
        )
        for _ in range(1000)
    ]
    for run in range(3):
        names = [f'{index:08d}.jpg' for index in range(run, count, 3)]
        path = root / 'train' / f'run{run}.json'
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, 'w') as file:
            for index, name in enumerate(names):
                pose = poses[index % len(poses)][1:]
                file.write(f'{",["[not index]}{{"name": "{name}", {pose}\n')
            file.write(']' if names else '[]')
    return root


# --- face --------------------------------------------------------------------


TABLES = ['pipelines', 'stages', 'preprocessors', 'recolouring', 'decoders', 'index']


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--only', choices=TABLES)
    parser.add_argument('--images', type=int, default=64, help='of each dataset (64)')
    parser.add_argument('--rounds', type=int, default=11, help='(11)')
    parser.add_argument('--rhd', type=int, default=41258, help='made-up images (41258)')
    parser.add_argument(
        '--surreal', type=int, default=300_000, help='made-up images (300000)'
    )
    parser.add_argument(
        '--workers', type=int, default=2, help='that share an index (2)'
    )
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    MMLogger.get_instance('mmengine', log_level='ERROR')
    init_default_scope('mmpose')
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    random.seed(0)
    print(machine())
    benchmarks = dict(
        pipelines=benchmark_pipelines,
        stages=benchmark_stages,
        preprocessors=benchmark_preprocessors,
        recolouring=benchmark_recolouring,
        decoders=benchmark_decoders,
    )
    with tempfile.TemporaryDirectory() as data:
        if args.only != 'index':
            pipelines = load_pipelines(Path(data, 'images'), args.images)
            for name, benchmark in benchmarks.items():
                if args.only in (None, name):
                    print(f'\n{benchmark(pipelines, args.rounds)}', flush=True)
            print(
                f'\nMedians of {args.rounds} rounds of {args.images} images at '
                f'{INPUT} pixels (smallest to largest ratio), in seconds of one core.'
            )
        if args.only in (None, 'index'):
            if not Path('/proc/self/smaps_rollup').exists():
                sys.exit('error: the index is measured on Linux only')
            index = Path(data, 'index')
            found = benchmark_index(index, args.rhd, args.surreal, args.workers)
            print(f'\n{found}')


if __name__ == '__main__':
    main()
