#!/usr/bin/env python
"""Train all methods from one start and compare them in tables and figures.

Trains methods x seeds x pairs. To continue an interrupted run, give the same command
again; finished runs are not repeated.

    python tools/benchmark.py --budget smoke
    python tools/benchmark.py configs/benchmark/hands.py --seeds 0 1 2 --jobs 2
    python tools/benchmark.py --seeds 100 --grid dann.trade_off=0.1,0.3,1

A method is a name (a file in configs/_base_/adaptations, or "oracle") or the path of
your own config fragment. A pair is any adaptation config.
"""

# ruff: noqa: E402, I001
import mmregda  # Before torch: it sets how threads wait.

import argparse
import ast
import itertools
import os
import platform
import signal
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import mmcv
import mmengine
import mmpose
import torch
from mmengine.logging import MMLogger
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from mmregda import InputError, compat
from mmregda.synthetic import (
    PHOTO_ATHLETES,
    PHOTO_GESTURES,
    write_body_pair,
    write_hand_pair,
    write_rhd,
    write_surreal,
)
from mmregda.benchmark.plan import (
    compose,
    load_config,
    plan,
    processor_name,
    require_evidence,
)
from mmregda.benchmark.progress import JobProgress
from mmregda.benchmark.jobs import run_jobs, write_json
from mmregda.command_line import ArgumentParser
from mmregda.engine import rehearse
from mmregda.engine.runner import quiet_console
from mmregda.errors import close_matches, ending_in_one_line
from mmregda.models import METHODS
from mmregda.benchmark.tables import (
    by_domain,
    main_metric,
    published_averages,
    spread,
    table_of_evidence,
    table_of_methods,
    to_markdown,
)
from mmregda.visualization import (
    Run,
    load_scalars,
    plot_predictions,
    plot_statistics,
    predict_run,
)

CONFIGS = Path(__file__).resolve().parents[1] / 'configs'
FRAGMENTS = CONFIGS / '_base_' / 'adaptations'
# What the others are compared with: without the target, and with no more of it
# than its statistics.
BASELINES = ('source_only', 'adabn')
# Iterations of pretraining and of adaptation; None is the config's own number.
BUDGETS = dict(smoke=(20, 10), short=(900, 400), paper=(None, None))
SMOKE_IMAGES = 48


def write_hands_like_photographs(root: Path) -> tuple:
    """A source for targets that are photographs: it is rendered like one."""
    return (write_rhd(root, 3000, 300, style=PHOTO_GESTURES),)


def write_people_like_photographs(root: Path) -> tuple:
    """The same of people."""
    return (write_surreal(root, 3000, 600, style=PHOTO_ATHLETES),)


# How rendered data is written, and what tells the configs where it is.
EMBEDDED = dict(
    hands=(write_hand_pair, 'synthetic_hands', ('RHD_ROOT', 'H3D_ROOT')),
    bodies=(write_body_pair, 'synthetic_bodies', ('SURREAL_ROOT', 'LSP_ROOT')),
    hands_like_photographs=(
        write_hands_like_photographs,
        'hands_like_photographs',
        ('RHD_ROOT',),
    ),
    people_like_photographs=(
        write_people_like_photographs,
        'people_like_photographs',
        ('SURREAL_ROOT',),
    ),
)


def parse_args() -> argparse.Namespace:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument(
        'pairs',
        nargs='*',
        default=[str(CONFIGS / 'benchmark' / 'hands.py')],
        help='adaptation configs (default: the rendered hands)',
    )
    parser.add_argument(
        '--methods',
        nargs='+',
        help=f'methods to train (default: {" ".join(default_methods())})',
    )
    parser.add_argument(
        '--seeds', nargs='+', type=int, default=[0], help='random seeds (default: 0)'
    )
    parser.add_argument(
        '--budget',
        default='short',
        help='smoke (two minutes on two cores), short (900 iterations of pretraining, '
        "400 of adaptation; the default), paper (the config's lengths), or a factor "
        'of the latter',
    )
    parser.add_argument(
        '--pretrain-iters',
        type=int,
        help='iterations of pretraining; overrides --budget, schedules are rescaled',
    )
    parser.add_argument(
        '--iters',
        type=int,
        help='iterations of adaptation; overrides --budget, schedules are rescaled',
    )
    parser.add_argument(
        '--jobs', type=int, default=1, help='parallel runs (default: 1)'
    )
    parser.add_argument(
        '--work-dir',
        default='work_dirs/benchmark',
        help='folder for runs and results (default: work_dirs/benchmark)',
    )
    parser.add_argument(
        '--data-dir', default='data', help='folder for rendered pairs (default: data)'
    )
    parser.add_argument(
        '--set',
        nargs='+',
        default=[],
        metavar='METHOD.SETTING=VALUE',
        help="override settings of a method's adaptation",
    )
    parser.add_argument(
        '--grid',
        nargs='+',
        default=[],
        metavar='METHOD.SETTING=VALUE,VALUE,...',
        help='compare every combination of settings, without target labels',
    )
    parser.add_argument(
        '--no-figures', dest='figures', action='store_false', help='write tables only'
    )
    args = parser.parse_args()
    args.pretrain_iters, args.iters = lengths(args)
    if args.jobs < 1:
        parser.error('--jobs must be at least 1')
    return args


