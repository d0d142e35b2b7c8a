"""Draws that depend on their number alone, and what follows: exact resuming."""

import copy
import errno
import os
import pickle
import random
import shutil
import signal
import sys
import threading
import time

import numpy as np
import pytest
import torch
from conftest import FRAGMENTS, ROOT, tiny_config, write_pretrain_config
from filelock import FileLock, Timeout
from mmengine.config import Config
from mmengine.evaluator import BaseMetric
from mmengine.hooks import Hook
from mmengine.logging import MessageHub
from mmengine.runner import Runner
from mmengine.runner.checkpoint import CheckpointLoader
from mmpose.datasets import CombinedDataset
from mmpose.registry import DATA_SAMPLERS, HOOKS, METRICS, MODELS
from torch.utils.data import Dataset, Sampler, SequentialSampler

from mmregda import InputError
from mmregda.datasets import NumberedSampler, SeededDataset, UnlabeledDataset
from mmregda.datasets.samplers import Draw, build_numbered_dataloader
from mmregda.engine import lock, loops, stages
from mmregda.engine.checkpoints import read_checkpoint, weights_of
from mmregda.engine.lock import only_run_in
from mmregda.engine.start import load_pretrain_config
from mmregda.visualization import load_scalars


class Noise(Dataset):
    """Each sample draws from all three generators."""

    metainfo = dict(dataset_name='noise')

    def __init__(self, length=10):
        self.length = length

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        return index, random.random(), np.random.rand(), torch.rand(()).item()


def test_draw_is_an_index_that_keeps_its_number_on_its_way_to_a_worker():
    draw = pickle.loads(pickle.dumps(Draw(7, 123)))
    assert draw == 7 and [*range(10)][draw] == 7
    assert draw.number == 123


def test_sample_is_a_function_of_seed_and_number():
    dataset = SeededDataset(Noise(), seed=5)
    first = dataset[Draw(3, 40)]
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    assert dataset[Draw(3, 40)] == first
    others = [dataset[Draw(3, 41)], SeededDataset(Noise(), seed=6)[Draw(3, 40)]]
    assert all(set(first[1:]).isdisjoint(other[1:]) for other in others)
    assert pickle.loads(pickle.dumps(dataset))[Draw(3, 40)] == first
    assert dataset.metainfo == Noise.metainfo and len(dataset) == 10


@pytest.mark.parametrize(
    'kind',
    [
        dict(type='InfiniteSampler', shuffle=True),
        dict(type='DefaultSampler', shuffle=True),
    ],
    ids=lambda kind: kind['type'],
)
def test_skipping_is_drawing_and_dropping(kind):
    def first(number, skip=0):
        sampler = NumberedSampler(Noise(), kind, seed=3)
        sampler.skip(skip)
        return [(int(d), d.number) for d, _ in zip(sampler, range(number))]

    drawn = first(37)
    assert [number for _, number in drawn] == [*range(37)]
    # Each epoch has every sample once, in an order of its own.
    epochs = [[index for index, _ in drawn[i : i + 10]] for i in (0, 10, 20)]
    assert all(sorted(epoch) == [*range(10)] for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]
    for skip in (1, 9, 10, 23):
        assert first(37 - skip, skip) == drawn[skip:]


def test_empty_dataset_is_refused():
    with pytest.raises(InputError, match='no samples'):
        NumberedSampler(Noise(0), dict(type='InfiniteSampler'), seed=0)


def batches_of(cfg, num_workers, skip, number):
    cfg = copy.deepcopy(cfg)
    for loader in cfg.train_dataloader.values():
        loader.num_workers = num_workers
    runner = Runner.from_cfg(cfg)
    iterator = runner.build_train_loop(cfg.train_cfg).dataloader_iterator
    if skip:
        iterator.skip_iter(skip)
    return [next(iterator) for _ in range(number)]


@pytest.mark.slow
def test_batches_depend_neither_on_workers_nor_on_what_came_before(hand_pair, tmp_path):
    cfg = tiny_config(hand_pair, tmp_path)
    whole = batches_of(cfg, 0, 0, 5)
    for num_workers, skip in ((1, 0), (2, 2), (3, 1)):
        found = batches_of(cfg, num_workers, skip, 5 - skip)
        for ours, theirs in zip(found, whole[skip:]):
            for domain in ('source', 'target'):
                for a, b in zip(ours[domain]['inputs'], theirs[domain]['inputs']):
                    assert torch.equal(a, b)


