"""What an adaptation starts from: a checkpoint of MMPose, or of one's own."""

import copy
import logging
import math

import numpy as np
import pytest
import torch
from conftest import (
    SIMCC_CODEC,
    tiny_config,
    tiny_model_config,
    tiny_simcc_config,
)
from mmengine.dataset import BaseDataset
from mmengine.logging import MMLogger
from mmengine.model import BaseModule
from mmengine.runner import Runner
from mmpose.registry import DATASETS, MODELS
from torch import nn

from mmregda import InputError
from mmregda.codecs.position_space import label_weights
from mmregda.engine import stages
from mmregda.engine.checkpoints import load_network, read_checkpoint
from mmregda.engine.hooks import StartWeightsHook
from mmregda.models import logit_level
from mmregda.models.losses import KeypointKLLoss


def plain(model):
    """The same network as MMPose's own model."""
    model = copy.deepcopy(model)
    model.pop('adaptation')
    return dict(model, type='TopdownPoseEstimator')


def with_deconvs_in_the_head(model):
    """Simple Baselines as MMPose configures it."""
    model = plain(model)
    model.pop('neck')
    model['head'].update(in_channels=64, deconv_out_channels=(16, 16, 16))
    return model


def saved(model, path, seed=1):
    torch.manual_seed(seed)
    built = MODELS.build(model)
    built.init_weights()
    with torch.no_grad():
        for parameter in built.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.01)
    torch.save(dict(state_dict=built.state_dict(), meta={}), path)
    return built


def started(cfg):
    """A runner that has loaded what its config says, and what it has said."""
    records = []
    handler = logging.Handler()
    handler.emit = lambda record: records.append(record.getMessage())
    runner = stages.build_runner(cfg)
    MMLogger.get_current_instance().addHandler(handler)
    _ = runner.train_loop
    runner._init_model_weights()
    runner.load_or_resume()
    return runner, records


@pytest.fixture
def cfg(hand_pair, tmp_path):
    return tiny_config(hand_pair, tmp_path / 'run', load_from=str(tmp_path / 'x.pth'))


def test_psi_deconvolutions_and_f_of_a_checkpoint_are_taken_and_named(cfg):
    built = saved(plain(tiny_model_config()), cfg.load_from)
    runner, said = started(cfg)
    expected = 'backbone, neck, head. Anew: adaptation.adversary.'
    assert f'From "{cfg.load_from}": {expected}' in said
    assert not [text for text in said if 'match exactly' in text]
    state = runner.model.state_dict()
    for name, value in built.state_dict().items():
        assert torch.equal(state[name], value), name


@pytest.mark.parametrize('how', ['load_from', 'pretrain'])
def test_mmposes_deconvolutions_are_found_in_its_head(cfg, how):
    built = saved(with_deconvs_in_the_head(tiny_model_config()), cfg.load_from)
    if how == 'pretrain':
        cfg.pretrain = dict(checkpoint=cfg.load_from)
        cfg.load_from = None
    runner, said = started(cfg)
    assert 'backbone, neck, head. Anew: adaptation.adversary.' in '\n'.join(said)
    images = torch.randn(2, 3, 64, 64)
    runner.model.eval(), built.eval()
    with torch.no_grad():
        expected = built.head(built.extract_feat(images))
        found = runner.model.head(runner.model.extract_feat(images))
    assert torch.allclose(found, expected, atol=1e-6)


def test_mmposes_deconvolutions_are_evaluated_and_predict_as_in_mmpose(cfg):
    path, cfg.load_from = cfg.load_from, None
    theirs = with_deconvs_in_the_head(tiny_model_config())
    built = saved(theirs, path)
    with torch.no_grad():  # MMPose drops keypoints whose map is nowhere positive.
        built.head.final_layer.bias += 100
    torch.save(dict(state_dict=built.state_dict(), meta={}), path)
    of_mmpose = copy.deepcopy(cfg)
    of_mmpose.model = theirs
    expected = stages.evaluate(of_mmpose, path)
    found = stages.evaluate(copy.deepcopy(cfg), path)
    assert len(found) > 4 and found == pytest.approx(expected, rel=1e-5)
    network = load_network(cfg.model, path, 'cpu')
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        expected = built.eval().head(built.extract_feat(images))
        found = network.head(network.extract_feat(images))
    assert torch.allclose(found, expected, atol=1e-4)


@MODELS.register_module()
class Converting(BaseModule):
    """As MMPose's Swin, it takes weights of an ``init_cfg`` for another format's."""

    def __init__(self, init_cfg=None):
        super().__init__(init_cfg)
        self.layer = nn.Conv2d(3, 16, kernel_size=4, stride=4)

    def init_weights(self):
        assert self.init_cfg is None or self.init_cfg['type'] != 'Pretrained'

    def forward(self, inputs):
        return (self.layer(inputs),)


