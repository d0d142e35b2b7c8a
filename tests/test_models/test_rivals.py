"""The rivals of RegDA: losses by hand, steps by gradient inspection.

Each step is held against the algorithm written anew with plain torch
optimisers, one forward pass for every pass that the algorithm has.
"""

import copy
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import (
    METHODS,
    SIZE,
    batches_of,
    random_batch,
    tiny_model_config,
    tiny_simcc_config,
)
from mmengine.optim import OptimWrapper, OptimWrapperDict
from mmpose.registry import MODELS

from mmregda import InputError
from mmregda.datasets.views import views_of
from mmregda.engine import PlayerOptimWrapperConstructor
from mmregda.models.adaptations import WarmStartGradientScale, counted
from mmregda.models.adaptations.averaged_teacher import student
from mmregda.models.adaptations.fda import restyle_
from mmregda.models.adaptations.feature_style import FeatureStyle
from mmregda.models.adaptations.mcd import discrepancy
from mmregda.models.adaptations.perturbation import cover_, perturb_
from mmregda.models.adaptations.view_teacher import ViewLabels, taught_loss
from mmregda.models.losses import MultiKernelMMDLoss

K, SIDE = 5, 16
PREFIXES = dict(
    feature_extractor=('backbone.', 'neck.'),
    head=('head.',),
    adversary=('adaptation.',),
)
LEARNING_RATES = dict(feature_extractor=0.02, head=0.1, adversary=0.05)


def build_model(**adaptation):
    torch.manual_seed(0)
    model = MODELS.build(tiny_model_config(num_keypoints=K, **adaptation))
    model.init_weights()
    for module in model.modules():
        # From the paper's N(0, 0.001) all maps are flat, and a wrong sign
        # would hardly show.
        if getattr(module, 'final_layer', None) is not None:
            torch.nn.init.normal_(module.final_layer.weight, std=0.3)
    return model.train()


def build_optimizers(model):
    return PlayerOptimWrapperConstructor(
        {
            player: dict(
                optimizer=dict(type='SGD', lr=LEARNING_RATES[player], momentum=0.9)
            )
            for player in model.players()
        }
    )(model)


def see_some_images(model):
    """Running statistics by which the model can predict."""
    norms = [m for m in model.modules() if hasattr(m, 'running_mean')]
    for norm in norms:
        norm.momentum = 1.0
    with torch.no_grad():
        student(model)(torch.randn(8, 3, SIZE, SIZE))
    for norm in norms:
        norm.momentum = 0.1


def batches(i, target_size=3):
    return dict(
        source=random_batch(4, K, 2 * i),
        target=random_batch(target_size, K, 2 * i + 1, labeled=False),
    )


# --- losses -----------------------------------------------------------------


def mmd_by_loops(source, target, factors):
    """The unbiased estimate, a pair at a time, in double precision."""
    source, target = source.double().tolist(), target.double().tolist()

    def squared(x, y):
        return sum((a - b) ** 2 for a, b in zip(x, y))

    everything = source + target
    pairs = [(i, j) for i in range(len(everything)) for j in range(i)]
    variance = sum(squared(everything[i], everything[j]) for i, j in pairs)
    variance /= len(pairs)

    def kernel(x, y):
        d = squared(x, y)
        return sum(math.exp(-d / (2 * u * variance)) for u in factors)

    def within(xs):
        terms = [
            kernel(x, y) for i, x in enumerate(xs) for j, y in enumerate(xs) if i != j
        ]
        return sum(terms) / len(terms)

    across = [kernel(x, y) for x in source for y in target]
    return within(source) + within(target) - 2 * sum(across) / len(across)


@pytest.mark.parametrize('shift', [0.0, 0.7, 3.0])
def test_mmd_of_two_gaussians_is_the_double_loop(shift):
    generator = torch.Generator().manual_seed(1)
    source = torch.randn(9, 4, generator=generator)
    target = torch.randn(7, 4, generator=generator) * 1.5 + shift
    factors = (0.125, 0.5, 2.0)
    found = MultiKernelMMDLoss(factors)(source, target).item()
    assert found == pytest.approx(mmd_by_loops(source, target, factors), abs=1e-5)


def test_mmd_is_unbiased_and_grows_with_the_distance():
    generator = torch.Generator().manual_seed(0)
    loss = MultiKernelMMDLoss()

    def mean(shift):
        draws = [
            loss(
                torch.randn(8, 3, generator=generator),
                torch.randn(8, 3, generator=generator) + shift,
            )
            for _ in range(400)
        ]
        return torch.stack(draws).mean().item()

    same, near, far = mean(0.0), mean(0.5), mean(1.0)
    # A biased estimate would be about 5 kernels / 8 vectors above 0.
    assert abs(same) < 0.03
    assert same + 0.05 < near < far - 0.2


def test_mmd_of_equal_vectors_is_zero_and_has_a_finite_gradient():
    source = torch.ones(4, 3, requires_grad=True)
    loss = MultiKernelMMDLoss()(source, torch.ones(5, 3))
    loss.backward()
    assert loss.item() == 0
    assert torch.isfinite(source.grad).all()


def test_discrepancy_by_hand():
    # Softmax of these is (1/2, 1/4, 1/4, 0...) and (1/4, 1/4, 1/2, 0...).
    p = torch.full((1, 2, 8), -1e9)
    q = p.clone()
    p[..., :3] = torch.tensor([2.0, 1.0, 1.0]).log()
    q[..., :3] = torch.tensor([1.0, 1.0, 2.0]).log()
    assert discrepancy([p], [q]).item() == pytest.approx(0.5)
    assert discrepancy([p], [p]).item() == 0
    other = torch.full_like(p, -1e9)
    other[..., 4] = 0
    assert discrepancy([p], [other]).item() == pytest.approx(2.0)
    # The mean over both maps of a keypoint.
    assert discrepancy([p, p], [q, other]).item() == pytest.approx(1.25)
    # The second keypoint agrees: half of the mean.
    q[:, 1] = p[:, 1]
    assert discrepancy([p], [q]).item() == pytest.approx(0.25)


