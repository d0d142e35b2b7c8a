"""Checkpoints: whole or not there, whenever writing is interrupted."""

import os
import shutil
import signal
import subprocess
import sys
from contextlib import suppress

import pytest
import torch
from mmengine.evaluator import BaseMetric
from mmengine.fileio import LocalBackend
from mmengine.hooks import Hook
from mmengine.infer import BaseInferencer
from mmengine.model import BaseModel
from mmengine.runner import Runner
from mmpose.registry import HOOKS, METRICS, MODELS
from torch import nn

from mmregda import InputError, compat
from mmregda.engine.checkpoints import latest_checkpoint, read_checkpoint

INTERVAL, END = 2, 5
SCORES = {1: 0.1, 2: 0.5, 3: 0.7, 4: 0.9, 5: 0.1}  # by iteration


@MODELS.register_module()
class Counter(BaseModel):
    """A model whose state says how it has been trained."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3))
        self.register_buffer('mask', torch.tensor([0.0, -torch.inf]))

    def forward(self, inputs, data_samples=None, mode='tensor'):
        if mode == 'loss':
            return dict(loss=(self.weight**2 * inputs[0].sum()).sum())
        return [self.weight]


@METRICS.register_module()
class Scripted(BaseMetric):
    def process(self, data_batch, data_samples):
        self.results.append(0)

    def compute_metrics(self, results):
        from mmengine.logging import MessageHub

        step = MessageHub.get_current_instance().get_info('iter') + 1
        return dict(score=SCORES[step])


def config(
    work_dir, hooks=(), resume=False, keep=2, val_interval=INTERVAL, **checkpoint
):
    loader = dict(
        batch_size=1,
        num_workers=0,
        dataset=[dict(inputs=torch.tensor([float(i)])) for i in range(5)],
        sampler=dict(type='DefaultSampler', shuffle=False),
    )
    return dict(
        model=dict(type='Counter'),
        work_dir=str(work_dir),
        train_dataloader=dict(loader),
        val_dataloader=dict(loader),
        val_evaluator=dict(type='Scripted'),
        train_cfg=dict(by_epoch=False, max_iters=END, val_interval=val_interval),
        val_cfg=dict(),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.01, momentum=0.9)),
        default_hooks=dict(
            checkpoint=dict(
                type='AtomicCheckpointHook',
                **dict(
                    dict(
                        by_epoch=False,
                        interval=INTERVAL,
                        max_keep_ckpts=keep,
                        save_best='score',
                        rule='greater',
                    ),
                    **checkpoint,
                ),
            )
        ),
        custom_hooks=list(hooks),
        resume=resume,
        default_scope='mmpose',
        log_level='ERROR',
        experiment_name=f'{work_dir.name}_{resume}_{os.getpid()}',
    )


def train(work_dir, **kwargs):
    Runner(**config(work_dir, **kwargs)).train()


def files(work_dir):
    names = {path.name for path in work_dir.iterdir() if path.is_file()}
    return {n for n in names if not n.endswith('.py')}


def comparable(path):
    """A checkpoint without what the clock says."""
    content = read_checkpoint(str(path))
    hub = content['message_hub']
    scalars = {
        name: buffer.data[0].tolist()
        for name, buffer in hub['log_scalars'].items()
        if 'time' not in name
    }
    info = {k: v for k, v in hub['runtime_info'].items() if 'ckpt' in k or 'best' in k}
    info = {
        k: os.path.basename(v) if isinstance(v, str) else v for k, v in info.items()
    }
    states = {k: v.tolist() for k, v in content['state_dict'].items()}
    return states, str(content.get('optimizer')), scalars, info


def in_a_process(task):
    """Run a task in a fork; by which signal it ended, 0 if by none."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            task()
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0


def kill_at_operation(work_dir, number):
    """Die at the n-th operation on a checkpoint's file or on the note.

    Before it is opened, flushed, renamed or removed, or when half is written.
    """
    seen = 0
    put = LocalBackend.put

    def strikes():
        nonlocal seen
        seen += 1
        return seen == number

    def put_or_die_halfway(backend, content, path):
        if strikes():
            put(backend, content[: len(content) // 2], path)
            os.kill(os.getpid(), signal.SIGKILL)
        put(backend, content, path)

    def audit(event, arguments):
        if event not in ('open', 'os.rename', 'os.remove'):
            return
        if event == 'open' and not set('wax+') & set(str(arguments[1])):
            return
        path = str(arguments[0])
        ours = os.path.dirname(path) == str(work_dir) and not path.endswith('.py')
        if ours and strikes():
            os.kill(os.getpid(), signal.SIGKILL)

    LocalBackend.put = put_or_die_halfway
    sys.addaudithook(audit)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, 'fork'), reason='needs fork')
