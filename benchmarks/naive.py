"""Iterations written line by line from the formulas, beside those of mmregda.

What an implementation costs that follows the algorithms to the letter. RegDA does
whatever the published code does, and as it does it: psi runs forward and backward
three times, gradients that no optimiser will read are added up, pseudo labels come
through NumPy from a table of all Gaussians (67 MB for 64 x 64 pixels), and four
accuracies are taken on the CPU, keypoint by keypoint. The rivals are written alike.
Shared with mmregda are the networks and the preprocessor, so that both train the same
on the same batches. None of it uses mmregda's adaptations, losses, pseudo labels or
optimiser wrappers, so these are also what those are checked against.
"""

from __future__ import annotations

import math
from contextlib import contextmanager, nullcontext
from typing import Callable, ContextManager, Dict, Iterator, Optional, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn


class NaiveStep:
    """What the naive iterations have in common.

    Args:
        model (nn.Module): A model of ours, of which the networks and the
            preprocessor are used.
        optimizers (dict[str, Optimizer]): By player.
        sigma (float): Of the heatmaps, in heatmap pixels.
        precision (Callable): Gives the context of a forward pass.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizers: Dict[str, torch.optim.Optimizer],
        sigma: float,
        precision: Callable[[], ContextManager] = nullcontext,
    ) -> None:
        self.model, self.optimizers = model, optimizers
        self.sigma, self.precision = sigma, precision
        self.iteration = 0
        self._table = None

    def __call__(self, data: dict, target_heatmaps: Tensor) -> None:
        """One iteration.

        Args:
            data (dict): A batch of each domain, as ours gets them.
            target_heatmaps (Tensor): (B, K, h, w), the labels by which the
                accuracies on the target are counted.
        """
        preprocess = self.model.data_preprocessor
        source = preprocess(data['source'], training=True)
        x_t = None
        if 'target' in data:
            x_t = preprocess(data['target'], training=True)['inputs']
        samples = source['data_samples']
        labels = self.labels(samples)
        weights = torch.cat([s.gt_instance_labels.keypoint_weights for s in samples])
        self.step(source['inputs'], labels, weights, x_t, target_heatmaps)
        self.iteration += 1

    @staticmethod
    def labels(samples: Sequence) -> Tensor:
        return torch.stack([s.gt_fields.heatmaps for s in samples])

    def step(
        self,
        x_s: Tensor,
        y_s: Tensor,
        weights: Tensor,
        x_t: Optional[Tensor],
        y_t: Tensor,
    ) -> None:
        """The iteration of a method: images and heatmaps of each domain."""
        raise NotImplementedError

    def minimize(self, loss: Tensor, *players: str) -> None:
        # Only of those that step, as published code has it: what the backward pass
        # gives the others is added to what they have, until their next turn.
        for player in players:
            self.optimizers[player].zero_grad()
        loss.backward()
        for player in players:
            self.optimizers[player].step()

    def scaled(self, feats: Sequence[Tensor], hi: float) -> Sequence[Tensor]:
        """Features whose gradient is multiplied by lambda(i)."""
        scale = 2 * hi / (1 + math.exp(-self.iteration / 1000)) - hi
        passed = [feat.view_as(feat) for feat in feats]
        for feat in passed:
            feat.register_hook(lambda gradient: gradient * scale)
        return tuple(passed)

    @contextmanager
    def uncounted(self) -> Iterator[None]:
        """Within, running statistics of psi and f move, but not for long."""
        parts = (*self.model.players()['feature_extractor'], self.model.head)
        buffers = [buffer for part in parts for buffer in part.buffers()]
        before = [buffer.clone() for buffer in buffers]
        yield
        for buffer, value in zip(buffers, before):
            buffer.copy_(value)

    def pseudo_labels(self, logits: Tensor) -> Sequence[Tensor]:
        """H and H_F of the argmax, looked up on the CPU."""
        batch, keypoints, height, width = logits.shape
        if self._table is None:
            self._table = all_gaussians(height, width, self.sigma)
        device = logits.device
        logits = logits.detach().float().cpu().numpy()
        place = logits.reshape(batch, keypoints, -1).argmax(-1)
        truth = self._table[place // width, place % width]
        others = 1 - np.eye(keypoints, dtype=np.float32)
        # A matrix product of three axes, for which NumPy calls no BLAS: 30 times as
        # long as `others @ maps`, and what the published code does.
        positions = truth.reshape(batch, keypoints, -1).transpose(0, 2, 1)
        false = positions.dot(others).clip(0, 1).transpose(0, 2, 1)
        false = false.reshape(truth.shape).copy()
        return tuple(torch.from_numpy(maps).to(device) for maps in (truth, false))

    @staticmethod
    def accuracy(logits: Tensor, heatmaps: Tensor) -> float:
        """PCK of heatmaps in NumPy, each distance by itself as published."""
        predicted, true = (
            argmax_positions(x.detach().float().cpu().numpy())
            for x in (logits, heatmaps)
        )
        return pck(predicted, true, np.array(heatmaps.shape[-2:]) / 10)


def pck(predicted: np.ndarray, true: np.ndarray, unit: np.ndarray) -> float:
    """The part of keypoints (B, K, 2) within half a unit, keypoint by keypoint."""
    per_keypoint = []
    for keypoint in range(true.shape[1]):
        near = [
            np.linalg.norm((p - t) / unit) < 0.5
            for p, t in zip(predicted[:, keypoint], true[:, keypoint])
            if t[0] > 1 and t[1] > 1
        ]
        if near:
            per_keypoint.append(np.mean(near))
    return float(np.mean(per_keypoint)) if per_keypoint else 0.0


def argmax_positions(heatmaps: np.ndarray) -> np.ndarray:
    """x and y of each maximum, (B, K, 2); (0, 0) where it is not positive."""
    flat = heatmaps.reshape(*heatmaps.shape[:2], -1)
    place, width = flat.argmax(-1), heatmaps.shape[-1]
    positions = np.stack((place % width, place // width), axis=-1)
    return positions * (flat.max(-1) > 0)[..., None]


def all_gaussians(height: int, width: int, sigma: float) -> np.ndarray:
    """The heatmap of a keypoint at every position, (h, w, h, w)."""

    def axis(length):
        distance = np.arange(length) - np.arange(length)[:, None]
        values = np.exp(-(distance**2) / (2 * sigma**2))
        return np.where(abs(distance) <= 3 * sigma, values, 0).astype(np.float32)

    return axis(height)[:, None, :, None] * axis(width)[None, :, None, :]


def kl_divergence(logits: Tensor, heatmaps: Tensor, epsilon: float = 0.0) -> Tensor:
    """KL of the softmaxed logits from the normalised heatmaps, (B, K)."""
    p = heatmaps.flatten(2) + epsilon
    p = p / p.sum(dim=-1, keepdim=True)
    log_q = F.log_softmax(logits.flatten(2).float(), dim=-1)
    return F.kl_div(log_q, p, reduction='none').sum(dim=-1)


def supervised_loss(logits: Tensor, heatmaps: Tensor, weights: Tensor) -> Tensor:
    return (kl_divergence(logits, heatmaps) * weights).mean()


class NaiveRegDA(NaiveStep):
    """Three passes forward and three backward; four accuracies."""

    margin, trade_off, hi = 4.0, 1.0, 0.1

    def adversary_loss(self, logits, truth, false):
        return kl_divergence(logits, false, epsilon=1e-7).mean()

    def feature_extractor_loss(self, logits, truth, false):
        return kl_divergence(logits, truth).mean()

    def predict(self, x):
        feats = self.model.extract_feat(x)
        logits = self.model.head(feats)
        return logits, self.model.adaptation.adversary(self.scaled(feats, self.hi))

    def learn_source(self, x_s, y_s, weights):
        with self.precision():
            p_s, p_s_adv = self.predict(x_s)
            truth, _ = self.pseudo_labels(p_s)
            disparity = (kl_divergence(p_s_adv, truth) * weights).mean()
            loss = supervised_loss(p_s, y_s, weights)
            loss = loss + self.margin * self.trade_off * disparity
        self.minimize(loss, 'feature_extractor', 'head', 'adversary')
        return p_s, p_s_adv

    def step(self, x_s, y_s, weights, x_t, y_t):
        # A
        p_s, p_s_adv = self.learn_source(x_s, y_s, weights)
        # B
        with self.precision():
            p_t, p_t_adv = self.predict(x_t)
            loss = self.adversary_loss(p_t_adv, *self.pseudo_labels(p_t))
        self.minimize(self.trade_off * loss, 'adversary')
        # C
        with self.precision():
            p_t, p_t_adv = self.predict(x_t)
            loss = self.feature_extractor_loss(p_t_adv, *self.pseudo_labels(p_t))
        self.minimize(self.trade_off * loss, 'feature_extractor')
        for predicted, true in ((p_s, y_s), (p_s_adv, y_s), (p_t, y_t), (p_t_adv, y_t)):
            self.accuracy(predicted, true)


class NaiveSimCCRegDA(NaiveRegDA):
    """The same of a SimCC head, on whose two axes all is done one after the other."""

    beta = 10.0

    @staticmethod
    def labels(samples):
        found = [s.gt_instance_labels for s in samples]
        return tuple(
            torch.cat([f[f'keypoint_{a}_labels'] for f in found]) for a in 'xy'
        )

    def pseudo_labels(self, output):
        """H and H_F of each axis; of H_F without the bins around the own argmax."""
        truth, false = [], []
        for logits, sigma in zip(output, self.sigma):
            length = logits.shape[-1]
            distance = np.arange(length) - np.arange(length)[:, None]
            table = np.exp(-(distance**2) / (2 * sigma**2)).astype(np.float32)
            place = logits.detach().float().cpu().numpy().argmax(-1)
            maps = table[place]
            others = 1 - np.eye(maps.shape[1], dtype=np.float32)
            rest = maps.transpose(0, 2, 1).dot(others).clip(0, 1).transpose(0, 2, 1)
            rest = np.where(abs(distance[place]) <= 3 * sigma, 0, rest)
            truth.append(torch.from_numpy(maps).to(logits.device))
            false.append(torch.from_numpy(rest.astype(np.float32)).to(logits.device))
        return truth, false

    def divergence(self, output, maps, epsilon=0.0):
        """Of both axes, in the unit of KLDiscretLoss."""
        total = sum(
            kl_divergence(self.beta * z, y, epsilon) for z, y in zip(output, maps)
        )
        return total * sum(len(z) / z.shape[-1] for z in output) / 2

    def adversary_loss(self, output, truth, false):
        return self.divergence(output, false, epsilon=1e-7).mean()

    def feature_extractor_loss(self, output, truth, false):
        return self.divergence(output, truth).mean()

    def learn_source(self, x_s, y_s, weights):
        with self.precision():
            p_s, p_s_adv = self.predict(x_s)
            truth, _ = self.pseudo_labels(p_s)
            disparity = (self.divergence(p_s_adv, truth) * weights).mean()
            loss = self.model.head.loss_module(p_s, y_s, weights)
            loss = loss + self.margin * self.trade_off * disparity
        self.minimize(loss, 'feature_extractor', 'head', 'adversary')
        return p_s, p_s_adv

    @staticmethod
    def accuracy(output, labels):
        predicted, true = (
            np.stack(
                [axis.detach().float().cpu().numpy().argmax(-1) for axis in maps], -1
            )
            for maps in (output, labels)
        )
        return pck(predicted, true, np.array([z.shape[-1] for z in output]) / 10)


class NaiveDisparityDiscrepancy(NaiveRegDA):
    def adversary_loss(self, logits, truth, false):
        return -kl_divergence(logits, truth).mean()


class NaiveGroundFalseMinimax(NaiveRegDA):
    def feature_extractor_loss(self, logits, truth, false):
        return -kl_divergence(logits, false, epsilon=1e-7).mean()


class NaiveMeanTeacherRegDA(NaiveRegDA):
    """One pass forward more, the teacher's; it averages parameter by parameter."""

    self_training, momentum, updates = 1.0, 0.01, 0

    def update_teacher(self):
        teacher = self.model.adaptation.teacher.network
        psi = self.model.players()['feature_extractor']
        student = nn.Sequential(*psi, self.model.head)
        new = max(self.momentum, 9 / (9 + self.updates))
        with torch.no_grad():
            for average, value in zip(teacher.parameters(), student.parameters()):
                average.mul_(1 - new).add_(value, alpha=new)
        for running, value in zip(teacher.buffers(), student.buffers()):
            running.copy_(value)
        self.updates += 1
        return teacher

    @staticmethod
    def perturbed(images):
        """Other contrast and brightness, and two rectangles of one colour each."""
        b, c, h, w = images.shape

        def draw(*shape):
            return torch.rand(*shape, 1, 1, device=images.device)

        images = images * (0.7 + 0.6 * draw(b, 1)) + (0.6 * draw(b, c) - 0.3)
        y = torch.arange(h, device=images.device)[:, None] / h
        x = torch.arange(w, device=images.device)[None] / w
        for _ in range(2):
            height, width = 0.08 + 0.22 * draw(b, 1), 0.08 + 0.22 * draw(b, 1)
            top, left = draw(b, 1) * (1 - height), draw(b, 1) * (1 - width)
            outside = (y < top) | (y >= top + height) | (x < left) | (x >= left + width)
            colour = torch.randn(b, c, 1, 1, device=images.device)
            images = torch.where(outside, images, colour)
        return images

    def step(self, x_s, y_s, weights, x_t, y_t):
        # A
        with self.uncounted():
            p_s, p_s_adv = self.learn_source(x_s, y_s, weights)
        teacher = self.update_teacher()
        with self.precision(), torch.no_grad():
            p = teacher(x_t)
            truth, false = self.pseudo_labels(p)
            probability = p.flatten(2).float().softmax(dim=-1)
            confidence = (probability * (truth.flatten(2) > 0)).sum(dim=-1)
        x_t = self.perturbed(x_t)
        # B
        with self.precision():
            p_t, p_t_adv = self.predict(x_t)
            loss = self.adversary_loss(p_t_adv, truth, false)
        self.minimize(self.trade_off * loss, 'adversary')
        # C
        with self.precision():
            p_t, p_t_adv = self.predict(x_t)
            loss = self.trade_off * self.feature_extractor_loss(p_t_adv, truth, false)
            learnt = (kl_divergence(p_t, truth) * confidence).mean()
            loss = loss + self.self_training * learnt
        self.minimize(loss, 'feature_extractor', 'head')
        for predicted, true in ((p_s, y_s), (p_s_adv, y_s), (p_t, y_t), (p_t_adv, y_t)):
            self.accuracy(predicted, true)