def test_reversed_gradient_by_finite_differences():
    warm_start = WarmStartGradientScale(hi=0.8)
    warm_start.iteration.fill_(900)
    scale = 2 * 0.8 / (1 + math.exp(-0.9)) - 0.8
    x = torch.randn(6, dtype=torch.float64, requires_grad=True)

    def function(vector):
        return (vector.sin() * torch.arange(6)).sum()

    (passed,) = warm_start.reverse((x,))
    assert torch.equal(passed, x)
    function(passed).backward()
    step = 1e-6
    for i in range(6):
        ahead, behind = x.detach().clone(), x.detach().clone()
        ahead[i] += step
        behind[i] -= step
        slope = (function(ahead) - function(behind)) / (2 * step)
        assert x.grad[i].item() == pytest.approx(-scale * slope.item(), rel=1e-5)


# --- whose parameters a step moves ------------------------------------------


class _Recorder(OptimWrapper):
    """Notes whose parameters have a gradient when a player steps."""

    def step(self, **kwargs):
        self.steps.append(
            (
                self.player,
                {
                    player
                    for player, prefix in PREFIXES.items()
                    for name, parameter in self.parameters.items()
                    if name.startswith(prefix)
                    and parameter.grad is not None
                    and parameter.grad.any()
                },
            )
        )
        super().step(**kwargs)


PSI, F_, ADV = 'feature_extractor', 'head', 'adversary'
ALL = {PSI, F_, ADV}
THREE_STEPS = [(PSI, ALL), (F_, {F_, ADV}), (ADV, {ADV}), (ADV, {ADV}), (PSI, {PSI})]
STEPS = dict(
    DAN=[(PSI, {PSI, F_}), (F_, {F_})],
    AdaBN=[(PSI, {PSI, F_}), (F_, {F_})],
    DANN=[(PSI, ALL), (F_, {F_, ADV}), (ADV, {ADV})],
    MCD=[(PSI, ALL), (F_, {F_, ADV}), (ADV, {ADV})]
    + [(F_, {F_, ADV}), (ADV, {ADV})]
    + 4 * [(PSI, {PSI})],
    DisparityDiscrepancy=THREE_STEPS,
    GroundFalseMinimax=THREE_STEPS,
    RegDA=THREE_STEPS,
    MeanTeacherRegDA=[*THREE_STEPS[:4], (PSI, {PSI, F_}), (F_, {F_})],
    SourceOnly=[(PSI, {PSI, F_}), (F_, {F_})],
    MeanTeacher=[(PSI, {PSI, F_}), (F_, {F_})],
    UniFrame=[(PSI, {PSI, F_}), (F_, {F_})],
    FDA=[(PSI, {PSI, F_}), (F_, {F_})],
    SourceFreeTeacher=[(PSI, {PSI, F_}), (F_, {F_})],
    FewLabels=[(PSI, {PSI, F_}), (F_, {F_})],
    FineTuning=[(PSI, {PSI, F_}), (F_, {F_})],
    FrozenStatisticsSelfTraining=[(PSI, {PSI, F_}), (F_, {F_})],
)


@pytest.mark.parametrize('method', METHODS)
def test_each_step_moves_its_players_and_leaves_the_others_alone(method):
    model = build_model(type=method)
    if hasattr(model.adaptation, 'warm_start'):
        model.adaptation.warm_start.iteration.fill_(1000)
    parameters = dict(model.named_parameters())
    wrappers, steps = {}, []
    for player in model.players():
        prefix = PREFIXES[player]
        own = [p for n, p in parameters.items() if n.startswith(prefix)]
        wrapper = _Recorder(torch.optim.SGD(own, lr=0.01))
        wrapper.player, wrapper.parameters, wrapper.steps = player, parameters, steps
        wrappers[player] = wrapper
    model.train_step(batches_of(method, K, 0), OptimWrapperDict(**wrappers))
    # A player that has stepped has no gradient left for the next.
    assert steps == STEPS[method]
    assert all(p.grad is None for p in parameters.values())
    for name, parameter in parameters.items():
        assert parameter.requires_grad == ('teacher' not in name), name


# --- a step, written anew ---------------------------------------------------