def default_methods() -> list:
    """The shipped methods in the order of the table: the baselines come first."""
    names = sorted(path.stem for path in FRAGMENTS.glob('*.py'))
    return [*dict.fromkeys([*BASELINES, *names]), 'oracle']


def label_of(name: str, adaptation: dict) -> str:
    """What to call a row: a shipped method's class says it."""
    others = dict(
        start='source only: where all start',
        oracle='oracle: as many iterations on the labelled target',
    )
    if (FRAGMENTS / f'{name}.py').is_file():
        return METHODS[adaptation['type']].label or adaptation['type']
    return others.get(name, name)


def lengths(args: argparse.Namespace) -> tuple:
    """Iterations of pretraining and adaptation; a float is a factor."""
    if args.budget in BUDGETS:
        budget = BUDGETS[args.budget]
    else:
        try:
            budget = (float(args.budget),) * 2
        except ValueError:
            sys.exit(f'error: --budget is one of {list(BUDGETS)} or a factor')
    given = (args.pretrain_iters, args.iters)
    if any(value is not None and value <= 0 for value in (*budget, *given)):
        sys.exit('error: a budget must be positive')
    return tuple(mine or preset for mine, preset in zip(given, budget))


def main() -> None:
    args = parse_args()
    # Checkpoints are data.
    compat.refuse_unsafe_checkpoints()
    # As for Ctrl-C: the workers are stopped with this process.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        with ending_in_one_line():
            failed = run(args)
    except FileExistsError as error:
        sys.exit(f'error: {error}')
    except KeyboardInterrupt:
        sys.exit('interrupted; the same command goes on from here')
    sys.exit(1 if failed else 0)


def run(args: argparse.Namespace) -> bool:
    """Train what is missing and write the outputs; whether anything failed."""
    console = Console()
    quiet_console(MMLogger.get_current_instance())
    work_dir = Path(args.work_dir)
    variants = read_variants(args)
    if len({Path(pair).stem for pair in args.pairs}) < len(args.pairs):
        raise InputError(f'two of {args.pairs} have one name')
    for pair in args.pairs:
        # Before data is rendered for one of them.
        load_config(pair, 'model.adaptation', 'train_dataloader')
    trainings = [
        dict(pair=Path(pair).stem, seed=seed, job=job, settings=variants)
        for pair in args.pairs
        for seed, jobs in plan_pair(pair, variants, args).items()
        for job in jobs
    ]
    # The starts first: all the others wait for them.
    jobs = [training['job'] for training in trainings]
    jobs.sort(key=lambda job: job.needs is not None)
    began = time.perf_counter()
    rehearse_methods(jobs)
    name = 'tuning' if args.grid else 'results'

    def collect() -> dict:
        return dict(
            budget=dict(
                name=args.budget, pretrain=args.pretrain_iters, adaptation=args.iters
            ),
            setting=setting(args),
            runs=[describe(**training) for training in trainings],
        )

    work_dir.mkdir(parents=True, exist_ok=True)
    with JobProgress(jobs, title, summary, console) as progress:

        def on_change(job) -> None:
            progress.on_change(job)
            if job.status != 'running':
                write_json(work_dir / f'{name}.json', collect())

        run_jobs(jobs, args.jobs, on_change, progress.on_tick)
    results = collect()
    write_json(work_dir / f'{name}.json', results)
    report = list(tables(results, bool(args.grid), console))
    (work_dir / f'{name}.md').write_text('\n'.join(report), encoding='utf-8')
    if args.figures and not args.grid:
        for pair in dict.fromkeys(training['pair'] for training in trainings):
            of_pair = [t['job'] for t in trainings if t['pair'] == pair]
            draw(of_pair, work_dir / 'figures' / pair)
    for job in jobs:
        if job.status == 'failed':
            console.print(f'[red]failed[/] {job.folder}: {escape(job.message)}')
            if job.log.is_file():
                console.print(f'       see {job.log}')
    minutes = (time.perf_counter() - began) / 60
    console.print(f'{work_dir / name}.json, .md; {minutes:.1f} minutes')
    return any(job.status == 'failed' for job in jobs)