def test_domain_that_is_smaller_than_a_batch_starts_over(hand_pair, tmp_path):
    cfg = tiny_config(hand_pair, tmp_path)
    cfg.train_dataloader.target.dataset.dataset.indices = 1
    cfg.train_dataloader.source.update(
        batch_size=5, sampler=dict(type='DefaultSampler', shuffle=False)
    )
    cfg.train_dataloader.source.dataset.indices = 3
    batches = batches_of(cfg, 0, 0, 2)
    paths = [s.img_path for b in batches for s in b['source']['data_samples']]
    assert paths == [paths[i % 3] for i in range(10)] and len(set(paths)) > 1
    for batch in batches:
        # One image, and of each draw another view.
        first, second = batch['target']['inputs']
        assert not torch.equal(first, second)


@HOOKS.register_module()
class StopHook(Hook):
    """Stops a training after an iteration, as a kill would."""

    def __init__(self, at):
        self.at = at

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        # The model's own draws, as dropout would make them.
        noise = 1e-3 * torch.rand(())
        runner.model.head.final_layer.bias.data += noise
        if runner.iter == self.at:
            raise KeyboardInterrupt


def weights_and_states(path):
    checkpoint = CheckpointLoader.load_checkpoint(str(path), 'cpu', logger='silent')
    return {key: checkpoint[key] for key in ('state_dict', 'optimizer')}


def assert_equal(a, b, where=''):
    if isinstance(a, dict):
        assert a.keys() == b.keys(), where
        for key in a:
            assert_equal(a[key], b[key], f'{where}.{key}')
    elif isinstance(a, (list, tuple)):
        assert len(a) == len(b), where
        for index, pair in enumerate(zip(a, b)):
            assert_equal(*pair, f'{where}[{index}]')
    elif isinstance(a, torch.Tensor):
        assert torch.equal(a, b), where
    else:
        assert a == b, where


@pytest.mark.slow
@pytest.mark.parametrize('method', ['RegDA', 'AdaBN'])
def test_interrupted_training_ends_bit_for_bit_as_a_whole_one(
    hand_pair, tmp_path, method
):
    def config(name, at, **changes):
        cfg = tiny_config(hand_pair, tmp_path / name, max_iters=6, **changes)
        cfg.model.adaptation = dict(type=method)
        if method == 'AdaBN':
            cfg.optim_wrapper.pop('adversary')
            cfg.param_scheduler.pop('adversary')
        cfg.train_dataloader.source.num_workers = 2
        cfg.custom_hooks = [dict(type='StopHook', at=at)]
        return cfg

    names = ('whole', 'parts')
    stages.train(config('whole', 99))
    with pytest.raises(KeyboardInterrupt):
        stages.train(config('parts', 3))
    with pytest.raises(KeyboardInterrupt):
        stages.train(config('parts', 5, resume=True))
    stages.train(config('parts', 99, resume=True))
    whole, parts = (
        weights_and_states(tmp_path / name / 'iter_6.pth')
        for name in ('whole', 'parts')
    )
    assert_equal(whole, parts)
    logged = [load_scalars(str(tmp_path / name)) for name in names]
    for name, (steps, values) in logged[0].items():
        if name.startswith(('loss', 'target/', 'source/')):
            assert logged[1][name] == (steps, values), name


METHODS = [path.stem for path in FRAGMENTS]


def drawn(cfg, method):
    """The dataloaders of a method's domains and views, and no others."""
    kind = MODELS.get(method)
    loaders = dict(cfg.train_dataloader)
    loaders['labeled_target'] = loaders['source']
    if kind.views:
        *shared, crop, warp, jitter, blur, pack = loaders['target'].dataset.pipeline
        view = [crop, warp, jitter, blur, pack]
        loaders['target'].dataset.update(
            pipeline=shared, views=dict.fromkeys(kind.views, view)
        )
    return {domain: loaders[domain] for domain in kind.domains}