class Naive:
    """Copies of a model's parts, with plain optimisers."""

    def __init__(self, model):
        self.model = model = copy.deepcopy(model)
        self.f = model.head
        self.adaptation = model.adaptation
        self.adversary = getattr(model.adaptation, 'adversary', None)
        self.teacher = None
        self.sgd = {}
        for player, prefix in PREFIXES.items():
            own = [p for n, p in model.named_parameters() if n.startswith(prefix)]
            if own:
                lr = LEARNING_RATES[player]
                self.sgd[player] = torch.optim.SGD(own, lr, momentum=0.9)

    def psi(self, inputs):
        return self.model.neck(self.model.backbone(inputs))

    def minimize(self, loss, *players):
        for parameter in self.model.parameters():
            parameter.grad = None
        loss.backward()
        for player in players:
            self.sgd[player].step()

    @staticmethod
    def kl(logits, heatmaps, weights):
        p = heatmaps.flatten(2) / heatmaps.flatten(2).sum(-1, keepdim=True)
        log_q = logits.flatten(2).log_softmax(-1)
        divergence = F.kl_div(log_q, p, reduction='none').sum(-1)
        return (weights * divergence).sum() / weights.numel()

    @staticmethod
    def labels(samples):
        heatmaps = torch.stack([s.gt_fields.heatmaps for s in samples])
        weights = [s.gt_instance_labels.keypoint_weights for s in samples]
        return heatmaps, torch.cat(weights)

    @staticmethod
    def pseudo(logits):
        """Gaussians of sigma 2 around the maxima, a pixel at a time."""
        heatmaps = torch.zeros_like(logits)
        for b, maps in enumerate(logits.detach()):
            for k, values in enumerate(maps):
                y, x = divmod(int(values.argmax()), SIDE)
                for v in range(max(0, y - 6), min(SIDE, y + 7)):
                    for u in range(max(0, x - 6), min(SIDE, x + 7)):
                        d = (u - x) ** 2 + (v - y) ** 2
                        heatmaps[b, k, v, u] = math.exp(-d / 8)
        return heatmaps

    def dan(self, source, target, i):
        features = self.psi(source['inputs'])
        vectors = features[0].mean((2, 3))
        others = self.psi(target['inputs'])[0].mean((2, 3))
        loss = self.kl(self.f(features), *self.labels(source['data_samples']))
        loss = loss + 0.7 * self.mmd(vectors, others)
        self.minimize(loss, PSI, F_)

    @staticmethod
    def mmd(x, y):
        def distances(a, b):
            return torch.stack(
                [torch.stack([(u - v).pow(2).sum() for v in b]) for u in a]
            )

        both = torch.cat((x, y))
        n, m = len(x), len(y)
        variance = distances(both, both).sum().item() / ((n + m) * (n + m - 1))
        total = 0.0
        for factor in (0.125, 0.25, 0.5, 1.0, 2.0):
            k = [
                torch.exp(-distances(a, b) / (2 * factor * variance))
                for a, b in ((x, x), (y, y), (x, y))
            ]
            total = total + (k[0].sum() - n) / (n * (n - 1))
            total = total + (k[1].sum() - m) / (m * (m - 1)) - 2 * k[2].mean()
        return total

    def dann(self, source, target, i):
        """psi and d by two backward passes in place of a reversal."""
        scale = 2 / (1 + math.exp(-(i + 500) / 1000)) - 1
        features = self.psi(source['inputs'])
        vectors = torch.cat(
            (features[0].mean((2, 3)), self.psi(target['inputs'])[0].mean((2, 3)))
        )
        logits = self.adaptation.discriminator(vectors)[:, 0]
        n = len(source['inputs'])
        p = logits.sigmoid()
        domain = -0.5 * (p[:n].log().mean() + (1 - p[n:]).log().mean())
        loss = self.kl(self.f(features), *self.labels(source['data_samples']))
        psi = [p for group in self.sgd[PSI].param_groups for p in group['params']]
        head = list(self.f.parameters())
        d = list(self.adaptation.discriminator.parameters())
        gradients = torch.autograd.grad(domain, psi + d, retain_graph=True)
        supervised = torch.autograd.grad(loss, psi + head)
        for p, g, s in zip(psi, gradients, supervised):
            p.grad = s - 0.7 * scale * g
        for p, g in zip(head, supervised[len(psi) :]):
            p.grad = g
        for p, g in zip(d, gradients[len(psi) :]):
            p.grad = 0.7 * g
        for player in (PSI, F_, ADV):
            self.sgd[player].step()

    def mcd(self, source, target, i):
        labels = self.labels(source['data_samples'])

        def supervised():
            features = self.psi(source['inputs'])
            return sum(self.kl(f(features), *labels) for f in (self.f, self.adversary))

        def discrepancy():
            features = self.psi(target['inputs'])
            p = self.f(features).flatten(2).exp()
            q = self.adversary(features).flatten(2).exp()
            p, q = p / p.sum(-1, keepdim=True), q / q.sum(-1, keepdim=True)
            return (p - q).abs().sum() / (len(p) * K)

        self.minimize(supervised(), PSI, F_, ADV)
        self.minimize(supervised() - 0.7 * discrepancy(), F_, ADV)
        for _ in range(4):
            self.minimize(0.7 * discrepancy(), PSI)

    def adversarial(self, source, target, i, loss_adversary, loss_psi):
        scale = 2 * 0.1 / (1 + math.exp(-(i + 500) / 1000)) - 0.1

        def scaled(features):
            return [scale * x + ((1 - scale) * x).detach() for x in features]

        features = self.psi(source['inputs'])
        logits = self.f(features)
        labels, weights = self.labels(source['data_samples'])
        loss = self.kl(logits, labels, weights)
        other = self.kl(self.adversary(scaled(features)), self.pseudo(logits), weights)
        self.minimize(loss + 4 * 0.7 * other, PSI, F_, ADV)
        for objective, player in ((loss_adversary, ADV), (loss_psi, PSI)):
            features = self.psi(target['inputs'])
            pseudo = self.pseudo(self.f(features))
            loss = objective(self.adversary(scaled(features)), pseudo)
            self.minimize(0.7 * loss, player)

    def truth(self, logits, pseudo):
        return self.kl(logits, pseudo, torch.ones(logits.shape[:2]))

    def false(self, logits, pseudo):
        others = torch.stack(
            [sum(pseudo[:, j] for j in range(K) if j != k) for k in range(K)], dim=1
        )
        return self.truth(logits, others.clamp(0, 1) + 1e-7)

    def dd(self, source, target, i):
        self.adversarial(source, target, i, lambda *a: -self.truth(*a), self.truth)

    def minimax(self, source, target, i):
        self.adversarial(source, target, i, self.false, lambda *a: -self.false(*a))

    def statistics(self):
        return [b for n, b in self.model.named_buffers() if 'teacher' not in n]

    def taught(self, images, i):
        """The averaged teacher's labels; it is kept as a list of tensors."""
        student = [p for n, p in self.model.named_parameters() if n[0] != 'a']
        if self.teacher is None:
            self.teacher = [p.detach().clone() for p in student]
        # From the second iteration on 9 / 10, 9 / 11, ... and at last 1 / 100.
        new = 1 if i == 0 else max(0.01, 9 / (9 + i))
        for p, average in zip(student, self.teacher):
            average.copy_((1 - new) * average + new * p.detach())
        own, kept = [p.detach().clone() for p in student], self.statistics()
        kept = [b.clone() for b in kept]
        with torch.no_grad():
            for p, average in zip(student, self.teacher):
                p.copy_(average)
            logits = self.f(self.psi(images))
            for p, value in zip([*student, *self.statistics()], [*own, *kept]):
                p.copy_(value)
        pseudo = self.pseudo(logits)
        p = logits.exp() / logits.exp().sum((2, 3), keepdim=True)
        confidence = (p * (pseudo > 0)).sum((2, 3))
        return pseudo, confidence

    def uncounted_loss(self, batch):
        norms = [m for m in self.model.modules() if hasattr(m, 'running_mean')]
        for norm in norms:
            norm.momentum = 0
        logits = self.f(self.psi(batch['inputs']))
        for norm in norms:
            norm.momentum = 0.1
        return self.kl(logits, *self.labels(batch['data_samples']))

    def mean_teacher(self, source, target, i):
        """The sum of two losses, one on each domain."""
        pseudo, confidence = self.taught(target['inputs'], i)
        loss = self.uncounted_loss(source)
        learnt = self.kl(self.f(self.psi(target['inputs'])), pseudo, confidence)
        self.minimize(loss + 0.7 * learnt, PSI, F_)

    def seen(self, keypoints, origin, destination):
        """Keypoints (x, y) of the teacher's view in the student's, and which are in."""
        places, inside = [], []
        for points, a, b in zip(
            keypoints, origin['data_samples'], destination['data_samples']
        ):
            move = b.image_to_view @ np.linalg.inv(a.image_to_view)
            assert (np.linalg.det(move) < 0) == (b is destination['data_samples'][-1])
            if np.linalg.det(move) < 0:  # Left and right change places.
                points = points[[1, 0, *range(2, K)]]
            for x, y in points:
                u, v, _ = move @ (x, y, 1)
                places.append((u, v))
                inside.append(all(-0.5 <= t < SIZE - 0.5 for t in (u, v)))
        return np.reshape(places, (-1, K, 2)), np.reshape(inside, (-1, K))

    def view_labels(self, target, pseudo, confidence):
        """What is said of the teacher's view, in the student's."""
        teacher, student = target['teacher'], target['student']
        places = [
            [divmod(int(h.argmax()), SIDE)[::-1] for h in maps] for maps in pseudo
        ]
        places, inside = self.seen(4 * np.array(places), teacher, student)
        labels = torch.zeros(len(places), K, SIDE, SIDE)
        for b in range(len(places)):
            for k in range(K):
                x, y = (math.floor(t / 4 + 0.5) for t in places[b, k])
                if not (0 <= x < SIDE and 0 <= y < SIDE):
                    continue
                for v in range(max(0, y - 6), min(SIDE, y + 7)):
                    for u in range(max(0, x - 6), min(SIDE, x + 7)):
                        labels[b, k, v, u] = math.exp(
                            -((u - x) ** 2 + (v - y) ** 2) / 8
                        )
        confidence = confidence.clone()
        confidence[-1, :2] = confidence[-1, :2].flip(0)
        return labels, confidence, places, torch.from_numpy(inside)

    def masked(self, inside, confidence, ratio):
        """Without the least confident."""
        ranked = sorted(confidence.flatten().tolist())
        least = ranked[int(ratio * len(ranked)) - 1]
        kept = inside & (confidence > least)
        assert 0 < kept.sum() < (confidence > least).sum(), 'nothing is left out'
        return kept

    def taught_loss(self, images, labels, weights):
        logits = self.f(self.psi(images))
        total = labels.flatten(2).sum(-1)
        labels = torch.where((total > 0)[..., None, None], labels, 1.0)
        return self.kl(logits, labels, (weights & (total > 0)).float())

    def uniframe(self, source, target, i):
        said = self.taught(target['teacher']['inputs'], i)
        labels, confidence, _, inside = self.view_labels(target, *said)
        kept = self.masked(inside, confidence, ratio=0.4)
        loss = self.uncounted_loss(source)
        images = target['student']['inputs']
        self.minimize(loss + 0.7 * self.taught_loss(images, labels, kept), PSI, F_)

    def source_free(self, target, i):
        """Of three images one is the most consistent tenth."""
        said = self.taught(target['teacher']['inputs'], i)
        labels, confidence, places, inside = self.view_labels(target, *said)
        kept = self.masked(inside, confidence, ratio=0.4)
        images = target['student']['inputs']
        buffers = [b.clone() for b in self.statistics()]
        with torch.no_grad():
            logits = self.f(self.psi(images))
        for buffer, value in zip(self.statistics(), buffers):
            buffer.copy_(value)
        means = []
        for b in range(3):
            found = [divmod(int(h.argmax()), SIDE)[::-1] for h in logits[b]]
            apart = [math.dist(4 * np.array(p), q) for p, q in zip(found, places[b])]
            means.append(np.mean([d for d, ok in zip(apart, inside[b]) if ok]))
        best = int(np.argmin(means))
        assert i or not torch.equal(kept[best], inside[best]), 'it changes nothing'
        kept[best] = inside[best]
        self.minimize(self.taught_loss(images, labels, kept), PSI, F_)

    def few_labels(self, source, target, labeled_target, i):
        pseudo, confidence = self.taught(target['inputs'], i)
        loss = self.uncounted_loss(source)
        logits = self.f(self.psi(labeled_target['inputs']))
        loss = loss + self.kl(logits, *self.labels(labeled_target['data_samples']))
        learnt = self.kl(self.f(self.psi(target['inputs'])), pseudo, confidence)
        self.minimize(loss + 0.7 * learnt, PSI, F_)

    def fine_tuning(self, labeled_target, i):
        logits = self.f(self.psi(labeled_target['inputs']))
        loss = self.kl(logits, *self.labels(labeled_target['data_samples']))
        self.minimize(loss, PSI, F_)

    def frozen_statistics(self, target, i):
        """The start is kept as a copy; everything is in evaluation mode."""
        if i == 0:
            self.start = copy.deepcopy(self.model).eval()
            self.teacher = [p.detach() for p in student(self.start).parameters()]
        with torch.no_grad():
            logits = self.start.head(
                self.start.extract_feat(target['teacher']['inputs'])
            )
        pseudo = self.pseudo(logits)
        p = logits.exp() / logits.exp().sum((2, 3), keepdim=True)
        confidence = (p * (pseudo > 0)).sum((2, 3))
        labels, confidence, _, inside = self.view_labels(target, pseudo, confidence)
        kept = inside & (confidence >= 0.535)
        assert 0 < kept.sum() < inside.sum(), confidence
        self.model.eval()
        loss = self.taught_loss(target['student']['inputs'], labels, kept)
        self.minimize(loss, PSI, F_)

    def fda(self, source, target, i):
        """Frequency by frequency, by numpy, of images as they were."""
        mean, std = (
            np.array(v)[:, None, None]
            for v in ([123.675, 116.28, 103.53], [58.395, 57.12, 57.375])
        )
        images = source['inputs'].clone()
        for b, image in enumerate(images):
            style = target['inputs'][b % len(target['inputs'])].double().numpy()
            own = np.fft.fft2(image.double().numpy() * std + mean)
            other = np.fft.fft2(style * std + mean)
            for y in range(-3, 4):
                for x in range(-3, 4):
                    own[:, y, x] *= np.abs(other[:, y, x]) / np.abs(own[:, y, x])
            found = np.fft.ifft2(own)
            assert np.abs(found.imag).max() < 1e-6
            images[b] = torch.from_numpy((found.real - mean) / std)
        logits = self.f(self.psi(images))
        loss = self.kl(logits, *self.labels(source['data_samples']))
        self.minimize(loss, PSI, F_)

    def mean_teacher_regda(self, source, target, i):
        """Two passes of the target."""
        scale = 2 * 0.1 / (1 + math.exp(-(i + 500) / 1000)) - 0.1

        def scaled(features):
            return [scale * x + ((1 - scale) * x).detach() for x in features]

        # Statistics are those of the target alone.
        kept = [b.clone() for b in self.statistics()]
        features = self.psi(source['inputs'])
        logits = self.f(features)
        labels, weights = self.labels(source['data_samples'])
        loss = self.kl(logits, labels, weights)
        pseudo = self.pseudo(logits)
        other = self.kl(self.adversary(scaled(features)), pseudo, weights)
        self.minimize(loss + 4 * 0.7 * other, PSI, F_, ADV)
        for buffer, value in zip(self.statistics(), kept):
            buffer.copy_(value)
        pseudo, confidence = self.taught(target['inputs'], i)

        features = self.psi(target['inputs'])
        self.f(features)  # Which counts the target as often as RegDA does.
        loss = self.false(self.adversary(scaled(features)), pseudo)
        self.minimize(0.7 * loss, ADV)
        features = self.psi(target['inputs'])
        loss = 0.7 * self.truth(self.adversary(scaled(features)), pseudo)
        loss = loss + 0.6 * self.kl(self.f(features), pseudo, confidence)
        self.minimize(loss, PSI, F_)


