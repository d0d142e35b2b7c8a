"""RegDA's two-pass step against a naive implementation of the paper.

The naive step goes three times forward and three times backward, with plain
torch optimisers, losses and pseudo labels written anew here.
"""

import copy
import math

import numpy as np
import pytest
import torch
from conftest import random_batch, tiny_model_config
from mmengine.optim import OptimWrapper, OptimWrapperDict
from mmpose.registry import MODELS

from mmregda.engine import PlayerOptimWrapperConstructor

K, SIDE, SIGMA = 5, 16, 2.0


def build_model(**adaptation):
    torch.manual_seed(0)
    model = MODELS.build(tiny_model_config(num_keypoints=K, **adaptation))
    model.init_weights()
    # Random heads that differ: from the paper's N(0, 0.001) all maps are flat
    # and a wrong sign would hardly show.
    for head in (model.head, model.adaptation.adversary):
        torch.nn.init.normal_(head.final_layer.weight, std=0.3)
    return model.train()


def build_optimizers(model):
    sgd = dict(type='SGD', momentum=0.9, weight_decay=1e-4, nesterov=True)
    return PlayerOptimWrapperConstructor(
        dict(
            feature_extractor=dict(optimizer=dict(lr=0.01, **sgd)),
            head=dict(optimizer=dict(lr=0.1, **sgd)),
            adversary=dict(optimizer=dict(lr=0.1, **sgd)),
        )
    )(model)


