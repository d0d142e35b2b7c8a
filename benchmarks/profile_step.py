#!/usr/bin/env python
"""Where the time of an iteration goes.

python benchmarks/profile_step.py counts --networks resnet101 --size 256 --batch 32
python benchmarks/profile_step.py operators --networks resnet50
python benchmarks/profile_step.py iteration

Each prints a Markdown table.

counts: what an iteration does, ours beside the naive one (benchmarks/naive.py):
passes of the feature extractor psi, arithmetic, gradients that no optimiser reads,
activations that are kept for a backward pass that never comes, and reads by the
host. It needs no time: it runs without numbers, on PyTorch's "meta" device, where
whatever asks for a value fails. So it is the same on every machine.

operators: torch.profiler's view of our step, by kind of operator.

iteration: a training of the quickstart on rendered hands, or of another config from
RHD to H3D, data included: what the process waits for. On a GPU the step only says what
is to be done; it is waited for where losses are looked at.

python benchmarks/profile_step.py iteration --config configs/regda_rhd2h3d.py \\
    --workers 8 --precision bf16 --channels-last --fused --compile
"""

from __future__ import annotations

# ruff: noqa: I001
import argparse
import sys
import tempfile
import time
from collections import defaultdict
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Dict, Iterator, List, Tuple

# Before torch: it sets how threads wait.
from step import (
    MODE,
    Contender,
    Setup,
    add_device_option,
    add_network_options,
    made_up_batch,
    prepare,
    wait_for,
)

import torch
from mmengine.runner import Runner
from torch import Tensor, nn
from torch.autograd import DeviceType
from torch.utils.flop_counter import FlopCounterMode

from mmregda import InputError
from mmregda.synthetic import write_hand_pair
from mmregda.engine import loops
from mmregda.benchmark.plan import load_config
from mmregda.engine.host_memory import keep_freed_memory
from mmregda.engine.stages import build_runner, stop_workers
from mmregda.errors import message_of

from naive import NAIVE
from report import machine, table, track

CONFIGS = Path(__file__).resolve().parents[1] / 'configs'
METHODS = [path.stem for path in (CONFIGS / '_base_/adaptations').glob('*.py')]
# What can be rendered for a training.
HANDS = dict(source='RHDDataset', target='H3DDataset')


# --- counts ------------------------------------------------------------------


class Counts:
    """What iterations do, counted while they run.

    Args:
        contender (Contender): Whose iterations.
    """

    def __init__(self, contender: Contender) -> None:
        self.contender = contender
        self.forward = self.backward = 0
        self.host_reads = 0
        self.flops = 0
        self._gradients: Dict[Tensor, int] = defaultdict(int)
        self._reads: Dict[Tensor, int] = defaultdict(int)
        self._kept: List[List] = []

    @property
    def unread_gradients(self) -> int:
        """Elements of gradients that were computed and never read."""
        return sum(
            (count - self._reads[p]) * p.numel() for p, count in self._gradients.items()
        )

    @property
    def unread_bytes(self) -> int:
        """Of tensors that autograd kept and never used."""
        return sum(size for size, used in self._kept if not used)

    @contextmanager
    def counting(self) -> Iterator[None]:
        """Within, iterations of the contender are counted."""
        model = self.contender.model
        with ExitStack() as stack:
            for module in model.modules():
                if type(module) is type(model.backbone):  # A teacher has one, too.
                    hook = module.register_forward_hook(self._passed)
                    stack.callback(hook.remove)
            for parameter in filter(lambda p: p.requires_grad, model.parameters()):
                hook = parameter.register_post_accumulate_grad_hook(self._accumulated)
                stack.callback(hook.remove)
            for optimizer in self.contender.torch_optimizers:
                hook = optimizer.register_step_pre_hook(self._stepping)
                stack.callback(hook.remove)
            hooks = torch.autograd.graph.saved_tensors_hooks(self._keep, self._use)
            stack.enter_context(hooks)
            flops = stack.enter_context(FlopCounterMode(display=False))
            yield
            self.flops += flops.get_total_flops()

    def _passed(self, module: nn.Module, inputs: tuple, outputs: tuple) -> None:
        self.forward += 1
        if outputs[-1].requires_grad:
            outputs[-1].register_hook(self._passed_back)

    def _passed_back(self, gradient: Tensor) -> None:
        self.backward += 1

    def _accumulated(self, parameter: Tensor) -> None:
        self._gradients[parameter] += 1

    def _stepping(self, optimizer, args: tuple, kwargs: dict) -> None:
        for group in optimizer.param_groups:
            for parameter in group['params']:
                if parameter.grad is not None:
                    self._reads[parameter] += 1

    def _keep(self, tensor: Tensor) -> Tuple[List, Tensor]:
        # A parameter is there anyway.
        kept = not isinstance(tensor, nn.Parameter)
        note = [kept * tensor.numel() * tensor.element_size(), False]
        self._kept.append(note)
        return note, tensor

    def _use(self, kept: Tuple[List, Tensor]) -> Tensor:
        note, tensor = kept
        note[1] = True
        return tensor