NAIVE = dict(
    DAN=Naive.dan,
    DANN=Naive.dann,
    MCD=Naive.mcd,
    DisparityDiscrepancy=Naive.dd,
    GroundFalseMinimax=Naive.minimax,
    MeanTeacherRegDA=Naive.mean_teacher_regda,
    MeanTeacher=Naive.mean_teacher,
    UniFrame=Naive.uniframe,
    FDA=Naive.fda,
    SourceFreeTeacher=Naive.source_free,
    FewLabels=Naive.few_labels,
    FineTuning=Naive.fine_tuning,
    FrozenStatisticsSelfTraining=Naive.frozen_statistics,
)
# Without random perturbation, which has a test of its own.
STILL = dict(num_erased=0, jitter=0.0)
OPTIONS = dict(
    MeanTeacherRegDA=dict(trade_off=0.7, self_training=0.6, perturbation=STILL),
    MeanTeacher=dict(trade_off=0.7, perturbation=STILL),
    UniFrame=dict(trade_off=0.7, momentum=0.01, mask_ratio=0.4, occlusion=dict(prob=0)),
    SourceFreeTeacher=dict(momentum=0.01, mask_ratio=0.4, occlusion=dict(prob=0)),
    FewLabels=dict(trade_off=0.7, perturbation=STILL),
    FineTuning={},
    FrozenStatisticsSelfTraining=dict(threshold=0.535),
    FDA=dict(beta=0.05),  # 3 of 64 pixels' periods
)


