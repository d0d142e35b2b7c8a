"""Looking through whole datasets for what would spoil a training."""

from __future__ import annotations

import copy
import csv
import hashlib
import io
import os
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Tuple

import numpy as np
from mmengine.config import ConfigDict
from mmengine.registry import init_default_scope
from mmpose.registry import DATASETS

from mmregda.config_files import class_of
from mmregda.datasets.coco_datasets import Look, build_dataset
from mmregda.datasets.coco_files import beyond, other_size
from mmregda.datasets.data_files import read_data_file
from mmregda.datasets.image_loading import decode_image
from mmregda.datasets.pipelines import name_of
from mmregda.datasets.published import PublishedDataset
from mmregda.datasets.unlabeled import UnlabeledDataset
from mmregda.datasets.unlabeled_images import UnlabeledImages
from mmregda.errors import InputError, message_of
from mmregda.files import write_text
from mmregda.progress import track

UNREADABLE = 'unreadable dataset'
LABELED_TARGET = 'labelled training target'
MISSING = 'missing image'
ZERO_SIZE = 'zero-size image'
DAMAGED = 'damaged image'
EMPTY_BOX = 'empty box'
BOX_OUTSIDE = 'box outside of the image'
KEYPOINT_OUTSIDE = 'keypoint outside of the image'
IN_BOTH = 'image in training and test'
LEFT_OUT = 'left out by skip_corrupt'
LEFT_OUT_BY_READER = 'left out by the reader'
OTHER_SIZE = "size in the file not the image's"
ODD_FILE = 'odd annotation file'


class Finding(NamedTuple):
    """One thing that was found.

    Attributes:
        kind (str): One of this module's constants, such as ``MISSING``.
        split (str): The split it is in, such as ``'train/source'``.
        path (str): The image, or the dataset's folder.
        detail (str): What exactly.
        spoils (bool): Whether it spoils training or evaluation. What does not
            is to be known and no more: a photograph in the unlabelled training
            target as well as in the test is the protocol of some papers.
    """

    kind: str
    split: str
    path: str
    detail: str
    spoils: bool = True


@dataclass
class SplitSummary:
    """What a split holds.

    Attributes:
        name (str): Such as ``'val/target'``.
        num_samples (int): Samples, of which an image may have several.
        num_images (int): Images.
        box_sides (list[float]): The longer side of each box, in pixels; a sample
            without a box counts as its whole image.
        num_over_border (int): Boxes that reach out of their image.
        num_labeled (int): Instances with keypoints, if labels were looked at.
        visible (float): The share of their keypoints that are labelled with a
            visibility above 0.
    """

    name: str
    num_samples: int = 0
    num_images: int = 0
    box_sides: List[float] = field(default_factory=list)
    num_over_border: int = 0
    num_labeled: int = 0
    visible: float = 0.0


@dataclass
class DatasetReport:
    """All that :func:`check_datasets` found."""

    splits: List[SplitSummary]
    findings: List[Finding]

    @property
    def problems(self) -> List[Finding]:
        """list[Finding]: Those that spoil training or evaluation."""
        return [finding for finding in self.findings if finding.spoils]

    def write(self, folder: str) -> None:
        """Write ``summary.md``, one page, and ``findings.csv``, all of them."""
        os.makedirs(folder, exist_ok=True)
        table = io.StringIO()
        writer = csv.writer(table, lineterminator='\n')
        writer.writerow(['kind', 'split', 'path', 'detail', 'spoils'])
        for finding in self.findings:
            writer.writerow([*finding[:-1], 'yes' if finding.spoils else 'no'])
        write_text(os.path.join(folder, 'summary.md'), self.to_markdown())
        write_text(os.path.join(folder, 'findings.csv'), table.getvalue())

    def to_markdown(self, examples: int = 3) -> str:
        """One page: what there is, what is wrong, some examples of each."""
        number = len(self.problems)
        verdict = f'**{number} problem{"s" * (number > 1)} found.**'
        if not number:
            verdict = 'Nothing was found that would spoil training or evaluation.'
        lines = ['# Dataset check', '', verdict, '']
        lines += _table_of_counts(self.splits)
        for kind in dict.fromkeys(finding.kind for finding in self.findings):
            found = [finding for finding in self.findings if finding.kind == kind]
            harmless = sum(not finding.spoils for finding in found)
            few = f'{harmless} of them spoil' if harmless < len(found) else 'spoils'
            note = f' ({few} nothing)' if harmless else ''
            splits = Counter(finding.split for finding in found).items()
            lines += ['', f'## {kind}: {len(found)}{note}', '']
            lines += ['In ' + ', '.join(f'{name}: {n}' for name, n in splits) + '.', '']
            for finding in found[:examples]:
                lines.append(f'- {finding.split}: `{finding.path}`: {finding.detail}')
            if len(found) > examples:
                lines.append(f'- and {len(found) - examples} more')
        return '\n'.join(lines) + '\n'