@pytest.mark.slow
@pytest.mark.parametrize('name', METHODS)
def test_every_method_resumes_with_all_of_its_state(hand_pair, tmp_path, name):
    def config(folder, **changes):
        fragment = Config.fromfile(str(ROOT / f'configs/_base_/adaptations/{name}.py'))
        cfg = tiny_config(hand_pair, tmp_path / folder, **changes)
        for key in ('optim_wrapper', 'param_scheduler'):
            cfg[key] = fragment[key]
        cfg.model.adaptation = fragment.adaptation
        cfg.train_dataloader = drawn(cfg, fragment.adaptation.type)
        cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
        cfg.default_hooks.logger.interval = 1
        cfg.custom_hooks = [dict(type='StopHook', at=99)]
        if not {'source', 'labeled_target'} & set(cfg.train_dataloader):
            start = MODELS.build({**cfg.model, 'adaptation': dict(type='SourceOnly')})
            weights = dict(state_dict=start.state_dict(), meta={})
            torch.save(weights, tmp_path / 'start.pth')
            if not cfg.resume:
                cfg.load_from = str(tmp_path / 'start.pth')
        return cfg

    stages.train(config('whole'))
    (tmp_path / 'parts').mkdir()
    start = shutil.copy(tmp_path / 'whole/iter_2.pth', tmp_path / 'parts')
    (tmp_path / 'parts/last_checkpoint').write_text(start)
    stages.train(config('parts', resume=True))
    whole, parts = (
        CheckpointLoader.load_checkpoint(str(path), 'cpu', logger='silent')
        for path in (tmp_path / 'whole/iter_4.pth', tmp_path / 'parts/iter_4.pth')
    )
    for key in ('state_dict', 'optimizer', 'param_schedulers'):
        assert_equal(whole[key], parts[key], key)
    assert not torch.equal(
        whole['state_dict']['head.final_layer.weight'],
        weights_and_states(start)['state_dict']['head.final_layer.weight'],
    )
    logged = [load_scalars(str(tmp_path / folder)) for folder in ('whole', 'parts')]
    for scalar, (steps, values) in logged[0].items():
        if 'time' not in scalar and scalar not in ('iter', 'memory'):
            assert logged[1][scalar] == (steps[2:], values[2:]), scalar
            assert steps == [1, 2, 3, 4]


@pytest.mark.slow
def test_interrupted_pretraining_ends_bit_for_bit_as_a_whole_one(hand_pair, tmp_path):
    def weights(name, at, resume=False):
        cfg = tiny_config(hand_pair, tmp_path / name / 'adapt', resume=resume)
        write_pretrain_config(cfg, tmp_path / f'{name}.py', max_iters=4)
        cfg.pretrain = dict(config=str(tmp_path / f'{name}.py'))
        stage = load_pretrain_config(cfg)
        stage.custom_hooks = [dict(type='StopHook', at=at)]
        stage.default_hooks.checkpoint.update(interval=2, save_best=None)
        return torch.load(stages.pretrain(stage))['state_dict']

    whole = weights('whole', 99)
    with pytest.raises(KeyboardInterrupt):
        weights('parts', 3)
    assert list((tmp_path / 'parts').rglob('iter_2.pth'))
    assert not list((tmp_path / 'parts').rglob('source_only.pth'))
    assert_equal(whole, weights('parts', 99, resume=True))


@METRICS.register_module()
class EverWorse(BaseMetric):
    """A score that falls from one iteration to the next."""

    def process(self, data_batch, data_samples):
        self.results.append(MessageHub.get_current_instance().get_info('iter'))

    def compute_metrics(self, results):
        return dict(score=-max(results))


@pytest.mark.slow
@pytest.mark.parametrize('gone', [False, True])
def test_pretraining_that_was_moved_finds_what_was_best(hand_pair, tmp_path, gone):
    def pretrain(name, at):
        cfg = tiny_config(hand_pair, tmp_path / name / 'adapt', resume=True)
        write_pretrain_config(cfg, tmp_path / 'pretraining.py', max_iters=4)
        cfg.pretrain = dict(config=str(tmp_path / 'pretraining.py'))
        stage = load_pretrain_config(cfg)
        stage.custom_hooks = [dict(type='StopHook', at=at)]
        stage.val_evaluator.source = [dict(type='EverWorse')]
        stage.default_hooks.checkpoint.update(
            interval=2, save_best='source/score', rule='greater'
        )
        stage.train_cfg.val_interval = 2
        # MMEngine takes runs of one name and one second for one run.
        stage.experiment_name = f'{name}_{gone}'
        return stages.pretrain(stage)

    with pytest.raises(KeyboardInterrupt):
        pretrain('before', 3)
    (tmp_path / 'before').rename(tmp_path / 'after')
    (best,) = (tmp_path / 'after').rglob('best_*_iter_2.pth')
    if gone:
        best.unlink()
    kept = pretrain('after', 99)
    expected = best.with_name('iter_4.pth') if gone else best
    expected, kept = (
        weights_of(read_checkpoint(str(p)), str(p)) for p in (expected, kept)
    )
    assert_equal(expected, kept)