@pytest.mark.parametrize('method', sorted(NAIVE))
def test_step_equals_the_algorithm_written_plainly(method):
    options = OPTIONS.get(method, dict(trade_off=0.7))
    model = build_model(type=method, **options)
    if hasattr(model.adaptation, 'warm_start'):
        model.adaptation.warm_start.iteration.fill_(500)
    see_some_images(model)
    naive = Naive(model)
    initial = {n: p.detach().clone() for n, p in model.named_parameters()}
    optimizers = build_optimizers(model)
    for i in range(2):
        data = batches_of(method, K, i, (4, 3, 2))
        prepared = {}
        for domain, batch in data.items():
            views = {
                view: model.data_preprocessor(one, training=True)
                for view, one in views_of(batch).items()
            }
            prepared[domain] = views.get('', views)
        model.train_step(data, optimizers)
        NAIVE[method](naive, **prepared, i=i)
    expected = dict(naive.model.named_parameters())
    if naive.teacher:
        teacher = [name for name in expected if 'teacher' in name]
        expected.update(zip(teacher, naive.teacher))
    for name, parameter in model.named_parameters():
        # Not normalised by its own batch, weights move far and rounding with them.
        rtol = 2e-3 if method == 'FrozenStatisticsSelfTraining' else 0
        torch.testing.assert_close(
            parameter, expected[name], atol=1e-5, rtol=rtol, msg=lambda m, n=name: n + m
        )
    for prefix in (PREFIXES[player] for player in model.players()):
        moved = max(
            (parameter - initial[name]).abs().max().item()
            for name, parameter in model.named_parameters()
            if name.startswith(prefix)
        )
        assert moved > 1e-3, f'{prefix} was not trained, so nothing was compared'
    if hasattr(model.adaptation, 'warm_start'):
        assert model.adaptation.warm_start.iteration == 502
    # Running statistics decide how the model predicts.
    expected = dict(naive.model.named_buffers())
    for name, buffer in model.named_buffers():
        if name.startswith(('backbone', 'neck', 'head')) and 'running' in name:
            # The head comes last and collects rounding; a pass more is a tenth.
            rtol = 1e-2 if name.startswith('head') else 1e-4
            torch.testing.assert_close(buffer, expected[name], atol=1e-4, rtol=rtol)


@pytest.mark.parametrize('method', ['MeanTeacherRegDA', 'MeanTeacher'])
def test_teacher_sees_the_images_and_the_student_the_perturbed_ones(
    method, monkeypatch
):
    model = build_model(type=method)
    seen = dict(student=[], teacher=[])
    first = model.adaptation.teacher.network[0]
    for who, backbone in (('student', model.backbone), ('teacher', first)):
        backbone.register_forward_pre_hook(
            lambda _, images, who=who: seen[who].append(images[0].clone())
        )
    monkeypatch.setattr(
        f'{type(model.adaptation).__module__}.perturb_',
        lambda images, **settings: images.mul_(-2),
    )
    data = batches(0)
    model.train_step(data, build_optimizers(model))
    source, target = (
        model.data_preprocessor(data[domain], training=True)['inputs']
        for domain in ('source', 'target')
    )
    torch.testing.assert_close(seen['student'], [source, -2 * target])
    torch.testing.assert_close(seen['teacher'], [target])


@pytest.mark.parametrize('settings', [{}, dict(norm_eval=True), dict(frozen_stages=2)])
def test_teacher_begins_as_the_student_that_was_loaded(settings):
    cfg = tiny_model_config(num_keypoints=K, type='MeanTeacherRegDA')
    cfg['backbone'].update(settings)
    model = MODELS.build(cfg)
    torch.manual_seed(0)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            # As of a checkpoint, which is loaded after the model is built.
            torch.nn.init.normal_(module.running_mean)
            torch.nn.init.uniform_(module.running_var, 0.5, 2)
    model.train()
    images = torch.randn(3, 3, 64, 64)
    model.adaptation.teacher.update(student(model))
    labels = model.adaptation.teacher(images)
    torch.testing.assert_close(labels, student(model)(images))
    assert not labels.requires_grad