class NaiveMCD(NaiveStep):
    """Seven passes forward and seven backward; four accuracies."""

    trade_off, num_steps = 1.0, 4

    def heads(self, feats):
        return self.model.head(feats), self.model.adaptation.adversary(feats)

    @staticmethod
    def discrepancy(logits, other):
        p, q = (x.flatten(2).float().softmax(dim=-1) for x in (logits, other))
        return (p - q).abs().sum(dim=-1).mean()

    def step(self, x_s, y_s, weights, x_t, y_t):
        psi = self.model.extract_feat
        # A
        with self.precision():
            loss = sum(supervised_loss(p, y_s, weights) for p in self.heads(psi(x_s)))
        self.minimize(loss, 'feature_extractor', 'head', 'adversary')
        # B
        with self.precision():
            feats_s, feats_t = psi(x_s), psi(x_t)
            discrepancy = self.discrepancy(*self.heads(feats_t))
            p_s, p_s_adv = self.heads(feats_s)
            loss = sum(supervised_loss(p, y_s, weights) for p in (p_s, p_s_adv))
        self.minimize(loss - self.trade_off * discrepancy, 'head', 'adversary')
        # C
        for _ in range(self.num_steps):
            with self.precision():
                p_t, p_t_adv = self.heads(psi(x_t))
                loss = self.trade_off * self.discrepancy(p_t, p_t_adv)
            self.minimize(loss, 'feature_extractor')
        for predicted, true in ((p_s, y_s), (p_s_adv, y_s), (p_t, y_t), (p_t_adv, y_t)):
            self.accuracy(predicted, true)