def test_killed_at_any_of_its_file_operations_a_run_ends_the_same(tmp_path):
    whole = tmp_path / 'whole'
    assert in_a_process(lambda: train(whole, keep=1)) == 0
    assert files(whole) == {'iter_5.pth', 'best_score_iter_4.pth', 'last_checkpoint'}
    names = ('iter_5.pth', 'best_score_iter_4.pth')
    expected = [comparable(whole / name) for name in names]

    number, killed = 0, signal.SIGKILL
    while killed:
        number += 1
        parts = tmp_path / f'parts_{number}'

        def until_killed(parts=parts, number=number):
            kill_at_operation(parts, number)
            train(parts, keep=1)

        killed = in_a_process(until_killed)
        for path in parts.glob('*.pth'):
            read_checkpoint(str(path))
        note = parts / 'last_checkpoint'
        if note.exists() and note.read_text() not in ('', 'none'):
            assert 'optimizer' in read_checkpoint(note.read_text())
            # The best so far is there besides.
            assert list(parts.glob('best_score_iter_*.pth'))
        assert in_a_process(lambda parts=parts: train(parts, resume=True, keep=1)) == 0
        assert [comparable(parts / name) for name in names] == expected, number
        # One that was outdated may be left.
        assert files(parts) >= files(whole), number
    # Five checkpoints, each opened, flushed and renamed, and three notes.
    assert number > 20


@HOOKS.register_module()
class ActHook(Hook):
    """Does something to a run when so many iterations are done."""

    def __init__(self, at, act):
        self.at, self.act = at, act

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.iter + 1 == self.at:
            self.act(runner)


def interrupt(runner):
    raise KeyboardInterrupt


@pytest.fixture
def interrupted(tmp_path):
    """A run that has ended after five iterations, with checkpoints of 2 and 4."""
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, hooks=[ActHook(4 + 1, interrupt)])
    assert latest_checkpoint(str(tmp_path)) == str(tmp_path / 'iter_4.pth')
    return tmp_path


def tear(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path):
    content = bytearray(path.read_bytes())
    place = content.index(torch.tensor([0.0, -torch.inf]).numpy().tobytes())
    content[place] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    'damage',
    [tear, flip, lambda path: path.write_bytes(b''), os.remove],
    ids=['torn', 'a bit flipped', 'empty', 'missing'],
)
def test_unreadable_checkpoint_gives_way_to_the_one_before(interrupted, damage):
    damage(interrupted / 'iter_4.pth')
    started = []
    hook = ActHook(3, lambda runner: started.append(runner.iter))
    train(interrupted, hooks=[hook], resume=True)
    assert started == [2]  # It has begun after two iterations.
    assert 'optimizer' in read_checkpoint(str(interrupted / 'iter_5.pth'))


@pytest.mark.parametrize('note', [b'', b'\xff\xfe\0', b'iter_4.p'])
def test_torn_note_does_not_lose_the_checkpoints(interrupted, note):
    (interrupted / 'last_checkpoint').write_bytes(note)
    found = latest_checkpoint(str(interrupted))
    assert found == str(interrupted / 'iter_4.pth')


def test_best_checkpoint_is_not_resumed_from(interrupted):
    # It is the newest that can be read, and has no state of an optimiser.
    os.utime(interrupted / 'best_score_iter_4.pth', (2**31, 2**31))
    tear(interrupted / 'iter_4.pth')
    found = latest_checkpoint(str(interrupted))
    assert found == str(interrupted / 'iter_2.pth')


def test_folder_that_was_moved_is_resumed_from_itself(interrupted, tmp_path_factory):
    moved = tmp_path_factory.mktemp('moved') / 'run'
    shutil.move(str(interrupted), moved)
    assert latest_checkpoint(str(moved)) == str(moved / 'iter_4.pth')


def test_where_none_can_be_read_all_are_named(interrupted):
    for name in ('iter_2.pth', 'iter_4.pth'):
        tear(interrupted / name)
    with pytest.raises(InputError, match='(?s)no checkpoint.*iter_4.*iter_2.*anew'):
        train(interrupted, resume=True)


