"""Importance-weighted validation, and its variant of less variance."""

from __future__ import annotations

from typing import Any, Dict, Tuple

import numpy as np
import torch
from mmpose.registry import METRICS
from scipy.optimize import minimize
from scipy.special import expit
from torch import Tensor, nn
from torch.utils.data import DataLoader

from mmregda.datasets.keypoints import visibility_of
from mmregda.errors import InputError
from mmregda.evaluation.validators.base import Validator

FOLDS = 5
PENALTIES = (1e-3, 1e-2, 1e-1, 1.0, 10.0)


@METRICS.register_module()
class ImportanceWeightedValidation(Validator):
    r"""Accuracy on the source, as if its images were drawn as the target's are.

    `Importance-weighted validation`_ (IWCV; Sugiyama et al., JMLR 2007) and `deep
    embedded validation`_ (DEV; You et al., ICML 2019). With the accuracy
    :math:`a_n` of each of N labelled source images and the density ratio
    :math:`w_n = p_T(z_n) / p_S(z_n)` of its pooled features,

    .. math::
        \mathrm{IWV} = \frac{1}{N} \sum_n w_n a_n, \qquad
        \mathrm{DEV} = \mathrm{IWV} + \eta\,(\bar w - 1), \quad
        \eta = -\frac{\mathrm{Cov}(w a, w)}{\mathrm{Var}(w)}.

    (The papers weight a loss, of which less is better.) The ratio comes from a logistic
    regression that tells the domains apart, on images that it was not fitted to; its
    penalty is the one with the least error there. :math:`a_n` is the part of an image's
    visible keypoints that are at most ``thr`` of its box's longer side away.

    Where the domains are told apart easily, the weights are small, and IWV says little
    more than that; DEV corrects it by the weights' mean, which should be 1.

    Add it to ``val_evaluator.target``. It predicts the images of
    ``val_dataloader.source`` once more. Both scores are NaN if a domain has fewer than
    10 images.

    Args:
        thr (float): In units of the box's longer side. Defaults to 0.05.
        **kwargs: As in :class:`~mmregda.evaluation.validators.base.Validator`.

    .. _Importance-weighted validation: https://jmlr.org/papers/v8/sugiyama07a.html
    .. _deep embedded validation: https://proceedings.mlr.press/v97/you19a.html
    """

    def __init__(self, thr: float = 0.05, **kwargs) -> None:
        super().__init__(**kwargs)
        self.thr = thr

    def look(self, model: nn.Module, inputs: Tensor) -> Tuple[np.ndarray, None]:
        """Features (B, C) of target images, whose accuracy nobody knows."""
        self._source_dataloader()
        return pooled(model, inputs), None

    @torch.no_grad()
    def evaluate(self, size: int) -> Dict[str, float]:
        model = self._model()
        for batch in self._source_dataloader():
            data = model.data_preprocessor(batch, False)
            samples = model(**data, mode='predict')
            found = np.array([self._accuracy(sample) for sample in samples])
            self.results.append((pooled(model, data['inputs']), found))
        return super().evaluate(size)

    def _source_dataloader(self) -> DataLoader:
        source = self._source()
        if source is None:
            raise InputError(
                f'{type(self).__name__} weights the accuracy on the source: it needs '
                'val_dataloader.source and val_evaluator.source. Without a source take '
                'another validator.'
            )
        return source

    def _accuracy(self, sample: Any) -> float:
        truth, predicted = sample.gt_instances, sample.pred_instances
        left, top, right, bottom = np.reshape(truth.bboxes, (-1, 4))[0]
        apart = np.linalg.norm(predicted.keypoints[0] - truth.keypoints[0], axis=-1)
        near = apart <= self.thr * max(right - left, bottom - top)
        visible = visibility_of(truth.keypoints_visible) > 0
        return float(near[visible].mean()) if visible.any() else float('nan')

    def compute_metrics(self, results: list) -> Dict[str, float]:
        target = [feats for feats, accuracy in results if accuracy is None]
        source = [both for both in results if both[1] is not None]
        scores = dict(iwv=float('nan'), dev=float('nan'))
        if not source:
            return scores
        feats, a = (np.concatenate(parts) for parts in zip(*source))
        feats, a = feats[~np.isnan(a)], a[~np.isnan(a)]
        target = np.concatenate(target)
        if min(len(feats), len(target)) < 2 * FOLDS:
            return scores
        w = density_ratio(feats, target)
        scores['iwv'] = scores['dev'] = float((w * a).mean())
        if w.var() > 0:
            eta = -np.cov(w * a, w)[0, 1] / w.var(ddof=1)
            scores['dev'] += float(eta * (w.mean() - 1))
        return scores


def pooled(model: nn.Module, inputs: Tensor) -> np.ndarray:
    """The last feature map, averaged over places, (B, C)."""
    return model.extract_feat(inputs)[-1].double().mean(dim=(-2, -1)).cpu().numpy()


def density_ratio(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """How much likelier the target has features of the source, by cross-fitting.

    Args:
        source (np.ndarray): (N, C), at least 10.
        target (np.ndarray): (M, C), at least 10.

    Returns:
        np.ndarray: (N,), about 1 where the domains are alike.
    """
    x = np.concatenate([source, target])
    deviation = x.std(axis=0)
    x = (x - x.mean(axis=0)) / np.where(deviation > 0, deviation, 1)
    x = np.column_stack([x, np.ones(len(x))])
    y = np.repeat((0.0, 1.0), (len(source), len(target)))
    rng = np.random.default_rng(0)
    # As many of each domain in every part.
    parts = [rng.permutation(n) % FOLDS for n in (len(source), len(target))]
    fold = np.concatenate(parts)

    def held_out(penalty):
        logits = np.empty(len(x))
        for part in range(FOLDS):
            rest = fold != part
            logits[~rest] = x[~rest] @ _logistic_regression(x[rest], y[rest], penalty)
        return np.logaddexp(0, (1 - 2 * y) * logits).mean(), logits

    _, logits = min((held_out(p) for p in PENALTIES), key=lambda found: found[0])
    return len(source) / len(target) * np.exp(logits[: len(source)])


def _logistic_regression(x, y, penalty):
    """Weights (C + 1,), of which the last, that of the constant, costs nothing."""

    def loss(weights):
        logits, slopes = x @ weights, weights.copy()
        slopes[-1] = 0
        value = np.logaddexp(0, (1 - 2 * y) * logits).mean()
        gradient = x.T @ (expit(logits) - y) / len(y) + penalty * slopes
        return value + penalty / 2 * (slopes @ slopes), gradient

    return minimize(loss, np.zeros(x.shape[1]), jac=True, method='L-BFGS-B').x