def test_labels_of_the_start_are_the_same_whenever_an_image_is_drawn():
    """Also of a network with dropout, which the student goes on with."""
    model = build_model(type='FrozenStatisticsSelfTraining', threshold=0.0)
    found = dict(student=[], teacher=[])
    heads = dict(student=model.head, teacher=model.adaptation.teacher.network[-1])
    for who, head in heads.items():
        # Deep in the network, as a transformer's.
        head.conv_layers.append(torch.nn.Dropout(0.5))
        head.register_forward_hook(lambda _, x, p, who=who: found[who].append(p))
    optimizers = build_optimizers(model)
    for group in (g for o in optimizers.values() for g in o.optimizer.param_groups):
        group['lr'] = 0.0
    data = batches_of('FrozenStatisticsSelfTraining', K, 0, (4, 3, 2))
    for _ in range(2):
        model.train()
        model.train_step(copy.deepcopy(data), optimizers)
    assert torch.equal(*found['teacher'])
    assert not torch.equal(*found['student'])


def test_perturbation_moves_nothing_and_differs_from_image_to_image():
    torch.manual_seed(0)
    images = torch.randn(1, 3, 40, 50).repeat(64, 1, 1, 1)
    plain = images.clone()
    perturb_(images, num_erased=0)
    # A straight line of each channel, its slope the same for the three.
    contrast = images.std((2, 3)) / plain.std((2, 3))
    shift = (images - contrast[..., None, None] * plain).mean((2, 3))
    line = contrast[..., None, None] * plain + shift[..., None, None]
    torch.testing.assert_close(images, line)
    torch.testing.assert_close(contrast, contrast[:, :1].expand(-1, 3))
    assert 0.7 <= contrast.min() < 0.75 and 1.25 < contrast.max() <= 1.3
    assert -0.3 <= shift.min() < -0.25 and 0.25 < shift.max() <= 0.3

    images = plain.clone()
    perturb_(images, num_erased=1, jitter=0.0)
    for image in images:
        (changed,) = (image != plain[0]).any(0, keepdim=True)
        rows, columns = changed.any(1).nonzero(), changed.any(0).nonzero()
        height, width = (int(x[-1] - x[0]) + 1 for x in (rows, columns))
        assert changed.sum() == height * width  # One rectangle.
        assert 0.08 * 40 - 1 <= height <= 0.3 * 40 + 1
        assert 0.08 * 50 - 1 <= width <= 0.3 * 50 + 1
        colours = image[:, changed]
        assert (colours == colours[:, :1]).all()
    assert len((images != plain).flatten(1).unique(dim=0)) > 32


@pytest.mark.parametrize(
    ('config', 'last', 'beyond'),
    [
        (tiny_model_config, (61.9, 9.0), (62.1, 9.0)),  # Of 16 places, 4 pixels apart.
        (tiny_simcc_config, (9.0, -0.2), (9.0, -0.3)),  # Half a pixel apart.
    ],
)
def test_label_inside_of_the_view_and_beyond_the_grid_weighs_nothing(
    config, last, beyond
):
    model = MODELS.build(config(num_keypoints=2, type='UniFrame')).eval()
    p = model.head(model.extract_feat(torch.randn(1, 3, SIZE, SIZE)))
    inside = torch.ones(1, 2, dtype=torch.bool)

    def loss(place, kept=inside):
        keypoints = torch.tensor([[(20.0, 30.0), place]])
        labels = ViewLabels(keypoints, inside, inside.float())
        return float(taught_loss(model.space, labels, kept, p))

    alone = loss(last, torch.tensor([[True, False]]))
    assert loss(last) > 1.2 * alone > 0
    assert loss(beyond) == pytest.approx(alone)


def test_one_sure_keypoint_of_an_image_is_covered_by_a_part_of_it():
    torch.manual_seed(0)
    images = torch.rand(64, 3, 40, 50)
    plain = images.clone()
    keypoints = torch.tensor([[10.0, 12.0], [25.0, 20.0], [48.0, 1.0]]).repeat(64, 1, 1)
    candidates = torch.tensor([True, False, True]).repeat(64, 1)
    candidates[0] = False
    cover_(images, keypoints, candidates, prob=0.5, side=0.2)
    seen = {}
    for image, before in zip(images, plain):
        rows, columns = (image != before).any(0).nonzero(as_tuple=True)
        if not len(rows):
            continue
        y, x = int(rows.min()), int(columns.min())
        seen[x, y] = seen.get((x, y), 0) + 1
        patch = image[:, y : y + 8, x : x + 8]
        windows = before.unfold(1, 8, 1).unfold(2, 8, 1)
        equal = (windows == patch[:, None, None]).flatten(3).all(-1).all(0)
        assert equal.sum() == 1, 'it is no part of the image'
        image[:, y : y + 8, x : x + 8] = before[:, y : y + 8, x : x + 8]
    # Squares of 8 around the first and the last, the last's within the image.
    assert set(seen) <= {(6, 8), (42, 0)} and min(seen.values()) > 8
    assert torch.equal(images, plain) and sum(seen.values()) < 50


@pytest.mark.parametrize('alpha', [0.0, 0.3, 1.0])
def test_style_changes_low_amplitudes_by_alpha_and_nothing_else(alpha):
    model = build_model(type='FDA')
    generator = torch.Generator().manual_seed(0)
    images, styles = (torch.randn(n, 3, 24, 32, generator=generator) for n in (3, 2))
    plain = images.clone()
    restyle_(model, images, styles, beta=0.1, alpha=alpha)
    mean, std = model.data_preprocessor.mean, model.data_preprocessor.std
    new, old, other = (
        np.fft.fft2((x * std + mean).double().numpy()) for x in (images, plain, styles)
    )
    for b in range(3):
        for y in range(-12, 12):
            for x in range(-16, 16):
                # A tenth of 24 pixels.
                part = alpha if max(abs(y), abs(x)) <= 2 else 0
                expected = (1 - part) * np.abs(old[b, :, y, x])
                expected += part * np.abs(other[b % 2, :, y, x])
                np.testing.assert_allclose(np.abs(new[b, :, y, x]), expected, rtol=1e-3)
    if alpha == 0:
        torch.testing.assert_close(images, plain, atol=1e-4, rtol=0)
    with pytest.raises(InputError, match='same input_size'):
        restyle_(model, images, torch.rand(2, 3, 24, 24), beta=0.1)