def test_without_a_note_the_newest_is_resumed_from(interrupted):
    (interrupted / 'last_checkpoint').unlink()
    # By its iterations; as files of a copied folder any may be the newest.
    os.utime(interrupted / 'iter_2.pth', (2**31, 2**31))
    assert latest_checkpoint(str(interrupted)) == str(interrupted / 'iter_4.pth')
    for name in ('iter_2.pth', 'iter_4.pth'):
        tear(interrupted / name)
    with pytest.raises(InputError, match='iter_4'):
        latest_checkpoint(str(interrupted))


def test_where_no_training_has_saved_there_is_nothing_to_resume(tmp_path):
    assert latest_checkpoint(str(tmp_path)) is None
    torch.save(dict(state_dict={}), tmp_path / 'weights.pth')
    assert latest_checkpoint(str(tmp_path)) is None
    (tmp_path / 'last_checkpoint').write_text(str(tmp_path / 'weights.pth'))
    with pytest.raises(InputError, match='weights.pth" has no meta'):
        latest_checkpoint(str(tmp_path))


def test_last_checkpoint_does_not_wait_for_a_validation_that_never_comes(tmp_path):
    # MMEngine before 0.10.5 validates at its intervals only.
    def call_off(runner):
        runner.val_loop.run = dict

    train(tmp_path, hooks=[ActHook(END, call_off)], val_interval=3)
    assert {'iter_4.pth', 'iter_5.pth'} <= files(tmp_path)


def test_training_begun_anew_does_not_go_on_from_another(interrupted):
    with pytest.raises(KeyboardInterrupt):
        train(interrupted, hooks=[ActHook(1, interrupt)])
    assert (interrupted / 'iter_4.pth').exists()
    assert latest_checkpoint(str(interrupted)) is None
    started = []
    hook = ActHook(1, lambda runner: started.append(runner.iter))
    train(interrupted, hooks=[hook], resume=True)
    assert started == [0]
    assert latest_checkpoint(str(interrupted)) == str(interrupted / 'iter_5.pth')


def test_named_checkpoint_without_an_optimiser_is_resumed_from(
    interrupted, tmp_path_factory
):
    forge(interrupted / 'iter_4.pth', lambda c: c.pop('optimizer'))
    here = tmp_path_factory.mktemp('here')
    path = str(interrupted / 'iter_4.pth')
    Runner(**config(here, resume=True), load_from=path).train()
    assert (here / 'iter_5.pth').exists() and not (here / 'iter_4.pth').exists()


def forge(path, change):
    content = read_checkpoint(str(path))
    change(content)
    torch.save(content, path)


FORGERIES = {
    'a weight less': (lambda c: c['state_dict'].pop('weight'), '"weight" is missing'),
    'a weight more': (
        lambda c: c['state_dict'].update(other=torch.ones(1)),
        r'"other" is \(1,\) there and missing here',
    ),
    'another shape': (
        lambda c: c['state_dict'].update(weight=torch.ones(4)),
        r'"weight" is \(4,\) there and \(3,\) here',
    ),
}


@pytest.mark.parametrize('name', FORGERIES)
def test_checkpoint_that_does_not_fit_is_not_gone_on_from(interrupted, name):
    change, message = FORGERIES[name]
    forge(interrupted / 'iter_4.pth', change)
    with pytest.raises(InputError, match=f'iter_4.pth.*{message}'):
        train(interrupted, resume=True)


MALFORMED = {
    'no meta': lambda c: c.update(meta=5),
    'no iterations': lambda c: c.update(meta={}),
    'no scalars': lambda c: c.update(message_hub=5),
    'no optimiser': lambda c: c.update(optimizer=5),
    'weights that are none': lambda c: c['state_dict'].update(weight=5),
    'weights without names': lambda c: c['state_dict'].update({1: torch.ones(1)}),
}


@pytest.mark.parametrize('name', MALFORMED)
def test_malformed_checkpoint_gives_way_to_the_one_before(interrupted, name):
    forge(interrupted / 'iter_4.pth', MALFORMED[name])
    found = latest_checkpoint(str(interrupted))
    assert found == str(interrupted / 'iter_2.pth')


@pytest.mark.skipif(not hasattr(os, 'fork'), reason='needs fork')
def test_program_in_a_checkpoint_is_not_run(interrupted):
    trace = interrupted / 'executed'
    path = interrupted / 'iter_4.pth'
    program = f'open({str(trace)!r}, "w").close()\n'

    def plant(content):
        for entries in (content['meta'], content['message_hub']['runtime_info']):
            entries.update(config=program, cfg=program)

    forge(path, plant)

    def resume():
        compat.refuse_unsafe_checkpoints()
        assert read_checkpoint(str(path))['meta']['iter'] == 4
        with suppress(Exception):  # It finds nothing to build a model of.
            BaseInferencer._init_model(BaseInferencer, {}, str(path))
        train(interrupted, resume=True)

    assert in_a_process(resume) == 0
    assert (interrupted / 'iter_5.pth').exists() and not trace.exists()