def test_two_runs_do_not_pretrain_in_one_folder_at_once(tmp_path):
    path, told = tmp_path / 'source_only', []
    path.mkdir()
    other = FileLock(path / 'in_use.lock', thread_local=False)
    other.acquire()

    def be_done():
        told.append('done')
        other.release()

    threading.Timer(0.5, be_done).start()
    with only_run_in(str(path)):
        told.append('begun')
        with pytest.raises(Timeout):
            FileLock(path / 'in_use.lock', timeout=0).acquire()
    assert told == ['done', 'begun']
    FileLock(path / 'in_use.lock', timeout=0).acquire()


@pytest.mark.skipif(not hasattr(os, 'fork'), reason='nothing to fork')
def test_folder_is_free_again_though_a_forked_worker_lives_on(tmp_path):
    with pytest.raises(KeyError), only_run_in(str(tmp_path)):
        worker = os.fork()
        if not worker:
            time.sleep(60)
            os._exit(0)
        raise KeyError
    try:
        FileLock(tmp_path / 'in_use.lock', timeout=0).acquire()
    finally:
        os.kill(worker, signal.SIGKILL)
        os.waitpid(worker, 0)


@pytest.mark.skipif(sys.platform == 'win32', reason='locks are others there')
def test_file_system_without_locks_stops_no_run(tmp_path, monkeypatch):
    import fcntl

    def flock(*_):
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    said = []
    monkeypatch.setattr(fcntl, 'flock', flock)
    monkeypatch.setattr(lock, 'print_log', lambda text, **_: said.append(text))
    with only_run_in(str(tmp_path)):
        monkeypatch.undo()
    (message,) = said
    assert 'in_use.lock" cannot be locked' in message


class NoSamples(Sampler):
    def __init__(self, dataset, seed):
        pass

    def __iter__(self):
        return iter(())


def test_sampler_that_gives_nothing_is_named(monkeypatch):
    monkeypatch.setitem(DATA_SAMPLERS._module_dict, 'NoSamples', NoSamples)
    sampler = NumberedSampler(Noise(), dict(type='NoSamples'), seed=0)
    with pytest.raises(InputError, match='NoSamples gives this process no sample'):
        next(iter(sampler))


@pytest.mark.slow
@pytest.mark.parametrize('seeds', [(None, None), (3, 0)], ids=['drawn', 'given'])
def test_seed_is_gone_on_with(hand_pair, tmp_path, monkeypatch, seeds):
    built = []
    build = loops.build_numbered_dataloader

    def noted(runner, cfg, seed):
        built.append(seed)
        return build(runner, cfg, seed)

    monkeypatch.setattr(loops, 'build_numbered_dataloader', noted)

    def run(max_iters, seed, resume=False):
        cfg = tiny_config(hand_pair, tmp_path / 'run', max_iters, resume=resume)
        cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
        cfg.default_hooks.checkpoint.save_best = None
        cfg.custom_hooks = []
        cfg.randomness = dict(seed=seed)
        return stages.run(cfg).seed

    first = run(2, seeds[0])
    assert seeds[0] in (None, first)
    assert run(4, seeds[1], resume=True) == first
    # What the data is drawn with, too.
    assert len(built) == 4 and built[:2] == built[2:] and built[0] == first


class Labeled(Noise):
    """Samples with an image and a label, of a dataset with a name."""

    def __init__(self, name, length):
        super().__init__(length)
        self.name = name
        self.metainfo = dict(dataset_name=name)

    def get_data_info(self, index):
        return dict(img_path=f'{self.name}/{index}', keypoints=np.zeros((1, 2)))

    def __getitem__(self, index):
        return self.get_data_info(index)


def combined(*lengths):
    """MMPose's combination of datasets, without their files."""
    dataset = CombinedDataset.__new__(CombinedDataset)
    dataset.datasets = [Labeled('abc'[i], n) for i, n in enumerate(lengths)]
    dataset.resample, dataset._lens, dataset._len = False, [*lengths], sum(lengths)
    dataset._metainfo = dict.fromkeys(
        (
            *('upper_body_ids', 'lower_body_ids', 'flip_pairs'),
            *('dataset_keypoint_weights', 'flip_indices'),
        )
    )
    return dataset