def domains_of(dataloader: Optional[dict]) -> Dict[str, dict]:
    """The dataset configs behind a dataloader config, by domain.

    Of an ordinary MMPose dataloader it is under the empty name; a domain may be None.

    Raises:
        InputError: If a dataloader has no dataset.
    """
    if not dataloader:
        return {}
    loaders = {'': dataloader} if 'dataset' in dataloader else dict(dataloader)
    datasets = {}
    for domain, loader in loaders.items():
        if loader is None:
            continue
        if not isinstance(loader, dict) or 'dataset' not in loader:
            raise InputError(
                f'the dataloader has no dataset{f" for the {domain}" * bool(domain)}: '
                'expected dict(dataset=..., ...), or one for source and one for target'
            )
        datasets[domain] = loader['dataset']
    return datasets


def check_config(
    cfg: dict, num_workers: Optional[int] = None, progress: bool = True
) -> DatasetReport:
    """Read all data of a config and look through it.

    Args:
        cfg (dict): A config with ``train_dataloader``, ``val_dataloader`` or
            ``test_dataloader``, of one domain or of ``source`` and ``target``.
        num_workers (int, optional): Threads; None for one a CPU.
        progress (bool): Whether to show progress bars.

    Raises:
        InputError: If the config names no dataset, or none can be read.
    """
    init_default_scope('mmpose')
    datasets, findings = {}, []
    for name, dataset_cfg in _splits_of(cfg):
        looks: List[Look] = []
        try:
            dataset = build_dataset(_without_pipeline(dataset_cfg), looks)
            dataset.full_init()
        except Exception as error:
            # The readers of other packages raise whatever a damaged file leads
            # them to.
            own = isinstance(error, InputError)
            message = message_of(error) if own else f'{type(error).__name__}: {error}'
            findings.append(Finding(UNREADABLE, name, _root_of(dataset_cfg), message))
        else:
            first = dataset.get_data_info(0) if len(dataset) else {}
            if name.startswith('train/target') and 'keypoints' in first:
                detail = (
                    f'{dataset_cfg["type"]} hands its labels to training; wrap it in '
                    'UnlabeledDataset'
                )
                root = _root_of(dataset_cfg)
                findings.append(Finding(LABELED_TARGET, name, root, detail))
                dataset = UnlabeledDataset(dataset, pipeline=[])
            datasets[name] = dataset
            findings += _left_out(name, dataset)
            findings += _of_files(name, looks)
    if not datasets:
        if not findings:
            raise InputError('the config has no dataloader with a dataset to check')
        raise InputError(
            'no dataset of the config can be read:\n'
            + '\n'.join(f'{finding.split}: {finding.detail}' for finding in findings)
        )
    report = check_datasets(datasets, num_workers, progress)
    report.findings[:0] = findings
    return report


def check_datasets(
    datasets: Dict[str, Any], num_workers: Optional[int] = None, progress: bool = True
) -> DatasetReport:
    """Look through datasets, each image and each sample of them.

    - Images that are missing, of no bytes, cut short or not decodable.
    - Boxes without an area, or wholly outside of the image.
    - Labelled keypoints (visibility above 0) outside of the image.
    - Images in a split whose name starts with ``train`` and in another whose
      name does not, in one file or in two.

    Args:
        datasets (dict): MMPose datasets by the name of their split, which
            starts with ``train`` if they are trained on. Of an
            ``UnlabeledDataset`` only images and boxes are looked at.
        num_workers (int, optional): Threads; None for one a CPU.
        progress (bool): Whether to show progress bars.
    """
    images: Dict[str, _Image] = {}
    summaries, findings = [], []
    paths_of: Dict[str, List[str]] = {}
    for name, dataset in datasets.items():
        infos = [dataset.get_data_info(i) for i in range(len(dataset))]
        paths_of[name] = list(dict.fromkeys(_path_of(info) for info in infos))
        new = [path for path in paths_of[name] if path not in images]
        # Decoders leave the other threads alone.
        with ThreadPoolExecutor(num_workers or os.cpu_count()) as threads:
            inspected = threads.map(_inspect_image, new)
            shown = name if progress and new else ''
            images.update(zip(new, track(inspected, shown, len(new))))
        for path in paths_of[name]:
            if images[path].problem:
                kind, detail = images[path].problem
                findings.append(Finding(kind, name, path, detail))
        summary, found = _check_samples(name, dataset, infos, images)
        summary.num_images = len(paths_of[name])
        summaries.append(summary)
        findings += found
    unlabeled = {summary.name for summary in summaries if not summary.num_labeled}
    findings += _shared_images(paths_of, images, unlabeled)
    return DatasetReport(summaries, findings)


