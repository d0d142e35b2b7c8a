"""A run that is resumed for longer has the schedule of the longer run."""

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.optim import OptimWrapper, OptimWrapperDict
from mmengine.runner import Runner
from mmpose.registry import MODELS, OPTIM_WRAPPER_CONSTRUCTORS
from torch import nn

SHORT, LONG = 6, 12


@MODELS.register_module()
class TwoWeights(BaseModel):
    def __init__(self):
        super().__init__()
        self.one = nn.Linear(1, 1, bias=False)
        self.other = nn.Linear(1, 1, bias=False)

    def forward(self, inputs, data_samples=None, mode='tensor'):
        return dict(loss=self.other(self.one(inputs[0])).sum())

    def train_step(self, data, optim_wrapper):
        if not isinstance(optim_wrapper, OptimWrapperDict):
            return super().train_step(data, optim_wrapper)
        loss = self(data['inputs'])['loss']
        loss.backward()
        for wrapper in optim_wrapper.values():
            wrapper.step()
            wrapper.zero_grad()
        return dict(loss=loss)


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class OneForEach:
    def __init__(self, optim_wrapper_cfg, paramwise_cfg=None):
        pass

    def __call__(self, model):
        return OptimWrapperDict(
            one=OptimWrapper(torch.optim.SGD(model.one.parameters(), lr=0.1)),
            other=OptimWrapper(torch.optim.Adam(model.other.parameters(), lr=0.01)),
        )


class Watch(Hook):
    """Notes what is scheduled, in each iteration."""

    priority = 'LOWEST'
    seen: dict = {}

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        wrappers = runner.optim_wrapper
        several = isinstance(wrappers, OptimWrapperDict)
        wrappers = dict(wrappers.items()) if several else {'': wrappers}
        Watch.seen[batch_idx] = {
            name: [
                {k: v for k, v in group.items() if k in ('lr', 'momentum', 'betas')}
                for group in wrapper.param_groups
            ]
            for name, wrapper in wrappers.items()
        }


def run(work_dir, schedule, max_iters, resume=False, **changes):
    settings = dict(
        model=dict(type='TwoWeights'),
        work_dir=str(work_dir),
        train_dataloader=dict(
            batch_size=1,
            num_workers=0,
            dataset=[dict(inputs=torch.ones(1)) for _ in range(3)],
            sampler=dict(type='InfiniteSampler'),
        ),
        train_cfg=dict(type='SeededTrainLoop', max_iters=max_iters),
        optim_wrapper=dict(
            optimizer=dict(type='SGD', lr=0.1, momentum=0.9),
            paramwise_cfg=dict(custom_keys=dict(other=dict(lr_mult=0.1))),
        ),
        param_scheduler=schedule,
        default_hooks=dict(
            checkpoint=dict(type='AtomicCheckpointHook', by_epoch=False, interval=SHORT)
        ),
        custom_hooks=[Watch()],
        resume=resume,
        default_scope='mmpose',
        log_level='INFO',
        randomness=dict(seed=0),
        experiment_name=f'{work_dir.name}_{max_iters}',
    )
    Watch.seen = {}
    Runner(**{**settings, **changes}).train()
    return Watch.seen


STEPS = dict(by_epoch=False)
SCHEDULES = {
    'inverse decay': [dict(type='InverseDecayLR', gamma=0.1, **STEPS)],
    'steps': [dict(type='MultiStepLR', milestones=[2, 5, 8, 10], **STEPS)],
    'warm-up, then cosine': [
        dict(type='LinearLR', start_factor=0.1, end=4, **STEPS),
        dict(type='CosineAnnealingLR', begin=4, **STEPS),
    ],
    'warm-up that is as long as the run': [dict(type='LinearLR', **STEPS)],
    'polynomial': [dict(type='PolyLR', power=0.9, eta_min=1e-4, **STEPS)],
    'exponential': [dict(type='ExponentialLR', gamma=0.9, **STEPS)],
    'by step': [dict(type='StepLR', step_size=4, gamma=0.5, **STEPS)],
    'cosine with restarts': [
        dict(
            type='CosineRestartLR',
            periods=[4, 8],
            restart_weights=[1, 0.5],
            eta_min=0,
            **STEPS,
        )
    ],
    'momentum': [
        dict(type='LinearMomentum', start_factor=0.5, **STEPS),
        dict(type='ConstantLR', factor=0.5, **STEPS),
    ],
}


