#!/usr/bin/env python
"""What an iteration costs, of the time and memory of a naive one.

python benchmarks/step.py
python benchmarks/step.py --networks resnet101 --size 256 --batch 4 \\
    --precision fp32 bf16 --channels-last --fused
python benchmarks/step.py --methods regda dd mcd dann dan source_only --check

Prints a Markdown table. The naive iterations (benchmarks/naive.py) are the
formulas line by line: for RegDA three passes forward and backward, pseudo labels on
the CPU from a lookup table, four accuracies on the CPU. All get the same networks,
preprocessor and batches of bytes, in turns within one run: ratios are medians over the
rounds, the quartiles behind them, and the only figures here that carry over to other
machines. Each has a process of its own, and all are there at once. On a CPU all keep
the memory that they free, as a run does (mmregda/engine/host_memory.py). Memory is
the peak above what the imports take (on a GPU: what PyTorch allocated there). On a GPU
all get their batches stacked and from pinned memory, and "fp32" is PyTorch's default
there: convolutions in TF32. Allow for minutes before the first figure.

Networks are ResNets as the simple baseline has them, "hrnet" (MMPose's HRNetV2-W18
for RHD), "rtmpose-m" (with RegDA alone; --size is its height, and 3/4 of it its width),
or any config of MMPose's with a heatmap head (mmpose::...). Each of
--channels-last, --fused and --compile adds a row, on top of those before it.
Of compiled ones the first iteration's time stands below the table: all of them compile
at once.

--check trains both for some iterations on the same batches and compares them. It
fails if parameters differ by more than a tenth of what another memory layout makes of
the same sums (and by more than a millionth of their way, for that may be nothing), or
running statistics by 1e-3: one pass too many or too few makes about 0.1 of them.
"""

from __future__ import annotations

# ruff: noqa: E402, I001
import mmregda  # noqa: F401 Before torch: it sets how threads wait.

import argparse
import gc
import multiprocessing
import re
import statistics
import sys
import time
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Dict, Iterable, Iterator, List, NamedTuple, Sequence

import numpy as np
import torch
from mmengine.config import Config
from mmengine.hub import get_config
from mmengine.logging import MMLogger
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData, PixelData
from mmpose.registry import MODELS
from mmpose.structures import PoseDataSample
from torch import Tensor, nn

from mmregda.engine.hooks.compile_hook import (
    CompileHook,
    begin_iteration,
    compile_for_training,
)
from mmregda.engine.host_memory import keep_freed_memory
from mmregda.codecs import gaussian_heatmaps

from naive import NAIVE, NaiveSimCCRegDA
from report import machine, quartiles, table, track

CONFIGS = Path(__file__).resolve().parents[1] / 'configs'
HRNET = (
    'mmpose::hand_2d_keypoint/topdown_heatmap/rhd2d/'
    'td-hm_hrnetv2-w18_8xb64-210e_rhd2d-256x256.py'
)
RTMPOSE = 'mmpose::body_2d_keypoint/rtmpose/coco/rtmpose-m_8xb256-420e_coco-256x192.py'
SIGMA = 2.0
# Of RTMPose along x and y, in bins, of which there are two in a pixel.
SIMCC_SIGMA = (4.9, 5.66)
# What CompileHook takes by itself.
MODE = CompileHook().options['mode']


class Setup(NamedTuple):
    """One of those that take turns."""

    naive: bool
    method: str = 'regda'
    network: str = 'resnet50'
    size: int = 128
    batch: int = 8
    keypoints: int = 21
    device: str = 'cpu'
    precision: str = 'fp32'
    channels_last: bool = False
    fused: bool = False
    compiled: str = ''  # in which of PyTorch's modes

    @property
    def name(self) -> str:
        switches = ('channels_last', 'fused', 'compiled')
        extras = [s.replace('_', '-') for s in switches if getattr(self, s)]
        if self.compiled not in ('', MODE):
            extras[-1] += f' ({self.compiled})'
        side = 'naive' if self.naive else 'ours'
        return ', '.join([f'{side} {self.precision}', *extras])

    @property
    def is_simcc(self) -> bool:
        return self.network.startswith('rtmpose')

    @property
    def width(self) -> int:
        return self.size * 3 // 4 if self.is_simcc else self.size

    @property
    def shown_size(self) -> str:
        return f'{self.size} x {self.width}' if self.is_simcc else str(self.size)


# --- network, optimisers, data -----------------------------------------------