def count(setup: Setup) -> Counts:
    """Count one iteration on the meta device."""
    contender = Contender(setup._replace(device='meta'))
    counts = Counts(contender)
    if setup.naive:
        # It reads predictions on the host, which have no values here.
        naive = contender.naive

        def pseudo_labels(logits: Tensor) -> Tuple[Tensor, Tensor]:
            counts.host_reads += 1
            return torch.ones_like(logits).detach(), torch.ones_like(logits).detach()

        def accuracy(logits: Tensor, heatmaps: Tensor) -> None:
            counts.host_reads += 2

        naive.pseudo_labels, naive.accuracy = pseudo_labels, accuracy
    batch = made_up_batch(setup._replace(device='meta'), seed=0)
    with counts.counting():
        contender.step(batch)
    return counts


def table_of_counts(pairs: List[Tuple[Setup, Setup]]) -> str:
    """A row for each method, of ours and in brackets of the naive one if there is."""
    rows = [
        [
            *('', 'psi forward', 'psi backward', 'GFLOP', 'of naive'),
            *('gradients nobody reads (M)', 'activations nobody reads (MB)'),
            'reads by the host',
        ]
    ]
    for naive, ours in track(pairs, 'counting'):
        mine = count(ours)
        theirs = count(naive) if naive.method in NAIVE else None

        def cell(name: str, unit: float = 1, digits: int = 0, sides=(mine, theirs)):
            value, *others = (
                f'{getattr(side, name) / unit:.{digits}f}' for side in sides if side
            )
            return f'{value} ({others[0]})' if others else value

        rows.append(
            [
                f'{ours.network}, {ours.method}',
                cell('forward'),
                cell('backward'),
                cell('flops', 1e9, 1),
                f'{mine.flops / theirs.flops:.3f}' if theirs else '',
                cell('unread_gradients', 1e6, 1),
                cell('unread_bytes', 2**20, 1),
                cell('host_reads'),
            ]
        )
    return table(rows)


# --- operators ---------------------------------------------------------------


def table_of_operators(setup: Setup, iterations: int, shown: int) -> str:
    """The operators that took most of our step, by themselves."""
    keep_freed_memory()  # as the training loops do
    contender = Contender(setup)
    batch = made_up_batch(setup, seed=0)
    for _ in range(2):
        contender.step(batch)
    kinds = [torch.profiler.ProfilerActivity.CPU]
    if setup.device == 'cuda':
        kinds.append(torch.profiler.ProfilerActivity.CUDA)
    with torch.profiler.profile(activities=kinds) as profiler:
        for _ in track(range(iterations), setup.method):
            contender.step(batch)
        wait_for(setup.device)
    clock = (
        'self_device_time_total' if setup.device == 'cuda' else 'self_cpu_time_total'
    )
    # A GPU's kernels are there by themselves as well.
    events = [e for e in profiler.key_averages() if e.device_type == DeviceType.CPU]
    events.sort(key=lambda event: getattr(event, clock), reverse=True)
    total = sum(getattr(event, clock) for event in events)
    rows = [['operator', 'calls an iteration', 'ms an iteration', 'share']]

    def add_row(name: str, calls: int, microseconds: float) -> None:
        rows.append(
            [
                name,
                f'{calls / iterations:.0f}',
                f'{microseconds / iterations / 1e3:.1f}',
                f'{microseconds / total:.1%}',
            ]
        )

    for event in events[:shown]:
        add_row(event.key, event.count, getattr(event, clock))
    others = events[shown:]
    add_row(
        'all others',
        sum(e.count for e in others),
        sum(getattr(e, clock) for e in others),
    )
    return table(rows)


