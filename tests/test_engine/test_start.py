"""What a training does before its first iteration."""

import torch
from conftest import tiny_config
from mmengine.config import Config

from mmregda.datasets import samplers
from mmregda.engine import stages


def test_config_is_not_laid_out(hand_pair, tmp_path, monkeypatch):
    def lay_out(text, **_):
        raise AssertionError('seconds for each log, copy and checkpoint')

    monkeypatch.setattr('yapf.yapflib.yapf_api.FormatCode', lay_out)
    cfg = tiny_config(hand_pair, tmp_path / 'run', max_iters=2)
    cfg.val_dataloader = cfg.val_evaluator = cfg.val_cfg = None
    cfg.custom_hooks = []
    cfg.default_hooks.checkpoint.save_best = None
    runner = stages.run(cfg)
    saved = torch.load(tmp_path / 'run' / 'iter_2.pth', weights_only=False)
    assert "type='RegDA'" in saved['meta']['cfg']
    # The copy in the work directory is a config of the same content.
    (copy,) = (tmp_path / 'run').glob('*.py')
    assert Config.fromfile(copy).model == runner.cfg.model


def test_batches_for_a_gpu_are_pinned_whole(monkeypatch):
    class Runner:
        @staticmethod
        def build_dataloader(cfg, seed):
            built.append(cfg)
            return torch.utils.data.DataLoader([0])

    built = []
    cfg = dict(dataset=dict(type='Any'), sampler=dict(type='Any'), batch_size=2)
    samplers.build_numbered_dataloader(Runner, cfg, seed=0)
    assert 'pin_memory' not in built[-1] and 'collate_fn' not in built[-1]
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    samplers.build_numbered_dataloader(Runner, cfg, seed=0)
    assert built[-1]['pin_memory'] is True
    assert built[-1]['collate_fn'] == dict(type='default_collate')
    # What a config says holds.
    samplers.build_numbered_dataloader(Runner, dict(cfg, pin_memory=False), seed=0)
    assert built[-1]['pin_memory'] is False