def rehearse_methods(jobs: list) -> None:
    """Find a mistake in a method before its start trains, with one seed of each."""
    seen = set()
    for job in jobs:
        pair = job.folder.parents[2].name
        start_is_due = job.needs is not None and job.needs.status != 'done'
        if start_is_due and (pair, job.name) not in seen:
            seen.add((pair, job.name))
            try:
                rehearse(job.cfg, log_level='ERROR')  # Each run's log says it.
            except InputError as error:
                raise InputError(f'{pair} {job.name}: {error}') from error


def read_variants(args: argparse.Namespace) -> dict:
    """What is trained: fragment and settings, by the name of its row."""
    given = {}
    for text in args.set:
        method, setting, value = split_setting(text)
        given.setdefault(method, {})[setting] = literal(value)
    grids = {}
    for text in args.grid:
        method, setting, values = split_setting(text)
        grids.setdefault(method, {})[setting] = list(map(literal, values.split(',')))
    methods = args.methods or (list(grids) if grids else default_methods())
    names = {Path(method).stem: method for method in methods}
    if len(names) < len(methods):
        raise InputError(f'--methods: two of {methods} have one name')
    unknown = sorted((set(given) | set(grids)) - set(names))
    if unknown:
        hint = close_matches(unknown[0], names, listed=0)
        raise InputError(
            f'--set or --grid: {unknown} are not among {sorted(names)}.{hint}'
        )
    variants = {}
    for name, method in names.items():
        fragment = load_fragment(method)
        grid = grids.get(name, {})
        for values in itertools.product(*grid.values()):
            chosen = dict(zip(grid, values))
            row = ' '.join([name, *(f'{k}={v}' for k, v in chosen.items())])
            settings = {**given.get(name, {}), **chosen}
            variants[row] = dict(
                fragment=fragment, settings=settings, oracle=method == 'oracle'
            )
    return variants


def split_setting(text: str) -> tuple:
    key, equals, value = text.partition('=')
    method, dot, setting = key.partition('.')
    if not (equals and dot and value):
        raise InputError(f'"{text}" is not of the form method.setting=value')
    return method, setting, value


def literal(text: str):
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def plan_pair(pair: str, variants: dict, args: argparse.Namespace) -> dict:
    """The jobs of one pair, by seed."""
    with data_of(load_config(pair), Path(args.data_dir)):
        frame = load_config(pair)
        require_evidence(frame)
        methods = {
            row: compose(frame, v['fragment'], v['settings'], v['oracle'])
            for row, v in variants.items()
        }
        return {
            seed: plan(
                frame,
                methods,
                seed,
                str(Path(args.work_dir) / Path(pair).stem / f'seed_{seed}'),
                args.pretrain_iters,
                args.iters,
                max_evaluated=SMOKE_IMAGES if args.budget == 'smoke' else None,
                blind=bool(args.grid),
            )
            for seed in args.seeds
        }


def load_fragment(method: str):
    path = method
    if not method.endswith('.py'):
        # The oracle is the baseline with other data.
        name = 'source_only' if method == 'oracle' else method
        path = FRAGMENTS / f'{name}.py'
        if not path.is_file():
            raise InputError(
                f'no method is named "{method}".'
                f'{close_matches(method, default_methods())} Or give the path of a '
                'fragment.'
            )
    elif 'model' in load_config(path):
        raise InputError(
            f'--methods: "{path}" is the config of a pair, not the fragment of a '
            'method. Write pairs before the options.'
        )
    return load_config(str(path), 'adaptation', 'optim_wrapper', 'param_scheduler')


@contextmanager
def data_of(cfg, data_dir: Path):
    """Render the pair if need be; within, configs read where it is."""
    if cfg.get('embedded_pair') not in EMBEDDED:
        yield
        return
    write, folder, names = EMBEDDED[cfg.embedded_pair]
    missing = [name for name in names if not os.environ.get(name)]
    if missing:
        found = dict(zip(names, write(data_dir / folder)))
    os.environ.update({name: str(found[name]) for name in missing})
    try:
        yield
    finally:
        for name in missing:
            del os.environ[name]


def title(job) -> str:
    """Pair, seed and method of a job."""
    return f'{job.folder.parents[2].name} {job.folder.parents[1].name} {job.name}'


def summary(job) -> str:
    """How a job has ended, in a line."""
    scores = []
    for domain, found in by_domain(job.result.get('metrics', {})).items():
        name = main_metric(found)
        if name:
            shown = '' if name == 'Avg' else f' {name}'
            scores.append(f'{domain}{shown} {spread([found[name]])}')
    seconds = [f'{job.result["seconds"]:.0f} s'] if job.result else []
    return ', '.join([job.status, *scores, *seconds])