def model_config(setup: Setup) -> Config:
    """The config of a model that starts from random weights."""
    resnet = re.fullmatch(r'resnet(\d+)', setup.network)
    if resnet:
        cfg = Config.fromfile(
            CONFIGS / '_base_' / 'models' / 'simple_baseline_res101_hand21.py'
        ).model
        depth = int(resnet[1])
        cfg.backbone.depth = depth
        cfg.neck.in_channels = 512 if depth < 50 else 2048
        cfg.head.update(conv_out_channels=(256,), conv_kernel_sizes=(3,))
    else:
        known = {'hrnet': HRNET, 'rtmpose-m': RTMPOSE}
        name = known.get(setup.network, setup.network)
        load = get_config if '::' in name else Config.fromfile
        cfg = load(name).model
        # As the configs here have it: both sides get their batches alike.
        preprocessor = dict(type='PromptPoseDataPreprocessor', non_blocking=True)
        cfg.data_preprocessor.update(preprocessor)
    cfg.type = 'DomainAdaptiveTopdown'
    cfg.adaptation = method_config(setup).adaptation
    cfg.backbone.init_cfg = None
    cfg.head.out_channels = setup.keypoints
    size = (setup.width, setup.size)
    if setup.is_simcc:
        cfg.backbone.pop('_scope_')  # MMPose has the network, too.
        cfg.backbone.norm_cfg = dict(type='BN')
        cfg.head.input_size = cfg.head.decoder.input_size = size
        cfg.head.in_featuremap_size = tuple(side // 32 for side in size)
        cfg.head.decoder.sigma = SIMCC_SIGMA
    else:
        cfg.head.loss = dict(type='KeypointKLLoss')
        heatmap_size = tuple(side // 4 for side in size)
        cfg.head.decoder = dict(
            type='MSRAHeatmap', input_size=size, heatmap_size=heatmap_size, sigma=SIGMA
        )
    cfg.train_cfg = dict(compute_acc=False)
    return cfg


def method_config(setup: Setup) -> Config:
    return Config.fromfile(CONFIGS / '_base_' / 'adaptations' / f'{setup.method}.py')


def build_model(setup: Setup) -> nn.Module:
    torch.manual_seed(0)
    model = MODELS.build(model_config(setup))
    model.init_weights()
    # At its start the gradient of an adversary is 0: nothing to compare.
    for module in model.modules():
        if hasattr(module, 'iteration'):
            module.iteration += 1000
    model.to(setup.device).train()
    if setup.channels_last:
        model.to(memory_format=torch.channels_last)
    if setup.compiled:
        for module in model.players()['feature_extractor']:
            compile_for_training(module, mode=setup.compiled)
    return model


def made_up_batch(setup: Setup, seed: int) -> tuple:
    """Noise as MMPose's dataloaders give it, and the target's labels."""
    generator = torch.Generator().manual_seed(seed)
    per_pixel = 2 if setup.is_simcc else 1 / 4
    width, height = (int(side * per_pixel) for side in (setup.width, setup.size))
    on_gpu = setup.device == 'cuda'  # whose dataloaders stack and pin

    def pinned(tensor: Tensor) -> Tensor:
        return tensor.pin_memory() if on_gpu else tensor

    domains, labels = {}, []
    for domain in ('source', 'target'):
        shape = (setup.batch, 3, setup.size, setup.width)
        images = torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)
        places = torch.rand(setup.batch, setup.keypoints, 2, generator=generator)
        places = (places * torch.tensor([width, height])).floor()
        if setup.is_simcc:
            labels = axis_labels(places, (width, height))
        else:
            labels = [gaussian_heatmaps(places, (height, width), SIGMA)]
        samples = []
        for maps in zip(*labels):
            sample = PoseDataSample()
            if domain == 'source':
                weights = torch.rand(1, setup.keypoints, generator=generator) > 0.2
                sample.gt_instance_labels = InstanceData(
                    keypoint_weights=pinned(weights.float())
                )
                if setup.is_simcc:
                    for axis, values in zip('xy', maps):
                        key = f'keypoint_{axis}_labels'
                        sample.gt_instance_labels[key] = pinned(values[None])
                else:
                    sample.gt_fields = PixelData(heatmaps=pinned(maps[0]))
            samples.append(sample)
        inputs = pinned(images) if on_gpu else list(images)
        domains[domain] = dict(inputs=inputs, data_samples=samples)
    labels = tuple(label.to(setup.device) for label in labels)
    return domains, labels if setup.is_simcc else labels[0]


def axis_labels(places: Tensor, size: Sequence[int]) -> List[Tensor]:
    """Gaussians of peak 1 along x and y, (B, K, W) and (B, K, H)."""
    return [
        torch.exp(-((torch.arange(n) - place[..., None]) ** 2) / (2 * sigma**2))
        for place, n, sigma in zip(places.unbind(-1), size, SIMCC_SIGMA)
    ]


class Contender:
    """A model and all that it takes to train it.

    Args:
        setup (Setup): What is timed.
        learning_rate (float): Factor of the config's rates. At 0, which costs as
            much, weights stay as they are, and no contender drifts into numbers
            that are slower.
    """

    def __init__(self, setup: Setup, learning_rate: float = 0.0) -> None:
        self.setup = setup
        self.model = build_model(setup)
        cfg = method_config(setup)
        players = self.model.players()
        for player in players:
            optimizer = cfg.optim_wrapper[player].optimizer
            optimizer.lr *= learning_rate
            if setup.fused:
                optimizer.fused = True
        if not setup.naive:
            if setup.precision == 'bf16':
                cfg.optim_wrapper.update(type='PlayerAmpOptimWrapper', dtype='bfloat16')
            self.optimizers = build_optim_wrapper(self.model, cfg.optim_wrapper)
            self.torch_optimizers = [w.optimizer for w in self.optimizers.values()]
            return
        optimizers = {}
        for player, modules in players.items():
            options = dict(cfg.optim_wrapper[player].optimizer)
            kind = getattr(torch.optim, options.pop('type'))
            parameters = [p for module in modules for p in module.parameters()]
            optimizers[player] = kind(parameters, **options)
        in_bf16 = partial(torch.autocast, setup.device, torch.bfloat16)
        precision = in_bf16 if setup.precision == 'bf16' else nullcontext
        self.torch_optimizers = list(optimizers.values())
        if setup.is_simcc:
            self.naive = NaiveSimCCRegDA(self.model, optimizers, SIMCC_SIGMA, precision)
        else:
            naive = NAIVE[setup.method]
            self.naive = naive(self.model, optimizers, SIGMA, precision)
        self.naive.iteration = 1000

    def step(self, batch: tuple) -> None:
        """One iteration."""
        data, target_heatmaps = batch
        begin_iteration(self.setup.compiled)
        if 'target' not in self.model.adaptation.domains:
            data = dict(source=data['source'])
        if self.setup.naive:
            self.naive(data, target_heatmaps)
        else:
            self.model.train_step(data, self.optimizers)


# --- time and memory ---------------------------------------------------------


class Cost(NamedTuple):
    """What one of those that take turns has taken."""

    seconds: List[float]  # of an iteration, in each round
    first: float  # seconds of the first one, in which PyTorch compiles
    memory: float  # MB, the peak


class Process:
    """A contender in a process of its own, which has its own memory.

    Args:
        setup (Setup): What is timed.
        threads (int): Of its processor.
    """

    def __init__(self, setup: Setup, threads: int) -> None:
        # Forked from one that has only imported: it holds no model. After a fork
        # there is no GPU.
        way = 'spawn' if setup.device == 'cuda' else 'forkserver'
        server = multiprocessing.get_context(way)
        if way == 'forkserver':
            server.set_forkserver_preload(['mmregda'])
        self.pipe, theirs = server.Pipe()
        arguments = (setup, threads, theirs)
        self.process = server.Process(target=serve, args=arguments, daemon=True)
        self.process.start()
        theirs.close()

    def ask(self, question: str) -> float:
        """``'seconds'`` of one more iteration, or what is known of those before."""
        self.send(question)
        return self.receive()

    def send(self, question: str) -> None:
        with self._failing():
            self.pipe.send(question)

    def receive(self) -> float:
        with self._failing():
            return self.pipe.recv()

    @contextmanager
    def _failing(self) -> Iterator[None]:
        try:
            yield
        except (EOFError, ConnectionError):
            sys.exit('error: a process that was timed has failed; see above')

    def stop(self) -> None:
        self.pipe.close()
        self.process.join()


def serve(setup: Setup, threads: int, pipe: multiprocessing.connection.Connection):
    """Answer to :meth:`Process.ask` until its end hangs up."""
    prepare(threads)
    on_gpu = setup.device == 'cuda'
    if not on_gpu:
        keep_freed_memory()  # as the training loops do
    gc.collect()
    before = 0.0 if on_gpu else resident_memory('VmRSS')
    contender, batch = Contender(setup), made_up_batch(setup, seed=0)
    while True:
        try:
            question = pipe.recv()
        except EOFError:
            return
        if question == 'seconds':
            pipe.send(seconds_of(contender, batch))
        elif on_gpu:
            # From the start: CUDA graphs take theirs when they are made.
            pipe.send(torch.cuda.max_memory_allocated() / 2**20)
        else:
            pipe.send(resident_memory('VmHWM') - before)


def seconds_of(contender: Contender, batch: tuple) -> float:
    wait_for(contender.setup.device)
    start = time.perf_counter()
    contender.step(batch)
    wait_for(contender.setup.device)
    return time.perf_counter() - start


def wait_for(device: str) -> None:
    if device == 'cuda':
        torch.cuda.synchronize()


def measure(setups: Sequence[Setup], rounds: int, threads: int) -> Dict[Setup, Cost]:
    """What each of those that take turns costs."""
    processes = {setup: Process(setup, threads) for setup in setups}
    for process in processes.values():  # Together: compiling takes minutes.
        process.send('seconds')
    first = {setup: process.receive() for setup, process in processes.items()}
    for process in processes.values():
        for _ in range(2):
            process.ask('seconds')
    seconds = {setup: [] for setup in setups}
    title = f'{setups[0].network}, {setups[0].method}'
    for number in track(range(rounds), title):
        # Who comes after whom changes too.
        for setup in setups if number % 2 else reversed(setups):
            seconds[setup].append(processes[setup].ask('seconds'))
    costs = {}
    for setup, process in processes.items():
        costs[setup] = Cost(seconds[setup], first[setup], process.ask('memory'))
        process.stop()
    return costs


def resident_memory(name: str) -> float:
    """MB that this process holds (VmRSS), or has held at most (VmHWM)."""
    lines = Path('/proc/self/status').read_text().splitlines()
    return next(int(x.split()[1]) / 1024 for x in lines if x.startswith(f'{name}:'))


# --- equality ----------------------------------------------------------------


class Difference(NamedTuple):
    """How far two trainings are apart, at most, beside how far they went."""

    parameters: float
    statistics: float
    moved: float


def compare(setup: Setup, other: Setup, iterations: int) -> Difference:
    """Train two on the same batches."""
    contenders = [Contender(s, learning_rate=1.0) for s in (setup, other)]
    start = {n: p.detach().clone() for n, p in contenders[0].model.named_parameters()}
    for seed in range(iterations):
        batch = made_up_batch(setup, seed)
        for contender in contenders:
            torch.manual_seed(seed)  # for what a method draws
            contender.step(batch)
    one, two = (contender.model for contender in contenders)
    return Difference(
        largest(one.named_parameters(), dict(two.named_parameters())),
        largest(statistics_of(one), dict(statistics_of(two))),
        largest(one.named_parameters(), start),
    )


def statistics_of(model: nn.Module) -> Iterator[tuple]:
    return (x for x in model.named_buffers() if 'running' in x[0])


def largest(tensors: Iterator[tuple], others: Dict[str, Tensor]) -> float:
    return max((value - others[name]).abs().max().item() for name, value in tensors)


def check(setups: List[Setup], iterations: int) -> None:
    """Print the table of differences; exit if one is too large.

    Two orders of the same sums differ by rounding, and training enlarges it; by
    how much, a naive training with another order of the tensors in memory tells.
    What running statistics may differ by is fixed: they are of normalised features,
    about 1, and each pass of one domain is a tenth of them.

    Raises:
        SystemExit: If ours trains anything else.
    """
    rows = [
        [
            *('', 'parameters moved by', 'ours differs by', 'reordered differs by'),
            *('running statistics: ours', 'reordered'),
        ]
    ]
    failed = []
    for setup in track(setups, 'parameters'):
        ours = compare(setup, setup._replace(naive=False), iterations)
        reordered = compare(setup, setup._replace(channels_last=True), iterations)
        name = f'{setup.network}, {setup.method}'
        figures = [
            *(ours.moved, ours.parameters, reordered.parameters),
            *(ours.statistics, reordered.statistics),
        ]
        rows.append([name, *(f'{figure:.1e}' for figure in figures)])
        rounding = max(reordered.parameters / 10, 1e-6 * ours.moved)
        if not (ours.parameters <= rounding and ours.statistics <= 1e-3):
            failed.append(name)
    print(table(rows))
    if failed:
        sys.exit(f'error: not what the naive iteration trains: {"; ".join(failed)}')


# --- face --------------------------------------------------------------------


def contenders_of(args: argparse.Namespace, network: str, method: str) -> List[Setup]:
    """The naive one of each precision, then ours with more and more switched on."""
    common = Setup(
        naive=True,
        method=method,
        network=network,
        size=args.size,
        batch=args.batch,
        keypoints=args.keypoints,
        device=args.device,
    )
    # None unless asked for.
    modes = [] if args.compile is None else args.compile or [MODE]
    switches = [
        dict(channels_last=True) if args.channels_last else None,
        dict(fused=True) if args.fused else None,
        *(dict(compiled=mode) for mode in modes),
    ]
    setups = []
    for precision in args.precision:
        setup = common._replace(precision=precision)
        setups.append(setup)
        setup = setup._replace(naive=False)
        setups.append(setup)
        for switch in filter(None, switches):
            setup = setup._replace(**switch)
            setups.append(setup)
    return [setups[0], setups[-1]] if args.ends else setups


def rows_of(costs: Dict[Setup, Cost]) -> List[List[str]]:
    """The table of those that took turns; the first is what all are compared with."""
    first = next(iter(costs))
    rows = [
        [
            *('', 'ms', 'of naive, same precision', f'of naive {first.precision}'),
            *('peak memory (MB)', 'of naive'),
        ]
    ]
    for setup, cost in costs.items():
        naives = (s for s in costs if s.naive and s.precision == setup.precision)
        alike = next(naives, None)
        ratios = []
        for naive in (alike, first):
            if naive in (None, setup):
                ratios.append('')
                continue
            pairs = zip(cost.seconds, costs[naive].seconds)
            ratios.append(quartiles([mine / theirs for mine, theirs in pairs]))
        of_naive = f'{cost.memory / costs[alike or first].memory:.2f}'
        rows.append(
            [
                f'{setup.network}, {setup.method}, {setup.shown_size} px, '
                f'{setup.batch} + {setup.batch}: {setup.name}',
                f'{1e3 * statistics.median(cost.seconds):.0f}',
                *ratios,
                f'{cost.memory:.0f}',
                '' if setup == alike else of_naive,
            ]
        )
    return rows


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_network_options(parser)
    add = parser.add_argument
    add('--precision', nargs='+', default=['fp32'], choices=('fp32', 'bf16'))
    add('--channels-last', action='store_true', help='of ours, a row more')
    add('--fused', action='store_true', help='optimisers of ours, a row more')
    add(
        '--compile',
        nargs='*',
        metavar='MODE',
        help=f"ours' feature extractor, a row for each of PyTorch's modes ({MODE})",
    )
    add('--threads', type=int, default=torch.get_num_threads())
    add_device_option(parser)
    add(
        '--ends',
        action='store_true',
        help='of all rows the first, a naive one, and the last, with everything on',
    )
    add('--rounds', type=int, default=15, help='(15)')
    add('--check', action='store_true', help='compare parameters instead of time')
    add('--iterations', type=int, default=2, help='of the check (2)')
    return parser.parse_args()


def add_network_options(
    parser: argparse.ArgumentParser, methods: Iterable[str] = NAIVE
) -> None:
    add = parser.add_argument
    add('--networks', nargs='+', default=['resnet18'], help='(resnet18)')
    add('--methods', nargs='+', default=['regda'], choices=sorted(methods))
    add('--size', type=int, default=128, help='of the input, in pixels (128)')
    add('--batch', type=int, default=8, help='images of each domain (8)')
    add('--keypoints', type=int, default=21, help='(21)')


def add_device_option(parser: argparse.ArgumentParser) -> None:
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    choices = ('cpu', 'cuda')
    parser.add_argument('--device', default=device, choices=choices, help=f'({device})')


def prepare(threads: int) -> None:
    MMLogger.get_instance('mmengine', log_level='ERROR')
    init_default_scope('mmpose')
    torch.set_num_threads(threads)
    np.random.seed(0)


def main() -> None:
    args = parse_args()
    prepare(args.threads)
    if args.methods != ['regda'] and any('rtmpose' in name for name in args.networks):
        sys.exit('error: of rtmpose-m there is a naive iteration of regda alone')
    print(machine(), flush=True)
    pairs = [(network, method) for network in args.networks for method in args.methods]
    if args.check:
        check([contenders_of(args, *pair)[0] for pair in pairs], args.iterations)
        return
    for pair in pairs:
        setups = contenders_of(args, *pair)
        costs = measure(setups, args.rounds, args.threads)
        print(f'\n{table(rows_of(costs))}', flush=True)
        for setup, cost in costs.items():
            if setup.compiled:
                print(f'\n{setup.name}: the first iteration took {cost.first:.0f} s')


if __name__ == '__main__':
    main()