class NaiveDANN(NaiveStep):
    """A pass of each domain; the accuracy on the source."""

    trade_off, hi = 1.0, 1.0

    def step(self, x_s, y_s, weights, x_t, y_t):
        with self.precision():
            feats_s, feats_t = (self.model.extract_feat(x) for x in (x_s, x_t))
            p_s = self.model.head(feats_s)
            vectors = torch.cat([pooled(feats) for feats in (feats_s, feats_t)])
            # Reversed: lambda(i) is proportional to hi.
            (vectors,) = self.scaled((vectors,), -self.hi)
            logits = self.model.adaptation.discriminator(vectors).float().flatten()
            is_source, is_target = logits[: len(x_s)], logits[len(x_s) :]
            loss_domain = 0.5 * (F.softplus(-is_source) + F.softplus(is_target)).mean()
            loss = supervised_loss(p_s, y_s, weights) + self.trade_off * loss_domain
        self.minimize(loss, 'feature_extractor', 'head', 'adversary')
        self.accuracy(p_s, y_s)


class NaiveDAN(NaiveStep):
    """A pass of each domain; the accuracy on the source."""

    trade_off, bandwidths = 1.0, (0.125, 0.25, 0.5, 1.0, 2.0)

    def mmd(self, s, t):
        """Unbiased, with kernels around the mean squared distance."""
        n, m = len(s), len(t)
        ss, tt, st = (
            (a[:, None] - b[None]).square().sum(dim=-1)
            for a, b in ((s, s), (t, t), (s, t))
        )
        mean = (ss.sum() + tt.sum() + 2 * st.sum()) / ((n + m) * (n + m - 1))
        mean = mean.detach()
        ss, tt, st = (
            sum(torch.exp(-squared / (2 * u * mean)) for u in self.bandwidths)
            for squared in (ss, tt, st)
        )
        return (
            (ss.sum() - ss.trace()) / (n * (n - 1))
            + (tt.sum() - tt.trace()) / (m * (m - 1))
            - 2 * st.mean()
        )

    def step(self, x_s, y_s, weights, x_t, y_t):
        with self.precision():
            feats_s, feats_t = (self.model.extract_feat(x) for x in (x_s, x_t))
            p_s = self.model.head(feats_s)
            loss = supervised_loss(p_s, y_s, weights)
            loss = loss + self.trade_off * self.mmd(pooled(feats_s), pooled(feats_t))
        self.minimize(loss, 'feature_extractor', 'head')
        self.accuracy(p_s, y_s)