def mount_tmpfs(folder, size):
    command = ['mount', '-t', 'tmpfs', '-o', f'size={size}', 'tmpfs', str(folder)]
    return subprocess.run(command, capture_output=True).returncode == 0


def test_full_disk_leaves_the_earlier_checkpoint(tmp_path, monkeypatch):
    work_dir = tmp_path / 'small'
    work_dir.mkdir()
    mounted = mount_tmpfs(work_dir, '1m')

    def fill(runner):
        if mounted:
            with open(work_dir / 'rest', 'wb') as file:
                file.write(bytes(os.statvfs(work_dir).f_bavail * 4096 - 4096))
        elif os.path.exists('/dev/full'):
            put = LocalBackend.put

            def put_on_a_full_one(backend, content, path):
                os.symlink('/dev/full', path)
                put(backend, content, path)

            monkeypatch.setattr(LocalBackend, 'put', put_on_a_full_one)
        else:
            pytest.skip('needs root or /dev/full')

    try:
        message = 'iter_4.pth" cannot be written: No space left on device'
        with pytest.raises(InputError, match=message):
            train(work_dir, hooks=[ActHook(4, fill)], save_best=None)
        assert not list(work_dir.glob('*.partial'))
        found = latest_checkpoint(str(work_dir))
        assert found == str(work_dir / 'iter_2.pth')
        if mounted:
            (work_dir / 'rest').unlink()
        monkeypatch.undo()
        train(work_dir, resume=True, save_best=None)
        assert 'optimizer' in read_checkpoint(str(work_dir / 'iter_5.pth'))
    finally:
        if mounted:
            subprocess.run(['umount', '-l', str(work_dir)], check=True)


@pytest.mark.parametrize('value', [torch.nan, torch.inf])
def test_weights_that_are_not_finite_are_not_saved(tmp_path, value):
    def spoil(runner):
        runner.model.weight.data[1] = value

    # As a gradient would that is not finite where the loss is.
    hook = ActHook(4, spoil)
    with pytest.raises(InputError, match='4 iterations "weight" is not.*iter_2.pth'):
        train(tmp_path, hooks=[hook], save_best=None)
    assert files(tmp_path) == {'iter_2.pth', 'last_checkpoint'}


@pytest.mark.parametrize('name', ['running_mean', 'running_var'])
def test_statistics_that_are_not_finite_are_not_saved(tmp_path, name):
    def spoil(runner):
        runner.model.register_buffer(name, torch.tensor([1.0, torch.inf]))

    with pytest.raises(InputError, match=f'"{name}" is not finite'):
        train(tmp_path, hooks=[ActHook(2, spoil)], save_best=None)


def test_what_a_kill_has_left_is_removed_and_nothing_else(interrupted):
    half, other = interrupted / 'iter_9.pth.12ab.partial', interrupted / 'notes.txt'
    half.touch()
    other.touch()
    train(interrupted, resume=True)
    assert other.exists() and not half.exists()


def test_run_that_is_resumed_from_elsewhere_removes_no_files_there(
    interrupted, tmp_path_factory
):
    here = tmp_path_factory.mktemp('here')
    before = files(interrupted)
    path = str(interrupted / 'iter_2.pth')  # A better one is to come.
    Runner(**config(here, resume=True, keep=1), load_from=path).train()
    assert files(interrupted) == before
    assert (here / 'iter_5.pth').exists()


def test_checkpoint_of_a_new_best_is_saved_after_resuming_as_before(tmp_path):
    # The third iteration has no checkpoint due; it gets one for its score.
    whole, parts = tmp_path / 'whole', tmp_path / 'parts'
    train(whole, keep=3, val_interval=1)
    assert files(whole) == {
        *('iter_3.pth', 'iter_4.pth', 'iter_5.pth', 'best_score_iter_4.pth'),
        'last_checkpoint',
    }
    with pytest.raises(KeyboardInterrupt):
        train(parts, keep=3, val_interval=1, hooks=[ActHook(3, interrupt)])
    train(parts, keep=3, val_interval=1, resume=True)
    assert files(parts) == files(whole)
    assert comparable(parts / 'iter_5.pth') == comparable(whole / 'iter_5.pth')