@MODELS.register_module()
class PlainNeck(nn.Module):
    """A neck of PyTorch's, which no ``init_cfg`` reaches."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Conv2d(16, 16, kernel_size=1)

    def forward(self, feats):
        return tuple(self.layer(maps) for maps in feats)


@pytest.mark.parametrize('how', ['load_from', 'pretrain'])
def test_what_parts_make_of_an_init_cfg_does_not_matter(cfg, how, tmp_path):
    nowhere = dict(type='Pretrained', checkpoint=str(tmp_path / 'nowhere.pth'))
    cfg.model.pop('backbone'), cfg.model.pop('neck')
    cfg.model.backbone = dict(type='Converting')
    cfg.model.neck = dict(type='PlainNeck')
    cfg.model.head.in_channels = 16
    built = saved(plain(cfg.model.to_dict()), cfg.load_from)
    cfg.model.backbone.init_cfg = nowhere
    if how == 'pretrain':
        cfg.pretrain = dict(checkpoint=cfg.load_from)
        cfg.load_from = None
    runner, said = started(cfg)
    assert 'backbone, neck, head. Anew: adaptation.adversary.' in '\n'.join(said)
    state = runner.model.state_dict()
    for name, value in built.state_dict().items():
        assert torch.equal(state[name], value), name


@pytest.mark.parametrize('how', ['load_from', 'pretrain'])
def test_what_a_method_adds_starts_anew_with_its_counters(cfg, how):
    """Its teacher begins as the student, its warm start at 0."""
    cfg.model = tiny_model_config(type='MeanTeacherRegDA')
    own = MODELS.build(cfg.model)
    own.adaptation.warm_start.iteration.fill_(15000)
    own.adaptation.teacher.num_updates.fill_(9)
    torch.save(dict(state_dict=own.state_dict(), meta={}), cfg.load_from)
    if how == 'pretrain':
        cfg.pretrain = dict(checkpoint=cfg.load_from)
        cfg.load_from = None
    runner, _ = started(cfg)
    found, given = runner.model.state_dict(), own.state_dict()
    assert found['adaptation.warm_start.iteration'] == 0
    assert found['adaptation.teacher.num_updates'] == 0
    name = 'adaptation.adversary.final_layer.weight'
    assert not torch.equal(found[name], given[name])
    name = 'head.final_layer.weight'
    assert torch.equal(found[name], given[name])


def test_a_file_that_a_failed_run_was_handed_is_read_again(cfg):
    saved(plain(tiny_model_config()), cfg.load_from)
    _ = stages.build_runner(cfg).train_loop  # It ends before it loads.
    built = saved(plain(tiny_model_config()), cfg.load_from, seed=2)
    weights = read_checkpoint(cfg.load_from)['state_dict']
    assert all(torch.equal(weights[k], v) for k, v in built.state_dict().items())


def test_layers_of_f_that_do_not_fit_start_anew_by_name(cfg):
    built = saved(plain(tiny_model_config(num_keypoints=17)), cfg.load_from)
    runner, said = started(cfg)
    assert (
        'backbone, neck, head.conv_layers. '
        'Anew: head.final_layer, adaptation.adversary.' in '\n'.join(said)
    )
    taken = runner.model.head.conv_layers[0].weight
    assert torch.equal(taken, built.head.conv_layers[0].weight)
    assert not [text for text in said if 'size mismatch' in text]


def test_another_psi_is_refused(cfg):
    model = plain(tiny_model_config())
    model['backbone'].update(base_channels=16)
    model['neck'].update(in_channels=128)
    saved(model, cfg.load_from)
    with pytest.raises(InputError, match='(?s)"backbone.*prefix="backbone."'):
        started(cfg)


def test_a_state_dict_without_anything_around_it_will_do(cfg):
    model = tiny_simcc_config()
    built = saved(plain(model), cfg.load_from)
    weights = {f'module.{name}': value for name, value in built.state_dict().items()}
    torch.save(weights, cfg.load_from)
    cfg = tiny_simcc(cfg, model)
    runner, said = started(cfg)
    assert 'backbone, neck, head. Anew: adaptation.adversary.' in '\n'.join(said)
    state = runner.model.state_dict()
    assert all(torch.equal(state[k], v) for k, v in built.state_dict().items())


def tiny_simcc(cfg, model):
    cfg.model = model
    for loader in (*cfg.train_dataloader.values(), *cfg.val_dataloader.values()):
        for transform in loader.dataset.pipeline:
            if transform.type == 'GenerateTarget':
                transform.encoder = model['head']['decoder']
    return cfg


# Heads that were trained with squared errors


def gaussians(peaks, sigma=2.0, size=(64, 48)):
    h, w = size
    y, x = torch.meshgrid(torch.arange(h), torch.arange(w), indexing='ij')
    maps = [
        torch.exp(-((x - a) ** 2 + (y - b) ** 2) / (2 * sigma**2)) for a, b in peaks
    ]
    return torch.stack(maps)[None]


def test_the_level_of_perfect_heatmaps_is_that_of_a_search():
    labels = gaussians([(20, 30), (11, 50), (40, 9)])
    loss, weights = KeypointKLLoss(), torch.ones(1, 3)
    found = logit_level.fit_level([labels.flatten(2)], [labels.flatten(2)], weights)
    # Of a uniform distribution: log(P) less the entropy of the Gaussian.
    uniform = math.log(64 * 48) - (1 + math.log(2 * math.pi * 2**2))
    nothing = float(loss(torch.zeros_like(labels), labels))
    assert nothing == pytest.approx(uniform, abs=0.01)
    assert found.before == pytest.approx(3.32, abs=0.01) and found.after < 1.25
    factors = torch.linspace(1, 40, 400)
    tried = [float(loss(b * labels, labels)) for b in factors]
    assert found.after <= min(tried) + 1e-6
    assert found.factor == pytest.approx(
        float(factors[tried.index(min(tried))]), abs=0.1
    )


def test_keypoints_without_a_label_do_not_count_for_the_level():
    labels = gaussians([(20, 30), (11, 50)])
    logits = labels.clone()
    logits[0, 1] = 100 * torch.randn_like(logits[0, 1])
    weights = torch.tensor([[1.0, 0.0]])
    maps = [logits.flatten(2)], [labels.flatten(2)]
    found = logit_level.fit_level(*maps, weights)
    first = ([m[:, :1] for m in x] for x in maps)
    alone = logit_level.fit_level(*first, weights[:, :1])
    assert found == alone
    none = logit_level.fit_level(*maps, 0 * weights)
    assert none.factor == 1


@DATASETS.register_module()
class Spots(BaseDataset):
    """Images of a red, a green and a blue spot: the keypoints."""

    def load_data_list(self):
        rng, samples = np.random.default_rng(0), []
        for _ in range(40):
            keypoints = rng.uniform(12, 52, (1, 3, 2)).astype(np.float32)
            spots = gaussians(keypoints[0], sigma=8, size=(64, 64))[0]
            samples.append(
                dict(
                    img=(255 * spots.permute(1, 2, 0)).numpy().astype(np.uint8),
                    img_shape=(64, 64),
                    bbox=np.array([[0, 0, 64, 64]], dtype=np.float32),
                    keypoints=keypoints,
                    keypoints_visible=np.ones((1, 3), dtype=np.float32),
                )
            )
        return samples


@MODELS.register_module()
class SpotNet(BaseModule):
    def __init__(self):
        super().__init__()
        self.layer = nn.Conv2d(3, 16, kernel_size=4, stride=4)

    def forward(self, inputs):
        return (self.layer(inputs).relu(),)


@pytest.fixture
def trained_with_mse(cfg):
    """A checkpoint of MMPose's model, and the config of its adaptation."""
    cfg.model.head.update(out_channels=3, in_channels=16)
    return trained(cfg, dict(type='KeypointMSELoss', use_target_weight=True))