class _Image(NamedTuple):
    """What is known of an image file.

    Attributes:
        size (tuple[int, int], optional): Width and height in pixels.
        digest (bytes): Of its bytes; empty if there are none.
        problem (tuple[str, str], optional): Kind and detail.
    """

    size: Optional[Tuple[int, int]]
    digest: bytes
    problem: Optional[Tuple[str, str]]


def _inspect_image(path: str) -> _Image:
    """Read and decode an image as training would."""
    if not os.path.exists(path):
        return _Image(None, b'', (MISSING, 'there is no such file'))
    try:
        content = read_data_file(path, 'image')
    except InputError as error:
        return _Image(None, b'', (DAMAGED, str(error)))
    if not content:
        return _Image(None, b'', (ZERO_SIZE, 'the file has no bytes'))
    digest = hashlib.blake2b(content, digest_size=16).digest()
    try:
        height, width = decode_image(content, path).shape[:2]
    except InputError as error:
        return _Image(None, digest, (DAMAGED, str(error)))
    return _Image((width, height), digest, None)


def _path_of(info: dict) -> str:
    # Where the folder lies is the dataset's affair; where the file lies is ours.
    return os.path.abspath(info['img_path'])


def _check_samples(
    name: str, dataset: Any, infos: List[dict], images: Dict[str, _Image]
) -> Tuple[SplitSummary, List[Finding]]:
    summary, findings = SplitSummary(name, len(infos)), []
    labeled = not isinstance(dataset, UnlabeledDataset)
    shares = []
    for info in infos:
        path = _path_of(info)
        size = images[path].size
        faults = [*_faults_of_boxes(info, size, summary)]
        problem = size and other_size(info.get('stated_size'), *size)[0]
        if problem:
            faults.append((OTHER_SIZE, f'{problem} (the boxes file)'))
        if labeled and info.get('keypoints') is not None:
            keypoints = np.asarray(info['keypoints'], dtype=np.float64)
            seen = np.asarray(info.get('keypoints_visible', 1)) > 0
            # MMPose may pack visibility and weight together.
            seen = seen[..., 0] if seen.ndim == 3 else seen
            seen = np.broadcast_to(seen, keypoints.shape[:-1])
            faults += _faults_of_keypoints(keypoints, seen, size)
            summary.num_labeled += len(keypoints)
            shares.append(seen.mean())
        findings += [Finding(kind, name, path, detail) for kind, detail in faults]
    summary.visible = float(np.mean(shares)) if shares else 0.0
    return summary, findings


def _faults_of_boxes(
    info: dict, size: Optional[Tuple[int, int]], summary: SplitSummary
) -> Iterator[Tuple[str, str]]:
    """Faults of a sample's boxes, which are counted in the summary."""
    if info.get('bbox') is None:
        summary.box_sides += [float(max(size))] if size else []
        return
    for box in np.asarray(info['bbox'], dtype=np.float64).reshape(-1, 4):
        summary.box_sides.append(float((box[2:] - box[:2]).max()))
        if (box[2:] <= box[:2]).any():
            yield EMPTY_BOX, f'box {_numbers(box)}'
        elif size and ((box[:2] >= size).any() or (box[2:] <= 0).any()):
            yield BOX_OUTSIDE, f'box {_numbers(box)}, image {size[0]}x{size[1]}'
        if size:
            summary.num_over_border += int(beyond(box.reshape(2, 2), size).any())


def _faults_of_keypoints(
    keypoints: np.ndarray, seen: np.ndarray, size: Optional[Tuple[int, int]]
) -> Iterator[Tuple[str, str]]:
    """Those of (N, K, D) keypoints, of which (N, K) are labelled."""
    if not size:
        return
    points = keypoints[..., :2]
    outside = beyond(points, size) & seen
    if outside.any():
        first = tuple(np.argwhere(outside)[0])
        more = f' and {outside.sum() - 1} more' * (outside.sum() > 1)
        yield (
            KEYPOINT_OUTSIDE,
            f'keypoint {first[-1]} at {_numbers(points[first])}{more}, image '
            f'{size[0]}x{size[1]}',
        )


def _numbers(values: np.ndarray) -> str:
    return '(' + ', '.join(f'{value:g}' for value in values.round(1)) + ')'