# --- iteration ---------------------------------------------------------------


class Clock:
    """Adds up seconds by what they were spent on."""

    def __init__(self) -> None:
        self.spent: Dict[str, float] = defaultdict(float)

    @contextmanager
    def spending(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.spent[name] += time.perf_counter() - start

    def wrap(self, owner: Any, attribute: str, name: str) -> None:
        """Time every call of a method of an object."""
        method = getattr(owner, attribute)

        def timed(*args: Any, **kwargs: Any) -> Any:
            with self.spending(name):
                return method(*args, **kwargs)

        setattr(owner, attribute, timed)


def table_of_an_iteration(args: argparse.Namespace) -> str:
    """What the process of a training waits for."""
    iterations = args.iterations
    with tempfile.TemporaryDirectory() as folder:
        runner = runner_of(args, Path(folder))
        runner.train()  # Workers, caches, compilers: they start once.
        clock = Clock()
        loop, model = runner.train_loop, runner.model
        clock.wrap(model.data_preprocessor, 'forward', 'moving and normalising it')
        clock.wrap(model, 'train_step', 'step')
        clock.wrap(loops, 'require_finite', 'looking at the losses')
        for hook in runner.hooks:
            for place in ('before_train_iter', 'after_train_iter'):
                clock.wrap(hook, place, type(hook).__name__)
        model.train()
        with clock.spending('all'):
            for _ in track(range(iterations), 'iterations'):
                with clock.spending('waiting for data'):
                    batch = next(loop.dataloader_iterator)
                loop.run_iter(batch)
        stop_workers(runner)
    clock.spent['step'] -= clock.spent['moving and normalising it']
    total = clock.spent.pop('all')
    clock.spent['the loop itself'] = total - sum(clock.spent.values())
    spent = sorted(clock.spent.items(), key=lambda item: -item[1])
    rows = [['', 'ms an iteration', 'share']]
    for name, seconds in [*spent, ('all', total)]:
        rows.append(
            [name, f'{1e3 * seconds / iterations:.2f}', f'{seconds / total:.1%}']
        )
    return table(rows)


def runner_of(args: argparse.Namespace, folder: Path) -> Runner:
    """The training of a config on rendered hands, without validation.

    Raises:
        InputError: If the config is missing, or of other domains.
    """
    cfg = load_config(str(args.config), 'train_dataloader', 'val_dataloader')
    for loaders in (cfg.train_dataloader, cfg.val_dataloader):
        for dataset in hands_of(loaders, args.config):
            dataset.data_root = str(folder)
    write_hand_pair(folder, 64, 8, 96, num_workers=1, progress=False)
    cfg.model.backbone.init_cfg = cfg.pretrain = None
    if args.workers is not None:
        for domain in cfg.train_dataloader.values():
            domain.update(num_workers=args.workers, persistent_workers=args.workers > 0)
    if args.precision == 'bf16':
        cfg.optim_wrapper.update(type='PlayerAmpOptimWrapper', dtype='bfloat16')
    if args.fused:
        for entry in cfg.optim_wrapper.values():
            # Beside the players' there are settings for all of them.
            if isinstance(entry, dict) and 'optimizer' in entry:
                entry.optimizer.fused = True
    cfg.compile = dict(mode=args.compile) if args.compile else False
    cfg.channels_last = args.channels_last
    hooks = cfg.get('custom_hooks') or []
    cfg.custom_hooks = [h for h in hooks if h.type == 'DisparityStatisticsHook']
    cfg.default_hooks.checkpoint = None
    iterations = args.iterations
    cfg.train_cfg.update(max_iters=iterations, val_interval=10 * iterations)
    cfg.work_dir = str(folder / 'work_dir')
    cfg.log_level = 'ERROR'
    return build_runner(cfg)


def hands_of(loaders: dict, config: Path) -> List[dict]:
    """The datasets of both domains, without the wrapper that drops labels.

    Raises:
        InputError: If they are not those that can be rendered.
    """
    datasets = [(loaders.get(domain) or {}).get('dataset') or {} for domain in HANDS]
    datasets = [dataset.get('dataset') or dataset for dataset in datasets]
    found = dict(zip(HANDS, (dataset.get('type') for dataset in datasets)))
    if found != HANDS:
        found, needed = (
            ' and '.join(f'{kind or "nothing"} as the {domain}' for domain, kind in x)
            for x in (found.items(), HANDS.items())
        )
        raise InputError(
            f'config "{config}" has {found}, but {needed} are what is rendered. Take '
            'a config that adapts from one to the other, such as '
            'configs/quickstart/regda.py or configs/regda_rhd2h3d.py.'
        )
    return datasets


# --- face --------------------------------------------------------------------


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    modes = parser.add_subparsers(metavar='what', required=True)
    counts = modes.add_parser('counts', help='what an iteration does')
    counts.set_defaults(show=show_counts, threads=1)
    operators = modes.add_parser('operators', help="what takes our step's time")
    operators.set_defaults(show=show_operators)
    iteration = modes.add_parser('iteration', help='what a training waits for')
    iteration.set_defaults(show=show_iteration)
    for mode in (counts, operators):
        add_network_options(mode, METHODS)
    for mode in (operators, iteration):
        add = mode.add_argument
        add('--precision', default='fp32', choices=('fp32', 'bf16'), help='(fp32)')
        add('--channels-last', action='store_true')
        add('--fused', action='store_true', help='optimisers')
        add(
            '--compile',
            nargs='?',
            const=MODE,
            default='',
            metavar='MODE',
            help=f"the feature extractor, in one of PyTorch's modes ({MODE})",
        )
        add('--threads', type=int, default=torch.get_num_threads())
        add('--iterations', type=int, default=10, help='(10)')
    add_device_option(operators)
    operators.add_argument('--shown', type=int, default=15, help='operators (15)')
    iteration.add_argument(
        '--config',
        type=Path,
        default=CONFIGS / 'quickstart' / 'regda.py',
        help='of a training from RHD to H3D (configs/quickstart/regda.py)',
    )
    iteration.add_argument('--workers', type=int, help="of each domain (the config's)")
    return parser.parse_args()


def setups_of(args: argparse.Namespace, **switches: Any) -> List[Setup]:
    """Ours with each network and method."""
    sizes = dict(size=args.size, batch=args.batch, keypoints=args.keypoints)
    return [
        Setup(naive=False, network=network, method=method, **sizes, **switches)
        for network in args.networks
        for method in args.methods
    ]


def show_counts(args: argparse.Namespace) -> None:
    pairs = [(ours._replace(naive=True), ours) for ours in setups_of(args)]
    print(f'\n{table_of_counts(pairs)}')


def show_operators(args: argparse.Namespace) -> None:
    setups = setups_of(
        args,
        device=args.device,
        precision=args.precision,
        channels_last=args.channels_last,
        fused=args.fused,
        compiled=args.compile,
    )
    for setup in setups:
        found = table_of_operators(setup, args.iterations, args.shown)
        print(f'\n{setup.network}, {setup.method}: {setup.name}')
        print(f'\n{found}', flush=True)


def show_iteration(args: argparse.Namespace) -> None:
    print(f'\n{table_of_an_iteration(args)}')


def main() -> None:
    args = parse_args()
    prepare(args.threads)
    print(machine(), flush=True)
    try:
        args.show(args)
    except InputError as error:
        sys.exit(f'error: {message_of(error)}')


if __name__ == '__main__':
    main()