@pytest.mark.parametrize('name', SCHEDULES)
def test_resumed_for_longer_the_rates_are_those_of_the_longer_run(tmp_path, name):
    schedule = SCHEDULES[name]
    whole = run(tmp_path / 'whole', schedule, LONG)
    assert len(whole) == LONG
    first = run(tmp_path / 'parts', schedule, SHORT)
    assert [*first] == [*range(SHORT)]
    rest = run(tmp_path / 'parts', schedule, LONG, resume=True)
    # To the last digit, of each group and of what a paramwise config is relative to.
    assert rest == {i: whole[i] for i in range(SHORT, LONG)}
    assert len({str(rest[i]) for i in rest}) > 1, 'the rates do not change'


def test_resumed_for_longer_each_player_has_its_own_schedule(tmp_path):
    schedules = dict(
        one=[dict(type='CosineAnnealingLR', **STEPS)],
        other=[
            dict(type='PolyLR', **STEPS),
            dict(type='LinearMomentum', start_factor=0.5, **STEPS),
        ],
    )
    players = dict(optim_wrapper=dict(constructor='OneForEach'))
    whole = run(tmp_path / 'whole', schedules, LONG, **players)
    run(tmp_path / 'parts', schedules, SHORT, **players)
    rest = run(tmp_path / 'parts', schedules, LONG, resume=True, **players)
    assert rest == {i: whole[i] for i in range(SHORT, LONG)}
    betas = {state['other'][0]['betas'] for state in rest.values()}
    assert len(betas) == len(rest)


@pytest.mark.parametrize(
    'later',
    [
        [dict(type='MultiStepLR', milestones=[3, 9], **STEPS)],
        [dict(type='PolyLR', **STEPS), dict(type='ConstantLR', end=8, **STEPS)],
        None,
    ],
    ids=['another', 'one more', 'none'],
)
def test_resumed_with_another_schedule_the_rates_are_those_of_that(tmp_path, later):
    whole = run(tmp_path / 'whole', later, LONG)
    run(tmp_path / 'parts', SCHEDULES['inverse decay'], SHORT)
    rest = run(tmp_path / 'parts', later, LONG, resume=True)
    assert rest == {i: whole[i] for i in range(SHORT, LONG)}


def test_log_says_that_there_is_nothing_left_to_train(tmp_path):
    run(tmp_path / 'parts', SCHEDULES['steps'], LONG)
    assert run(tmp_path / 'parts', SCHEDULES['steps'], SHORT, resume=True) == {}
    logs = ''.join(path.read_text() for path in tmp_path.glob('parts/*/*.log'))
    assert f'is of iteration {LONG}, and max_iters is {SHORT}' in logs


def test_log_says_that_the_schedule_is_another(tmp_path):
    whole = run(tmp_path / 'whole', SCHEDULES['inverse decay'], LONG)
    run(tmp_path / 'parts', SCHEDULES['inverse decay'], SHORT)
    run(tmp_path / 'parts', SCHEDULES['inverse decay'], LONG, resume=True)
    logs = ''.join(path.read_text() for path in tmp_path.glob('parts/*/*.log'))
    (line,) = [line for line in logs.splitlines() if 'The schedule of' in line]
    now = whole[SHORT][''][0]['lr']
    before = whole[SHORT - 1][''][0]['lr']  # where it ended
    assert f'a run of {LONG} iterations' in line
    assert f'was {before:.4g} when it was saved and is {now:.4g}' in line


def test_checkpoint_without_schedules_does_not_begin_them_anew(tmp_path):
    hooks = dict(
        checkpoint=dict(
            type='AtomicCheckpointHook',
            by_epoch=False,
            interval=SHORT,
            save_param_scheduler=False,
        )
    )
    schedule = [dict(type='LinearLR', end=9, **STEPS)]
    whole = run(tmp_path / 'whole', schedule, LONG)
    run(tmp_path / 'parts', schedule, LONG, default_hooks=hooks)
    (tmp_path / 'parts' / f'iter_{LONG}.pth').unlink()
    rest = run(tmp_path / 'parts', schedule, LONG, resume=True)
    assert rest == {i: whole[i] for i in range(SHORT, LONG)}
