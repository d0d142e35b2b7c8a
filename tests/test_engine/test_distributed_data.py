"""What several processes draw and validate is what one does."""

import pytest
import torch
import torch.distributed as dist
from conftest import tiny_config, tiny_model_config, write_pretrain_config
from mmengine.evaluator import BaseMetric
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmpose.registry import HOOKS, METRICS, MODELS
from processes import results

from mmregda.engine import DisparityStatisticsHook, stages
from mmregda.engine.distributed import joined_processes
from mmregda.engine.loops import unwrap
from mmregda.engine.start import load_pretrain_config

pytestmark = pytest.mark.slow


def draw(pair, folder, batch_size, workers):
    """Three batches of a process, which has its own number of data workers."""
    with joined_processes('pytorch', {}):
        cfg = tiny_config(pair, folder, launcher='pytorch')
        for loader in cfg.train_dataloader.values():
            loader.update(batch_size=batch_size)
            loader.update(num_workers=workers[dist.get_rank()])
        cfg.train_dataloader.source.dataset.indices = 3
        runner = Runner.from_cfg(cfg)
        iterator = runner.build_train_loop(cfg.train_cfg).dataloader_iterator
        drawn = [next(iterator) for _ in range(3)]
        return [
            {domain: torch.stack(batch['inputs']) for domain, batch in batches.items()}
            for batches in drawn
        ]


def test_processes_deal_out_the_draws_of_one(hand_pair, tmp_path):
    """Also of a source that has fewer samples than there are processes."""
    (alone,) = results(draw, 1, hand_pair, tmp_path, 8, [0])
    dealt = results(draw, 4, hand_pair, tmp_path, 2, [0, 1, 2, 0])
    for number, whole in enumerate(alone):
        for domain, images in whole.items():
            parts = [drawn[number][domain] for drawn in dealt]
            # All batches are full: a domain that ends starts over.
            assert [len(part) for part in parts] == [2, 2, 2, 2]
            # The n-th draw is of process n modulo 4.
            assert torch.equal(torch.stack(parts, dim=1).flatten(0, 1), images)


@METRICS.register_module()
class SeenMetric(BaseMetric):
    """Keeps which samples the metrics are of."""

    default_prefix = 'seen'
    seen: dict = {}

    def process(self, data_batch, data_samples):
        self.results += [sample['img_path'] for sample in data_samples]

    def compute_metrics(self, results):
        self.computed = list(results)
        return dict(count=len(results))

    def evaluate(self, size):
        # A rehearsal computes, in all processes, but does not evaluate.
        found = super().evaluate(size)
        if hasattr(self, 'computed'):
            name = self.dataset_meta['dataset_name']
            SeenMetric.seen.setdefault(name, self.computed)
        return found


def validate(pair, folder, checkpoint, launcher, round_up):
    """All that is found on the validation sets."""
    SeenMetric.seen.clear()
    cfg = tiny_config(pair, folder, launcher=launcher)
    for domain, loader in cfg.val_dataloader.items():
        loader.sampler.round_up = round_up
        cfg.val_evaluator[domain] = [
            *cfg.val_evaluator[domain],
            dict(type='SeenMetric'),
        ]
    with joined_processes(launcher, {}):
        metrics = stages.evaluate(cfg, checkpoint)
        seen = dict(SeenMetric.seen)
        # Evaluation has left what it needs in the config, and no more.
        runner = Runner.from_cfg(cfg)
        runner.load_or_resume()
        hook = DisparityStatisticsHook(num_samples=4)
        hook.before_train(runner)
        statistics = hook.compute(unwrap(runner.model))
        # In training the processes' running statistics drift apart in stage 1.
        if runner.rank > 0:
            for name, buffer in runner.model.named_buffers():
                if 'running_mean' in name:
                    buffer += runner.rank
        drifted = runner.val()
    statistics = {name: float(value) for name, value in statistics.items()}
    return dict(metrics=metrics, seen=seen, statistics=statistics, drifted=drifted)


def test_validation_of_processes_is_that_of_one(hand_pair, tmp_path):
    """Five samples of the source and two of the target among four processes."""
    torch.manual_seed(0)
    model = MODELS.build(tiny_model_config())
    for head in (model.head, model.adaptation.adversary):
        torch.nn.init.normal_(head.final_layer.weight, std=0.3)
    checkpoint = str(tmp_path / 'weights.pth')
    torch.save(dict(state_dict=model.state_dict()), checkpoint)

    alone = validate(hand_pair, tmp_path, checkpoint, 'none', False)
    assert {name: len(paths) for name, paths in alone['seen'].items()} == dict(
        rhd=5, h3d=2
    )
    assert alone['drifted'] == alone['metrics']
    # A network without training, but no constant one.
    assert 0 < alone['metrics']['source/PCK/Avg'] < 1
    for round_up in (False, True):
        arguments = (hand_pair, tmp_path, checkpoint, 'pytorch', round_up)
        first, *others = results(validate, 4, *arguments)
        # Each sample once, and in order.
        assert first == alone
        for other in others:
            assert other == dict(first, seen={})


@HOOKS.register_module()
class StateHook(Hook):
    """Notes parameters and buffers after every iteration."""

    priority = 'LOWEST'
    states: list = []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        model = unwrap(runner.model)
        self.states.append({k: v.clone() for k, v in model.state_dict().items()})


def pretrain(pair, folder):
    """What a process holds after each iteration of the first stage."""
    with joined_processes('pytorch', {}):
        cfg = tiny_config(pair, folder / 'run', launcher='pytorch')
        path = folder / f'pretrain_{dist.get_rank()}.py'
        write_pretrain_config(cfg, path, max_iters=2)
        cfg.pretrain = dict(config=str(path), work_dir=str(folder / 'pretrain'))
        stage = load_pretrain_config(cfg)
        stage.custom_hooks = [dict(type='StateHook')]
        stages.pretrain(stage)
        return StateHook.states


def test_processes_hold_the_same_after_every_iteration_of_the_first_stage(
    hand_pair, tmp_path
):
    first, second = results(pretrain, 2, hand_pair, tmp_path)
    assert len(first) == 2
    for ours, theirs in zip(first, second):
        assert any('running_mean' in name for name in ours)
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)