def paths_drawn(dataset, kind, number, skip=0):
    """Which images are drawn by a sampler, through the wrapper of the loaders."""
    seeded = SeededDataset(dataset, seed=0)
    sampler = NumberedSampler(seeded, kind, seed=0)
    sampler.skip(skip)
    return [
        seeded.get_data_info(int(i))['img_path'] for i, _ in zip(sampler, range(number))
    ]


def test_multi_source_sampler_draws_in_its_proportions():
    kind = dict(type='MultiSourceSampler', batch_size=4, source_ratio=[1, 3])
    drawn = paths_drawn(combined(5, 10), kind, 80)
    for start in range(0, 80, 4):
        batch = [path[0] for path in drawn[start : start + 4]]
        assert sorted(batch) == ['a', 'b', 'b', 'b']
    assert len(set(drawn)) == 15
    # As a run that is resumed draws it.
    assert paths_drawn(combined(5, 10), kind, 57, skip=23) == drawn[23:]


def test_multi_source_sampler_draws_an_unlabelled_target_too():
    kind = dict(type='MultiSourceSampler', batch_size=4, source_ratio=[3, 1])
    drawn = paths_drawn(UnlabeledDataset(combined(6, 3), []), kind, 40)
    assert drawn == paths_drawn(combined(6, 3), kind, 40)
    assert [path[0] for path in drawn].count('a') == 30


def test_sampler_of_a_target_sees_no_label():
    seen = []

    class Curious(Sampler):
        def __init__(self, dataset, seed):
            seen.extend(part.get_data_info(0) for part in dataset.datasets)
            seen.append(dataset.get_data_info(0))

        def __iter__(self):
            return iter([0])

    kind = dict(type=Curious)
    NumberedSampler(SeededDataset(UnlabeledDataset(combined(2, 2), []), 0), kind, 0)
    assert [set(info) - set(UnlabeledDataset.METAINFO_KEYS) for info in seen[:2]] == [
        {'img_path'},
        {'img_path'},
    ]
    assert 'keypoints' not in seen[2]


def test_what_a_sampler_objects_to_is_said_of_the_sampler():
    kind = dict(type='MultiSourceSampler', batch_size=4, source_ratio=[1, 1, 1])
    with pytest.raises(InputError, match='sampler = .*length of source_ratio'):
        NumberedSampler(combined(2, 2), kind, seed=0)


@pytest.mark.parametrize('ratio', [[19, 1], [0, 1]])
def test_a_ratio_that_leaves_a_dataset_out_is_refused(ratio):
    kind = dict(type='MultiSourceSampler', batch_size=4, source_ratio=ratio)
    with pytest.raises(InputError, match=r'samples of each dataset.*source_ratio'):
        NumberedSampler(combined(2, 2), kind, seed=0)


class Batches(SequentialSampler):
    def __init__(self, dataset, seed, batch_size):
        super().__init__(dataset)
        self.batch_size = batch_size


def test_batches_are_those_that_a_sampler_composes():
    def loader(size):
        kind = dict(type=Batches, batch_size=8)
        return dict(dataset=Noise(9), batch_size=size, num_workers=0, sampler=kind)

    build_numbered_dataloader(Runner, loader(8), seed=0)
    with pytest.raises(InputError, match='batches of 8, but batch_size of .* is 4'):
        build_numbered_dataloader(Runner, loader(4), seed=0)


@pytest.mark.parametrize('num_workers', [0, 1])
def test_collate_function_of_a_config_is_used(num_workers):
    def collate(samples, factor):
        return dict(sum=factor * torch.tensor(sum(sample[0] for sample in samples)))

    loader = build_numbered_dataloader(
        Runner,
        dict(
            dataset=Noise(8),
            batch_size=4,
            num_workers=num_workers,
            sampler=dict(type='DefaultSampler', shuffle=False),
            collate_fn=dict(type=collate, factor=10),
        ),
        seed=0,
    )
    batches = [int(batch['sum']) for batch, _ in zip(loader, range(2))]
    assert batches == [10 * (0 + 1 + 2 + 3), 10 * (4 + 5 + 6 + 7)]
