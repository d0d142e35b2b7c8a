"""A loss that is no number stops a training and says where it came from."""

import pytest
import torch
from conftest import (
    FRAGMENTS,
    ROOT,
    SGD,
    batches_of,
    tiny_config,
    tiny_model_config,
)
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.optim import build_optim_wrapper
from mmengine.runner import find_latest_checkpoint
from mmpose.registry import HOOKS, MODELS

from mmregda import InputError
from mmregda.datasets.views import views_of
from mmregda.engine import stages
from mmregda.engine.checkpoints import read_checkpoint
from mmregda.engine.finite import require_finite
from mmregda.models.adaptations import minimize
from mmregda.visualization import load_scalars

METHODS = [path.stem for path in FRAGMENTS]


def batches(method='RegDA'):
    data = batches_of(method, 21, 1)
    for domain, views in data.items():
        for batch in views_of(views).values():
            for index, sample in enumerate(batch['data_samples']):
                sample.set_metainfo(dict(img_path=f'{domain[0]}{index}.png'))
    return data


def built(name):
    fragment = Config.fromfile(str(ROOT / f'configs/_base_/adaptations/{name}.py'))
    model = MODELS.build(tiny_model_config(**fragment.adaptation))
    cfg = dict(constructor='PlayerOptimWrapperConstructor', optimizer=SGD)
    return model, build_optim_wrapper(model, cfg)


def step(model, optim_wrapper, data):
    log_vars = model.train_step(data, optim_wrapper)
    require_finite('iteration 17', optim_wrapper, log_vars, data)


@pytest.mark.parametrize('name', METHODS)
def test_spoilt_label_is_traced_to_its_loss_and_images(name):
    model, optim_wrapper = built(name)
    if 'source' not in model.adaptation.domains:
        pytest.skip('it has no source')
    data = batches(type(model.adaptation).__name__)
    step(model, optim_wrapper, data)
    data['source']['data_samples'][0].gt_fields.heatmaps[:, 0, 0] = torch.nan
    with pytest.raises(InputError) as error:
        step(model, optim_wrapper, data)
    first, *paths = str(error.value).splitlines()[:-1]
    assert first.startswith('iteration 17: loss_sup is nan.')
    expected = [f'{domain} {domain[0]}{i}.png' for domain in data for i in range(2)]
    assert [path.strip() for path in paths] == expected


def test_later_loss_of_an_iteration_is_told_from_the_first():
    model, optim_wrapper = built('regda')
    loss_of = model.adaptation.adversary_loss
    model.adaptation.adversary_loss = lambda *args: loss_of(*args) + torch.inf
    with pytest.raises(InputError, match='iteration 17: loss_adversary is inf.'):
        step(model, optim_wrapper, batches())


def test_loss_that_is_not_logged_is_found_where_it_is_minimised():
    model, optim_wrapper = built('mcd')
    data = batches()
    log_vars = model.train_step(data, optim_wrapper)
    parameter = next(model.head.parameters())
    # MCD's step B is of its heads.
    minimize(parameter.sum() * torch.nan, optim_wrapper, ('head', 'adversary'))
    with pytest.raises(InputError, match='what head minimises is nan'):
        require_finite('iteration 17', optim_wrapper, log_vars, data)
    log_vars = dict(loss_sup=torch.tensor(1.0))
    require_finite(
        'iteration 18', optim_wrapper, log_vars, data
    )  # It was another iteration's.


def test_accuracy_that_is_undefined_is_no_fault():
    model, optim_wrapper = built('source_only')
    data = batches('SourceOnly')
    log_vars = dict(
        model.train_step(data, optim_wrapper), accuracy=torch.tensor(torch.nan)
    )
    require_finite('iteration 17', optim_wrapper, log_vars, data)


@HOOKS.register_module()
class SpoilHook(Hook):
    """Spoils a label of the third batch."""

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter == 2:
            samples = data_batch.get('source', data_batch)['data_samples']
            samples[0].gt_fields.heatmaps[:] = torch.nan


@pytest.mark.slow
@pytest.mark.parametrize('stage', ['adaptation', 'pretraining'])
def test_run_stops_at_once_and_keeps_the_last_good_checkpoint(
    hand_pair, tmp_path, stage
):
    cfg = tiny_config(hand_pair, tmp_path)
    cfg.custom_hooks = [dict(type='SpoilHook')]
    cfg.default_hooks.checkpoint.interval = 1
    cfg.default_hooks.logger.interval = 1
    loss = 'loss_sup'
    if stage == 'pretraining':
        loss = 'loss_kpt'
        cfg.model.type = 'TopdownPoseEstimator'
        cfg.model.pop('adaptation')
        cfg.train_dataloader = cfg.train_dataloader.source
        cfg.train_cfg.type = 'SeededTrainLoop'
        cfg.optim_wrapper = dict(optimizer=SGD)
        cfg.param_scheduler = cfg.model_wrapper_cfg = None
    with pytest.raises(InputError, match=rf'(?s)iteration 3: {loss} is nan.*\.png'):
        stages.train(cfg)
    assert find_latest_checkpoint(str(tmp_path)) == str(tmp_path / 'iter_2.pth')
    assert not (tmp_path / 'iter_3.pth').exists()
    weights = read_checkpoint(str(tmp_path / 'iter_2.pth'))['state_dict']
    assert all(torch.isfinite(weight).all() for weight in weights.values())
    assert load_scalars(str(tmp_path))[loss][0] == [1, 2]