def test_style_goes_to_the_source_and_to_the_teachers_view_alone():
    seen = {}
    for style in (None, dict(prob=0), dict(prob=1, beta=0.1)):
        torch.manual_seed(0)
        model = build_model(type='UniFrame', style=style, occlusion=dict(prob=0))
        images = seen.setdefault(str(style), [])
        for backbone in (model.adaptation.teacher.network[0], model.backbone):
            backbone.register_forward_pre_hook(
                lambda _, x, images=images: images.append(x[0].clone())
            )
        model.train_step(batches_of('UniFrame', K, 0), build_optimizers(model))
    plain, never, always = seen.values()
    assert all(map(torch.equal, plain, never))
    # The teacher's view, the source, the student's.
    assert [torch.equal(a, b) for a, b in zip(plain, always)] == [False, False, True]


def test_features_take_the_mean_and_std_of_others():
    backbone = build_model(type='SourceOnly').backbone
    backbone.eval()
    style = FeatureStyle(backbone, 'layer1')
    images, others = torch.randn(5, 3, SIZE, SIZE), 3 * torch.randn(2, 3, SIZE, SIZE)
    seen = []
    backbone.layer1.register_forward_hook(lambda *args: seen.append(args[-1]))
    backbone(images), backbone(others)
    x, y = seen
    alpha = torch.tensor([0.0, 0.3, 1.0, 0.7, 1.0])
    with style.given(style.of(others), alpha):
        backbone(images)
    torch.testing.assert_close(seen[-1], by_adain(x, y, alpha), atol=1e-3, rtol=1e-3)
    backbone(images)
    assert torch.equal(seen[-1], x)


def by_adain(x, y, alpha):
    """A channel of an image at a time, y's in turn."""
    found = x.detach().double().numpy().copy()
    for b, image in enumerate(found):
        a, others = float(alpha[b]), y[b % len(y)].detach().double().numpy()
        for channel, other in zip(image, others):
            restyled = (channel - channel.mean()) / np.sqrt(channel.var() + 1e-5)
            restyled = restyled * np.sqrt(other.var() + 1e-5) + other.mean()
            channel[:] = (1 - a) * channel + a * restyled
    return torch.from_numpy(found).float()


class Swin(torch.nn.Module):
    """Stands for timm's, whose maps have the channels last."""

    def __init__(self):
        super().__init__()
        self.net = torch.nn.Sequential(torch.nn.Identity())
        self.net.output_fmt = 'NHWC'

    def forward(self, x):
        return self.net(x)


@pytest.mark.parametrize(
    ('network', 'layer', 'shape', 'channels'),
    [
        (torch.nn.Sequential(torch.nn.Identity()), '0', (3, 9, 4), 2),
        (Swin(), 'net.0', (3, 3, 5, 4), 3),
        # The next layer writes into what is restyled.
        (
            torch.nn.Sequential(torch.nn.Identity(), torch.nn.ReLU(inplace=True)),
            '0',
            (3, 4, 3, 5),
            1,
        ),
    ],
)
def test_tokens_and_maps_of_any_layout_are_restyled(network, layer, shape, channels):
    style, x, y = FeatureStyle(network, layer), torch.randn(shape), torch.randn(shape)
    alpha, seen = torch.tensor([1.0, 0.5, 1.0]), []
    given = style.of(y.clone())
    network.get_submodule(layer).register_forward_hook(
        lambda *args: seen.append(args[-1].clone())
    )
    with style.given(given, alpha):
        network(x.clone())
    expected = by_adain(x.movedim(channels, 1), y.movedim(channels, 1), alpha)
    torch.testing.assert_close(
        seen[0].movedim(channels, 1), expected, atol=1e-3, rtol=1e-3
    )


def test_restyling_is_compiled_once_whatever_is_drawn():
    graphs = []

    def backend(graph, inputs):
        graphs.append(graph)
        return graph.forward

    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU())
    style, x = FeatureStyle(network, '0'), torch.randn(2, 3, 8, 8)
    given = style.of(torch.randn(2, 3, 8, 8))
    compiled = torch.compile(network, backend=backend, fullgraph=True, dynamic=False)
    plain = compiled(x)
    for _ in range(4):
        alpha = torch.rand(2)
        with style.given(given, alpha):
            torch.testing.assert_close(compiled(x), network(x))
            assert not torch.allclose(compiled(x), plain)
    assert len(graphs) == 2


def test_features_of_the_source_and_of_the_teachers_view_are_restyled(monkeypatch):
    """Two steps, with AdaIN written anew around the layers."""
    rand, alphas = torch.rand, iter(range(10**6))

    def drawn(*size, **kwargs):
        if size[:1] == (2,) and len(size) == 2:  # Which images take a style, how much.
            generator = torch.Generator().manual_seed(next(alphas))
            return rand(*size, generator=generator)
        return rand(*size, **kwargs)

    monkeypatch.setattr(torch, 'rand', drawn)

    def trained(**options):
        nonlocal alphas
        alphas = iter(range(10**6))
        torch.manual_seed(0)
        model = build_model(type='UniFrame', occlusion=dict(prob=0), **options)
        assert model.adaptation.teacher.num_updates == 0
        return model, build_optimizers(model)

    options = dict(feature_style=dict(layer='layer1', prob=0.6))
    model, optimizers = trained(**options)
    other, others = trained()
    teacher = other.adaptation.teacher
    backbones = teacher.network[0], other.backbone
    state = {}

    def restyle(module, args, x):
        """The teacher's only pass, and the student's first."""
        state['calls'] += 1
        if state['calls'] > 2:
            return x
        images, draw = (
            (state['source'], 1)
            if module is backbones[0].layer1
            else (state['target'], 0)
        )
        # The teacher has taken in the student before it labels.
        asked, features = copy.deepcopy(teacher.network[0]), []
        asked.layer1._forward_hooks.clear()
        asked.layer1.register_forward_hook(lambda *args: features.append(args[-1]))
        with torch.no_grad():
            asked(images)
        generator = torch.Generator().manual_seed(2 * state['i'] + draw)
        draws, alpha = rand(2, len(x), generator=generator)
        alpha = (alpha * (draws < 0.6)).view(-1, 1, 1, 1)
        (y,) = features
        y = y[torch.arange(len(x)) % len(y)]
        (mean, std), (other_mean, other_std) = (
            (z.mean((2, 3), True), (z.var((2, 3), False, keepdim=True) + 1e-5) ** 0.5)
            for z in (x, y)
        )
        restyled = (x - mean) / std * other_std + other_mean
        return (1 - alpha) * x + alpha * restyled

    for backbone in backbones:
        backbone.layer1.register_forward_hook(restyle)
    for i in range(2):
        data = batches_of('UniFrame', K, i, (4, 3, 2))
        source, target = data['source'], data['target']['teacher']
        state.update(i=i, calls=0)
        for name, batch in dict(source=source, target=target).items():
            batch = other.data_preprocessor(copy.deepcopy(batch), True)
            state[name] = batch['inputs']
        losses = model.train_step(copy.deepcopy(data), optimizers)
        expected = other.train_step(data, others)
        for name, value in expected.items():
            torch.testing.assert_close(losses[name], value, atol=1e-6, rtol=1e-5)
    # Gradients, and running statistics, which no source image is in.
    for name, value in other.state_dict().items():
        found = model.state_dict()[name]
        if 'teacher' not in name:
            torch.testing.assert_close(found, value, atol=1e-6, rtol=1e-5, msg=name)