def trained(cfg, loss):
    del cfg.model.neck
    cfg.model.pop('backbone')
    cfg.model.backbone = dict(type='SpotNet')
    source = cfg.train_dataloader.source.dataset
    names = ('TopdownAffine', 'GenerateTarget', 'PackPoseInputs')
    kept = [transform for transform in source.pipeline if transform.type in names]
    box = dict(type='GetBBoxCenterScale', padding=1.0)
    cfg.train_dataloader.source.dataset = dict(type='Spots', pipeline=[box, *kept])
    cfg.val_dataloader = cfg.val_evaluator = cfg.val_cfg = None
    cfg.custom_hooks = []
    model = plain(cfg.model.to_dict())
    model['head']['loss'] = loss
    torch.manual_seed(0)
    built = MODELS.build(model)
    loader = dict(cfg.train_dataloader.source, batch_size=40)
    loader['sampler'] = dict(type='DefaultSampler', shuffle=False)
    batch = next(iter(Runner.build_dataloader(loader)))
    batch = built.data_preprocessor(batch, training=True)
    optimizer = torch.optim.Adam(built.parameters(), lr=0.01)
    for _ in range(150):
        optimizer.zero_grad()
        feats = built.extract_feat(batch['inputs'])
        built.head.loss(feats, batch['data_samples'])['loss_kpt'].backward()
        optimizer.step()
    torch.save(dict(state_dict=built.state_dict(), meta={}), cfg.load_from)
    return cfg, batch