def _shared_images(
    paths_of: Dict[str, List[str]], images: Dict[str, _Image], unlabeled: set
) -> Iterator[Finding]:
    """Images in training and in test, be it in two files."""
    train = [name for name in paths_of if name.startswith('train')]
    for trained in train:
        by_content = {images[path].digest: path for path in paths_of[trained][::-1]}
        by_content.pop(b'', None)
        for tested in paths_of:
            for path in paths_of[tested] if tested not in train else ():
                twin = by_content.get(images[path].digest)
                if twin is not None:
                    where = f'is in {trained} too'
                    where += f', as "{twin}"' if twin != path else ''
                    spoils = trained not in unlabeled
                    yield Finding(IN_BOTH, tested, path, where, spoils)


def _splits_of(cfg: dict) -> Iterator[Tuple[str, dict]]:
    """Names and dataset configs, what is combined taken apart."""
    seen: List[dict] = []
    for phase in ('train', 'val', 'test'):
        for domain, dataset in domains_of(cfg.get(f'{phase}_dataloader')).items():
            name = f'{phase}/{domain}' if domain else phase
            for suffix, leaf in _leaves(dataset):
                # Many a config tests on what it validates on.
                if phase != 'test' or leaf not in seen:
                    seen.append(leaf)
                    yield name + suffix, leaf


def _leaves(dataset: dict) -> Iterator[Tuple[str, dict]]:
    """The datasets within wrappers, except that labels stay wrapped off."""
    if class_of(dataset, DATASETS) is not UnlabeledDataset:
        if 'datasets' in dataset:
            for index, part in enumerate(dataset['datasets']):
                for suffix, leaf in _leaves(part):
                    yield f'/{index}{suffix}', leaf
            return
        if 'dataset' in dataset:
            yield from _leaves(dataset['dataset'])
            return
    yield '', dataset


def _without_pipeline(dataset_cfg: dict) -> ConfigDict:
    """A dataset's config to ask for annotations only."""
    plain = ConfigDict(copy.deepcopy(dict(dataset_cfg)))
    # With it the metainfo may be of other keypoints than the file.
    plain.pipeline = [
        t for t in plain.get('pipeline') or () if name_of(t) == 'KeypointConverter'
    ]
    plain.pop('views', None)
    if plain.get('dataset'):
        plain.dataset = _without_pipeline(plain.dataset)
    plain.pop('lazy_init', None)
    if issubclass(
        class_of(plain, DATASETS) or object, (PublishedDataset, UnlabeledImages)
    ):
        # All images that are missing or damaged are to be found, one by one.
        plain.require_images = False
    return plain


def _root_of(dataset_cfg: dict) -> str:
    inner = dataset_cfg.get('dataset') or dataset_cfg
    return str(inner.get('data_root') or inner.get('root') or '')


def _left_out(name: str, dataset: Any) -> List[Finding]:
    """What an ``UnlabeledImages`` goes on without, as it was asked to."""
    inner = getattr(dataset, 'dataset', dataset)
    return [
        Finding(LEFT_OUT, name, inner.root, detail, spoils=False)
        for detail in getattr(inner, 'left_out', ())
    ]


def _of_files(name: str, looks: List[Look]) -> Iterator[Finding]:
    """What there is to say about COCO-style files."""
    for look in looks:
        for file in look.files:
            summary = file.summary_of_left_out()
            if summary:
                yield Finding(LEFT_OUT_BY_READER, name, file.path, summary)
            for line in file.notes:
                yield Finding(ODD_FILE, name, file.path, line)
        for path, problem in look.other_sizes.items():
            yield Finding(OTHER_SIZE, name, path, problem)


def _table_of_counts(splits: List[SplitSummary]) -> List[str]:
    rows = [
        ['', *(split.name for split in splits)],
        ['---', *['--:'] * len(splits)],
        ['samples', *(str(split.num_samples) for split in splits)],
        ['images', *(str(split.num_images) for split in splits)],
        ['longer side of the box, median (range)'],
        ['boxes that reach out of the image'],
        ['visible keypoints'],
    ]
    for split in splits:
        box, over, seen = '', '', 'not looked at'
        if split.box_sides:
            low, middle, high = np.percentile(split.box_sides, (0, 50, 100))
            box = f'{middle:.0f} ({low:.0f} to {high:.0f})'
            over = f'{100 * split.num_over_border / len(split.box_sides):.1f} %'
        if split.num_labeled:
            seen = f'{100 * split.visible:.1f} %'
        for row, cell in zip(rows[4:], (box, over, seen)):
            row.append(cell)
    return [f'| {" | ".join(cells)} |' for cells in rows]