def draw(jobs: list, folder: Path) -> None:
    """The figures of the first seed of which all methods are there."""
    seeds = itertools.groupby(jobs, key=lambda job: job.folder.parents[1])
    for _, of_seed in seeds:
        of_seed = [job for job in of_seed if job.name != 'start']
        if all(job.status == 'done' for job in of_seed):
            break
    else:
        return
    folder.mkdir(parents=True, exist_ok=True)
    by_name = {job.name: job for job in of_seed}
    labels = {n: label_of(n, job.cfg.model.adaptation) for n, job in by_name.items()}
    short = {
        n: label.partition(':')[0].partition(' (')[0] for n, label in labels.items()
    }
    adversarial = {
        short[name]: str(job.folder)
        for name, job in by_name.items()
        if 'statistics/target/prediction_difference' in load_scalars(str(job.folder))
    }
    if adversarial:
        plot_statistics(str(folder / 'statistics.png'), adversarial)
    if 'target' not in (of_seed[0].cfg.get('val_dataloader') or {}):
        return  # There is no image to draw.
    baseline = 'source_only' if 'source_only' in by_name else of_seed[0].name
    compared = 'regda' if 'regda' in by_name else of_seed[-1].name
    found = {
        short[name]: predict_run(
            Run(job.cfg, job.result['checkpoint']), progress=short[name]
        )
        for name, job in by_name.items()
    }
    pair = [short[name] for name in dict.fromkeys((baseline, compared))]
    plot_predictions(str(folder / 'predictions.jpg'), found, pair[0], pair[-1])


def setting(args: argparse.Namespace) -> dict:
    """Where and with what this was run."""
    devices = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    packages = (torch, mmpose, mmengine, mmcv, mmregda)
    return dict(
        command=' '.join(sys.argv),
        processor=processor_name(),
        cores=os.cpu_count(),
        devices=devices,
        jobs=args.jobs,
        versions=dict(
            python=platform.python_version(),
            **{package.__name__: package.__version__ for package in packages},
        ),
    )


def describe(pair: str, seed: int, job, settings: dict) -> dict:
    """One training, for results.json."""
    result = dict(job.result)
    return dict(
        pair=pair,
        method=job.name,
        seed=seed,
        status=job.status,
        message=job.message,
        **by_domain(result.get('metrics', {})),
        published=published_averages(result.get('metrics', {})),
        **result,
        folder=str(job.folder),
        overrides=settings.get(job.name, {}).get('settings', {}),
        settings={
            key: job.cfg.get(key)
            for key in ('train_cfg', 'optim_wrapper', 'param_scheduler')
        },
        adaptation=job.cfg.model.get('adaptation'),
    )


def tables(results: dict, tuning: bool, console: Console):
    """Show the tables and yield them as Markdown."""
    for pair in dict.fromkeys(run['pair'] for run in results['runs']):
        runs = [run for run in results['runs'] if run['pair'] == pair]
        seeds = ', '.join(str(s) for s in dict.fromkeys(run['seed'] for run in runs))
        labels = {r['method']: label_of(r['method'], r['adaptation']) for r in runs}
        found = {}
        if tuning:
            found[f'{pair}, seeds {seeds}: without labels of the target'] = (
                table_of_evidence(runs)
            )
        else:
            for domain, baselines in (('target', BASELINES), ('source', ())):
                table = table_of_methods(runs, domain, baselines, labels)
                what = 'PCK@0.05 in percent' if 'Avg' in table[0] else 'metrics'
                if len(table[0]) > 1 or domain == 'target':
                    found[f'{pair}, seeds {seeds}: {what}, {domain}'] = table
        for title, table in found.items():
            head, rows = table
            shown = Table(title=escape(title))
            for column in head:
                shown.add_column(column, justify='right' if column else 'left')
            for row in rows:
                shown.add_row(*map(escape, row))
            console.print(shown)
            yield f'{title}\n\n{to_markdown(table)}\n'
    seconds = sum(run.get('seconds', 0) for run in results['runs'])
    # Of a training that was interrupted the time of its last part is known.
    least = 'At least ' if any(r.get('resumed') for r in results['runs']) else ''
    where = results['setting']
    hardware = ', '.join(where['devices']) or where['processor']
    yield (
        f'Mean and sample standard deviation over seeds; differences are seed by '
        f'seed. {least}{seconds / 3600:.1f} hours of training, {where["jobs"]} at a '
        f'time, on {where["cores"]} cores of '
        f'{hardware}, PyTorch {where["versions"]["torch"]}.\n\n'
        f'    {where["command"]}\n'
    )


if __name__ == '__main__':
    main()