def test_adaptation_of_a_model_trained_with_mse_starts_where_its_accuracy_was(
    trained_with_mse,
):
    cfg, batch = trained_with_mse
    runner, said = started(cfg)
    model, samples = runner.model.eval(), batch['data_samples']
    weights = label_weights(samples).bool()
    (labels,) = model.space.maps(model.space.labels(samples))

    def accuracy_and_divergence():
        with torch.no_grad():
            output = model.head(model.extract_feat(batch['inputs']))
        places, truth = output.flatten(2).argmax(dim=-1), labels.argmax(dim=-1)
        apart = torch.stack([places % 16 - truth % 16, places // 16 - truth // 16])
        right = (apart.abs().amax(dim=0) <= 1)[weights].float().mean()
        return places, float(right), float(model.supervised_loss(output, samples))

    before = accuracy_and_divergence()
    assert before[1] > 0.8 and before[2] > 1
    StartWeightsHook().before_train(runner)
    after = accuracy_and_divergence()
    assert torch.equal(before[0], after[0])
    assert after[2] < before[2] - 0.5
    assert [text for text in said if 'final_layer are multiplied by' in text]
    # What is a distribution by now is left alone, and what is too sure of itself.
    for factor in (1, 20):
        model.head.final_layer.weight.data.mul_(factor)
        weight = model.head.final_layer.weight.clone()
        StartWeightsHook().before_train(runner)
        assert torch.equal(weight, model.head.final_layer.weight)
    assert after[2] + 1 < accuracy_and_divergence()[2]


def test_simcc_that_was_trained_with_another_beta_is_brought_to_its_level(cfg):
    codec = dict(SIMCC_CODEC, normalize=True)
    cfg.model.head = dict(
        type='SimCCHead',
        in_channels=16,
        out_channels=3,
        input_size=(64, 64),
        in_featuremap_size=(16, 16),
        deconv_out_channels=None,
        loss=dict(type='KeypointKLLoss'),
        decoder=codec,
    )
    for transform in cfg.train_dataloader.source.dataset.pipeline:
        if transform.type == 'GenerateTarget':
            transform.encoder = codec
    loss = dict(type='KLDiscretLoss', beta=10.0)
    cfg, batch = trained(cfg, loss)
    found = []
    for given in (loss, cfg.model.head.loss):
        cfg.model.head.loss = given
        runner, said = started(copy.deepcopy(cfg))
        model = runner.model.eval()
        with torch.no_grad():
            feats = model.extract_feat(batch['inputs'])
            labels = model.space.labels(batch['data_samples'])
            for _ in range(2):
                output = model.head(feats)
                divergence = KeypointKLLoss()(model.space.maps(output), labels)
                found.append((model.space.keypoints(output), float(divergence)))
                StartWeightsHook().before_train(runner)
    own, still_own, flat, fitted = found
    # With the loss that it was trained with, nothing is to be done.
    assert own[1] == still_own[1]
    assert flat[1] > own[1] + 1 and fitted[1] < own[1] + 0.1
    assert torch.equal(flat[0], fitted[0])
    assert [text for text in said if 'mlp_head_x and mlp_head_y are' in text]


@pytest.mark.parametrize(
    ('method', 'domain'),
    [('FineTuning', 'labeled_target'), ('FrozenStatisticsSelfTraining', 'target')],
)
def test_values_of_heatmaps_are_noticed_without_a_source(
    trained_with_mse, method, domain
):
    cfg, batch = trained_with_mse
    cfg.model.adaptation = dict(type=method)
    del cfg.optim_wrapper['adversary'], cfg.param_scheduler['adversary']
    cfg.train_dataloader[domain] = cfg.train_dataloader.pop('source')
    runner, said = started(cfg)
    model, samples = runner.model.eval(), batch['data_samples']

    def divergence():
        with torch.no_grad():
            output = model.head(model.extract_feat(batch['inputs']))
        return float(model.supervised_loss(output, samples))

    before = divergence()
    StartWeightsHook().before_train(runner)
    if domain == 'target':
        assert [text for text in said if 'nearly uniform on the target' in text]
        assert divergence() == before
        with torch.no_grad():
            model.head.final_layer.weight.mul_(7)
            model.head.final_layer.bias.mul_(7)
        said.clear()
        StartWeightsHook().before_train(runner)
        assert not said
    else:
        assert divergence() < before - 0.5