class NaiveRegDA:
    """The algorithm, one line after the other, nothing shared."""

    def __init__(self, model, margin=4.0, trade_off=1.0):
        model = copy.deepcopy(model)
        self.model = model
        self.psi = [model.backbone, model.neck]
        self.f, self.f_adv = model.head, model.adaptation.adversary
        self.margin, self.trade_off, self.iteration = margin, trade_off, 0

        def sgd(modules, lr):
            parameters = [p for m in modules for p in m.parameters()]
            return torch.optim.SGD(
                parameters, lr, momentum=0.9, weight_decay=1e-4, nesterov=True
            )

        self.sgd_psi = sgd(self.psi, 0.01)
        self.sgd_f = sgd([self.f], 0.1)
        self.sgd_adv = sgd([self.f_adv], 0.1)

    @staticmethod
    def table():
        """A Gaussian for every position, as the reference has it."""
        table = np.zeros((SIDE, SIDE, SIDE, SIDE), dtype=np.float32)
        for y in range(SIDE):
            for x in range(SIDE):
                for v in range(SIDE):
                    for u in range(SIDE):
                        if abs(u - x) <= 3 * SIGMA and abs(v - y) <= 3 * SIGMA:
                            d = (u - x) ** 2 + (v - y) ** 2
                            table[y, x, v, u] = math.exp(-d / (2 * SIGMA**2))
        return table

    TABLE = None

    def pseudo(self, logits):
        if NaiveRegDA.TABLE is None:
            NaiveRegDA.TABLE = self.table()
        flat = logits.detach().numpy().reshape(len(logits), K, -1).argmax(-1)
        truth = NaiveRegDA.TABLE[flat // SIDE, flat % SIDE]
        false = np.zeros_like(truth)
        for k in range(K):
            for other in range(K):
                if other != k:
                    false[:, k] += truth[:, other]
        return torch.from_numpy(truth), torch.from_numpy(false.clip(0, 1))

    @staticmethod
    def kl(logits, heatmaps, epsilon=0.0, weights=1.0):
        p = (heatmaps + epsilon).flatten(2)
        p = p / p.sum(-1, keepdim=True)
        q = logits.flatten(2).softmax(-1)
        terms = torch.where(p > 0, p * (p.clamp(min=1e-30).log() - q.log()), 0 * p)
        return (weights * terms.sum(-1)).mean()

    def features(self, inputs):
        return self.model.neck(self.model.backbone(inputs))

    def adversary(self, features):
        """f' behind the gradient scaling, by x * s + (x * (1 - s)) detached."""
        s = 2 * 0.1 / (1 + math.exp(-self.iteration / 1000)) - 0.1
        return self.f_adv(tuple(s * x + ((1 - s) * x).detach() for x in features))

    def zero_grad(self):
        for optimizer in (self.sgd_psi, self.sgd_f, self.sgd_adv):
            optimizer.zero_grad()

    def step(self, source, target):
        x_s, samples = source['inputs'], source['data_samples']
        labels = torch.stack([s.gt_fields.heatmaps for s in samples])
        weights = torch.cat([s.gt_instance_labels.keypoint_weights for s in samples])
        x_t = target['inputs']

        # A
        features = self.features(x_s)
        y, y_adv = self.f(features), self.adversary(features)
        losses = [
            weights[b, k] * self.kl(y[b : b + 1, k : k + 1], labels[b, k][None, None])
            for b in range(len(x_s))
            for k in range(K)
        ]
        loss = sum(losses) / len(losses)
        truth, _ = self.pseudo(y)
        # A keypoint without a label takes no part in either loss.
        other = self.kl(y_adv, truth, weights=weights)
        loss = loss + self.margin * self.trade_off * other
        self.zero_grad()
        loss.backward()
        for optimizer in (self.sgd_psi, self.sgd_f, self.sgd_adv):
            optimizer.step()

        # B
        features = self.features(x_t)
        y, y_adv = self.f(features), self.adversary(features)
        _, false = self.pseudo(y)
        self.zero_grad()
        (self.trade_off * self.kl(y_adv, false, epsilon=1e-7)).backward()
        self.sgd_adv.step()

        # C
        features = self.features(x_t)
        y, y_adv = self.f(features), self.adversary(features)
        truth, _ = self.pseudo(y)
        self.zero_grad()
        (self.trade_off * self.kl(y_adv, truth)).backward()
        self.sgd_psi.step()
        self.zero_grad()
        self.iteration += 1


@pytest.mark.parametrize('start', [0, 500], ids=['cold', 'warm'])
def test_two_pass_step_equals_the_naive_three_pass_step(start):
    model = build_model(type='RegDA')
    model.adaptation.warm_start.iteration.fill_(start)
    naive = NaiveRegDA(model)
    naive.iteration = start
    optimizers = build_optimizers(model)
    hidden = 0.0
    for i in range(6):
        source, target = random_batch(4, K, 2 * i), random_batch(4, K, 2 * i + 1)
        for sample in source['data_samples']:
            hidden += 1 - sample.gt_instance_labels.keypoint_weights.mean().item()
        model.train_step(dict(source=source, target=target), optimizers)
        naive.step(
            model.data_preprocessor(source, training=True),
            model.data_preprocessor(target, training=True),
        )
    assert 0.1 < hidden / 24 < 0.3
    expected = dict(naive.model.named_parameters())
    moved = 0.0
    initial = dict(build_model(type='RegDA').named_parameters())
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(
            parameter, expected[name], atol=1e-5, rtol=0, msg=lambda m, n=name: n + m
        )
        moved = max(moved, (parameter - initial[name]).abs().max().item())
    assert moved > 1e-2, 'nothing was trained, so nothing was compared'
    # Running statistics as well: they decide how the model predicts.
    expected = dict(naive.model.named_buffers())
    for name, buffer in model.named_buffers():
        if name.endswith(('running_mean', 'running_var')):
            torch.testing.assert_close(buffer, expected[name], atol=1e-4, rtol=1e-4)


def test_step_logs_each_loss_and_counts_the_iteration():
    model = build_model(type='RegDA')
    batches = dict(source=random_batch(2, K, 0), target=random_batch(2, K, 1))
    log_vars = model.train_step(batches, build_optimizers(model))
    assert set(log_vars) == {
        'loss_sup',
        'loss_source',
        'loss_adversary',
        'loss_feature_extractor',
    }
    assert all(not v.requires_grad and torch.isfinite(v) for v in log_vars.values())
    assert model.adaptation.warm_start.iteration == 1


def test_target_without_labels_is_enough():
    model = build_model(type='RegDA')
    source = random_batch(2, K, 0)
    target = random_batch(2, K, 1, labeled=False)
    assert 'gt_fields' not in target['data_samples'][0]
    log_vars = model.train_step(
        dict(source=source, target=target), build_optimizers(model)
    )
    assert torch.isfinite(log_vars['loss_feature_extractor'])


class _Recorder(OptimWrapper):
    """Notes which parameters have a gradient when a player steps."""

    def step(self, **kwargs):
        named = self.names
        self.steps.append(
            {n for n, p in named.items() if p.grad is not None and p.grad.any()}
        )
        super().step(**kwargs)


def test_each_phase_moves_its_players_and_nothing_else():
    model = build_model(type='RegDA')
    model.adaptation.warm_start.iteration.fill_(1000)
    parameters = dict(model.named_parameters())
    steps = []
    prefixes = dict(
        feature_extractor=('backbone.', 'neck.'),
        head=('head.',),
        adversary=('adaptation.adversary.',),
    )
    wrappers = {}
    for player, prefix in prefixes.items():
        own = [p for n, p in parameters.items() if n.startswith(prefix)]
        wrapper = _Recorder(torch.optim.SGD(own, lr=0.01))
        wrapper.names, wrapper.steps = parameters, steps
        wrappers[player] = wrapper
    batches = dict(source=random_batch(2, K, 0), target=random_batch(2, K, 1))
    model.train_step(batches, OptimWrapperDict(**wrappers))

    def players(names):
        return {p for p, own in prefixes.items() for n in names if n.startswith(own)}

    # A: three steps of one backward pass; B: f' alone; C: psi alone.
    assert len(steps) == 5
    assert players(steps[0]) == {'feature_extractor', 'head', 'adversary'}
    assert players(steps[3]) == {'adversary'}
    assert players(steps[4]) == {'feature_extractor'}
    # Nothing is left over for the next iteration.
    assert all(p.grad is None for p in parameters.values())
    assert all(p.requires_grad for p in model.adaptation.parameters())


def test_adversary_can_be_another_head():
    adversary = dict(
        type='HeatmapHead',
        in_channels=16,
        out_channels=K,
        deconv_out_channels=None,
        conv_out_channels=(8, 8),
        conv_kernel_sizes=(3, 3),
    )
    model = build_model(type='RegDA', adversary=adversary)
    assert len(model.adaptation.adversary.conv_layers) == 6
    batches = dict(source=random_batch(2, K, 0), target=random_batch(2, K, 1))
    model.train_step(batches, build_optimizers(model))


def test_source_only_moves_psi_and_f_as_plain_training_does():
    model = build_model(type='RegDA')
    cfg = tiny_model_config(num_keypoints=K, type='SourceOnly')
    baseline = MODELS.build(cfg).train()
    baseline.load_state_dict(model.state_dict(), strict=False)
    plain = copy.deepcopy(baseline)
    wrappers = PlayerOptimWrapperConstructor(
        {
            player: dict(optimizer=dict(type='SGD', lr=0.1))
            for player in ('feature_extractor', 'head')
        }
    )(baseline)
    optimizer = torch.optim.SGD(plain.parameters(), lr=0.1)
    for i in range(2):
        source = random_batch(3, K, i)
        baseline.train_step(dict(source=source), wrappers)
        data = plain.data_preprocessor(source, training=True)
        optimizer.zero_grad()
        plain(**data, mode='loss')['loss_kpt'].backward()
        optimizer.step()
    for (name, found), expected in zip(baseline.named_parameters(), plain.parameters()):
        torch.testing.assert_close(found, expected, msg=lambda m, n=name: n + m)