class NaiveSourceOnly(NaiveStep):
    """One pass, and the accuracy on the source."""

    def step(self, x_s, y_s, weights, x_t, y_t):
        with self.precision():
            p_s = self.model.head(self.model.extract_feat(x_s))
            loss = supervised_loss(p_s, y_s, weights)
        self.minimize(loss, 'feature_extractor', 'head')
        self.accuracy(p_s, y_s)


class NaiveAdaBN(NaiveStep):
    """A pass of each domain, and the accuracy on the source."""

    def step(self, x_s, y_s, weights, x_t, y_t):
        with self.uncounted():
            with self.precision():
                p_s = self.model.head(self.model.extract_feat(x_s))
                loss = supervised_loss(p_s, y_s, weights)
            self.minimize(loss, 'feature_extractor', 'head')
        with self.precision(), torch.no_grad():
            self.model.head(self.model.extract_feat(x_t))
        self.accuracy(p_s, y_s)


def pooled(feats: Sequence[Tensor]) -> Tensor:
    return feats[-1].float().mean(dim=(2, 3))


# By the name of the config in configs/_base_/adaptations/.
NAIVE = dict(
    regda=NaiveRegDA,
    dd=NaiveDisparityDiscrepancy,
    ground_false_minimax=NaiveGroundFalseMinimax,
    mcd=NaiveMCD,
    dann=NaiveDANN,
    dan=NaiveDAN,
    source_only=NaiveSourceOnly,
    adabn=NaiveAdaBN,
    mean_teacher_regda=NaiveMeanTeacherRegDA,
)