def test_adabn_trains_as_source_only_and_predicts_with_target_statistics():
    model = build_model(type='AdaBN')
    baseline = build_model(type='SourceOnly')
    baseline.load_state_dict(model.state_dict())
    optimizers, others = build_optimizers(model), build_optimizers(baseline)
    data = batches(0)
    model.train_step(data, optimizers)
    baseline.train_step(dict(source=data['source']), others)
    for (name, found), expected in zip(model.named_parameters(), baseline.parameters()):
        torch.testing.assert_close(found, expected, msg=lambda m, n=name: n + m)

    # Only target batches are in the statistics: those of the stem's output.
    stem = model.backbone.norm1
    inputs = model.data_preprocessor(data['target'], training=True)['inputs']
    mean = model.backbone.conv1(inputs).mean((0, 2, 3))
    torch.testing.assert_close(stem.running_mean, 0.1 * mean, atol=1e-5, rtol=1e-4)


def test_source_statistics_change_no_parameter_and_only_what_is_predicted_with():
    model, other = (
        build_model(type='RegDA', source_statistics=value) for value in (True, False)
    )
    optimizers, others = build_optimizers(model), build_optimizers(other)
    for i in range(2):
        model.train_step(batches(i), optimizers)
        other.train_step(batches(i), others)
    for (name, found), expected in zip(other.named_parameters(), model.parameters()):
        assert torch.equal(found, expected), name
    assert not torch.equal(other.head.conv_layers[1].running_mean, torch.zeros(16))
    # Of one iteration: twice those of the target, which steps B and C pass.
    other = build_model(type='RegDA', source_statistics=False)
    data = batches(0)
    stem = copy.deepcopy(other.backbone.conv1)
    still = PlayerOptimWrapperConstructor(dict(optimizer=dict(type='SGD', lr=0.0)))
    other.train_step(data, still(other))
    inputs = other.data_preprocessor(data['target'], training=True)['inputs']
    mean = stem(inputs).mean((0, 2, 3))
    found = other.backbone.norm1.running_mean
    torch.testing.assert_close(found, 0.19 * mean, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize('momentum', [0.1, None])
@pytest.mark.parametrize('kind', [torch.nn.BatchNorm2d, torch.nn.SyncBatchNorm])
def test_counted_is_so_many_updates(momentum, kind):
    batches = torch.randn(4, 6, 3, 4, 4)
    norm, plain = kind(3, momentum=momentum), torch.nn.BatchNorm2d(3, momentum=momentum)
    for times, x in zip((2, 0, 1, 3), batches):
        with counted(times, norm):
            norm(x)
        for _ in range(times):
            plain(x)
        for name, value in plain.state_dict().items():
            torch.testing.assert_close(norm.state_dict()[name], value)
        assert norm.momentum == momentum


def test_what_is_frozen_is_not_counted():
    norm = torch.nn.BatchNorm2d(3).eval()
    with counted(2, norm):
        norm(torch.randn(6, 3, 4, 4))
    assert norm.num_batches_tracked == 0


def test_features_that_cannot_be_restyled_are_refused():
    def build(layer='layer1', **backbone):
        cfg = tiny_model_config(K, type='UniFrame', feature_style=dict(layer=layer))
        cfg['backbone'].update(backbone)
        return cfg

    for layer, message in (
        ('layer5', 'no layer "layer5".*Did you mean layer'),
        (None, 'no layer "None"'),
    ):
        with pytest.raises(InputError, match=message):
            MODELS.build(build(layer))
    for cfg in (
        dict(build(), micro_batches=2),
        build(with_cp=True, norm_eval=True),
    ):
        with pytest.raises(InputError, match='micro_batches = 1 and switch'):
            MODELS.build(cfg)
    # Twice in a block, and no features at all.
    network = MODELS.build(build()['backbone'])
    for layer, images in (
        ('layer1.0.relu', torch.randn(2, 3, SIZE, SIZE)),
        ('fc', torch.randn(2, 3, SIZE, SIZE)),
    ):
        network.fc = torch.nn.Linear(3, 3)  # which no image passes
        with pytest.raises(InputError, match=f'"{layer}" does not give features'):
            FeatureStyle(network, layer).of(images)


def test_rivals_have_a_second_regressor_or_none():
    for method in METHODS:
        adaptation = build_model(type=method).adaptation
        regressor = adaptation.adversarial_regressor
        has_one = hasattr(adaptation, 'adversary')
        assert (regressor is not None) == has_one
        if has_one:
            assert regressor is adaptation.adversary


@pytest.mark.parametrize('num_steps', [0, -1, 2.5, None])
def test_heads_that_move_apart_are_brought_together_at_least_once(num_steps):
    with pytest.raises(InputError, match=f'num_steps is {num_steps}.*from 1'):
        build_model(type='MCD', num_steps=num_steps)


@pytest.mark.parametrize(
    'option',
    [
        dict(type='UniFrame', mask_ratio=1),
        dict(type='SourceFreeTeacher', mask_ratio=1.5),
        dict(type='FrozenStatisticsSelfTraining', threshold=1.1),
    ],
)
def test_an_option_with_which_nothing_would_be_learned_is_refused(option):
    with pytest.raises(InputError, match=f'{list(option)[1]} is .*by default'):
        build_model(**option)
