"""Scores without labels, each against a loop over images, keypoints and places."""

import copy
import math

import cv2
import numpy as np
import pytest
import torch
from conftest import (
    SIZE,
    batches_of,
    random_simcc_batch,
    tiny_config,
    tiny_model_config,
    tiny_simcc_config,
)
from mmpose.registry import METRICS, MODELS

from mmregda import InputError
from mmregda.engine import stages
from mmregda.evaluation.validators.importance_weighted import density_ratio
from mmregda.visualization import load_scalars

K, N = 4, 5
SCORES = dict(
    NegativeEntropy='negative_entropy',
    MutualInformation='mutual_information',
    SoftNeighborhoodDensity='snd',
    MixVal='mixval',
    Flatness='flatness',
    Equivariance='equivariance',
)


@pytest.fixture(params=['heatmaps', 'simcc'])
def model(request):
    torch.manual_seed(0)
    config = dict(heatmaps=tiny_model_config, simcc=tiny_simcc_config)[request.param]
    model = MODELS.build(config(K, type='SourceOnly'))
    model.init_weights()
    for module in model.modules():  # As drawn in the paper, all maps are flat.
        if hasattr(module, 'weight') and module.weight.dim() == 4:
            torch.nn.init.kaiming_normal_(module.weight)
    for layer in (getattr(model.head, f'cls_{axis}', None) for axis in 'xy'):
        if layer is not None:
            torch.nn.init.normal_(layer.weight, std=0.1)
    with torch.no_grad():  # Running statistics that fit.
        for _ in range(30):
            model.train()(images(model), None, mode='tensor')
    return model.eval()


def images(model, batch=None):
    batch = batch or noise()
    return model.data_preprocessor(copy.deepcopy(batch), False)['inputs']


def noise(seed=3):
    return batches_of('RegDA', K, seed, (2, N, 2), random_simcc_batch)['target']


def score(model, name, parts=(slice(0, 2), slice(2, None)), **settings):
    metric = METRICS.build(dict(type=name, **settings))
    metric.see(model)
    batch = noise()
    for part in parts:
        metric.process({key: values[part] for key, values in batch.items()}, [])
    found = metric.evaluate(N)
    assert list(found) == [f'validator/{SCORES[name]}'] and not metric.results
    return found[f'validator/{SCORES[name]}']


@torch.no_grad()
def predicted(model, inputs):
    """Distributions of each image and keypoint, a list of maps, and places."""
    output = model.head(model.extract_feat(inputs))
    if isinstance(output, tuple):
        maps = [10 * z.double() for z in output]
        places = np.stack([z.argmax(-1).numpy() / 2 for z in output], axis=-1)
    else:
        maps = [output.double().flatten(2)]
        index = maps[0].argmax(-1).numpy()
        places = 4.0 * np.stack([index % 16, index // 16], axis=-1)
    return [z.softmax(-1).numpy() for z in maps], places


def entropy(p):
    return -sum(x * math.log(x) for x in p if x > 0) / math.log(len(p))


def test_entropy_is_that_of_a_loop(model):
    maps, _ = predicted(model, images(model))
    expected = [entropy(p[n, k]) for p in maps for n in range(N) for k in range(K)]
    found = score(model, 'NegativeEntropy')
    assert found == pytest.approx(-np.mean(expected), abs=1e-5)
    assert -0.999 < found < -0.01


def test_information_is_that_of_a_loop_and_none_if_all_images_are_alike(model):
    maps, _ = predicted(model, images(model))
    expected = []
    for p in maps:
        for k in range(K):
            own = np.mean([entropy(p[n, k]) for n in range(N)])
            expected.append(entropy(p[:, k].mean(0)) - own)
    found = score(model, 'MutualInformation')
    assert found == pytest.approx(np.mean(expected), abs=1e-5) and found > 1e-3
    metric = METRICS.build(dict(type='MutualInformation'))
    metric.see(model)
    batch = noise()
    same = dict(inputs=[batch['inputs'][0]] * N, data_samples=batch['data_samples'])
    metric.process(same, [])
    assert metric.evaluate(N)['validator/mutual_information'] == pytest.approx(
        0, abs=1e-5
    )


@torch.no_grad()
def test_density_is_that_of_a_loop(model):
    inputs = images(model)
    (feats,) = model.extract_feat(inputs)
    _, places = predicted(model, inputs)
    h, w = feats.shape[-2:]
    densities = []
    for k in range(K):
        z = []
        for n in range(N):
            column = min(w - 1, int((places[n, k, 0] + 0.5) * w / SIZE))
            row = min(h - 1, int((places[n, k, 1] + 0.5) * h / SIZE))
            vector = feats[n, :, row, column].double().numpy()
            z.append(vector / np.linalg.norm(vector))
        for n in range(N):
            others = [z[n] @ z[m] / 0.05 for m in range(N) if m != n]
            p = np.exp(others) / np.exp(others).sum()
            densities.append(-(p * np.log(p)).sum())
    found = score(model, 'SoftNeighborhoodDensity')
    assert found == pytest.approx(np.mean(densities), rel=1e-4)
    # All near each other is the most that there can be.
    assert found < math.log(N - 1)


def share(found, expected, thr):
    apart = [
        math.dist(a, b) for a, b in zip(found.reshape(-1, 2), expected.reshape(-1, 2))
    ]
    known = [d for d in apart if not math.isnan(d)]
    value = np.mean([d <= thr * SIZE for d in known])
    assert 0 < value < 1, 'nothing is told apart'
    return value


def test_mixed_images_are_those_of_a_loop(model):
    inputs = images(model)
    mixed = torch.stack(
        [0.55 * inputs[n] + 0.45 * inputs[n - 1 if n else N - 1] for n in range(N)]
    )
    expected = share(predicted(model, mixed)[1], predicted(model, inputs)[1], 0.15)
    whole = score(model, 'MixVal', [slice(None)], thr=0.15)
    assert whole == pytest.approx(expected)
    assert math.isnan(score(model, 'MixVal', [slice(0, 1)]))


def test_moved_weights_are_those_of_a_loop(model):
    inputs, draws = images(model), torch.Generator().manual_seed(4)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    found = []
    for _ in range(3):
        other = copy.deepcopy(model)
        for part in (other.backbone, other.neck, other.head):
            for weight in part.parameters():
                if weight.dim() < 2:
                    continue
                directions = torch.randn(weight.shape, generator=draws)
                for filter_, direction in zip(weight.data, directions):
                    filter_ += 0.3 * filter_.norm() * direction / direction.norm()
        found.append(predicted(other, inputs)[1])
    expected = share(np.stack(found), np.stack([predicted(model, inputs)[1]] * 3), 0.15)
    settings = dict(radius=0.3, num_draws=3, seed=4, thr=0.15)
    assert score(model, 'Flatness', **settings) == pytest.approx(expected)
    assert score(model, 'Flatness', radius=0.0) == 1
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_models_of_mmpose_are_moved_as_ours(model):
    config = dict(heatmaps=tiny_model_config, simcc=tiny_simcc_config)
    name = 'simcc' if hasattr(model.head, 'cls_x') else 'heatmaps'
    config = config[name](K)
    config.pop('adaptation')
    plain = MODELS.build(dict(config, type='TopdownPoseEstimator')).eval()
    plain.load_state_dict(model.state_dict())
    settings = dict(radius=0.3, thr=0.15)
    found = score(plain, 'Flatness', **settings)
    assert found == score(model, 'Flatness', **settings) != 1


def test_turned_images_are_opencvs(model):
    inputs = images(model)
    centre = ((SIZE - 1) / 2, (SIZE - 1) / 2)
    matrix = cv2.getRotationMatrix2D(centre, -20, 1)  # Its angles run backwards.
    turned = [
        cv2.warpAffine(image.permute(1, 2, 0).numpy(), matrix, (SIZE, SIZE))
        for image in inputs
    ]
    turned = torch.from_numpy(np.stack(turned)).permute(0, 3, 1, 2)
    places = predicted(model, inputs)[1].astype(float)
    expected = cv2.transform(places, matrix)
    outside = ((expected < -0.5) | (expected >= SIZE - 0.5)).any(-1)
    expected[outside] = np.nan
    value = share(predicted(model, turned)[1], expected, 0.2)
    # OpenCV rounds places to a 32nd of a pixel: one keypoint may fall elsewhere.
    found = score(model, 'Equivariance', angle=20, thr=0.2)
    assert found == pytest.approx(value, abs=1.01 / (~outside).sum())
    assert score(model, 'Equivariance', angle=0) == 1


def labelled(model, number):
    """Batches of noise with labels near what is predicted: some right, some wrong."""
    rng, batches = np.random.default_rng(1), []
    for seed in range(number):
        batch = random_simcc_batch(4, K, 10 + seed)
        for sample, found in zip(
            batch['data_samples'], predicted(model, images(model, batch))[1]
        ):
            off = np.array((0.5, 1.5))[rng.integers(2, size=K)][:, None] * 0.1 * SIZE
            direction = rng.normal(size=(K, 2))
            direction /= np.linalg.norm(direction, axis=1, keepdims=True)
            sample.gt_instances.keypoints = (found + off * direction)[None]
            visible = np.append(rng.integers(0, 2, K - 1), 1)
            if seed % 2:  # With a weight beside it, as KeypointConverter leaves it.
                visible = np.stack([visible, np.ones(K)], axis=-1)
            sample.gt_instances.keypoints_visible = visible[None]
        batches.append(batch)
    return batches


def test_accuracy_is_weighted_as_in_a_loop(model):
    class Loader(list):
        pass

    model.test_cfg = dict(flip_test=False)
    source = Loader(labelled(model, 4))
    metric = METRICS.build(dict(type='ImportanceWeightedValidation', thr=0.1))
    metric.see(model, source)
    target = [random_simcc_batch(4, K, seed, labeled=False) for seed in range(40, 43)]
    for batch in target:
        metric.process(batch, [])
    found = metric.evaluate(12)

    def vectors(batches):
        feats = [model.extract_feat(images(model, batch))[-1] for batch in batches]
        return torch.cat(feats).double().mean((2, 3)).detach().numpy()

    weights, accuracies = density_ratio(vectors(source), vectors(target)), []
    for batch in source:
        places = predicted(model, images(model, batch))[1]
        for sample, pixels in zip(batch['data_samples'], places):
            truth, hits = sample.gt_instances, []
            for k in range(K):
                if np.ravel(truth.keypoints_visible[0, k])[0]:
                    distance = math.dist(pixels[k], truth.keypoints[0, k])
                    hits.append(distance <= 0.1 * SIZE)
            accuracies.append(np.mean(hits))
    assert 0 < np.mean(accuracies) < 1
    w, wa = weights, np.multiply(weights, accuracies)
    eta = -((wa - wa.mean()) * (w - w.mean())).sum() / ((w - w.mean()) ** 2).sum()
    assert found['validator/iwv'] == pytest.approx(wa.mean())
    assert found['validator/dev'] == pytest.approx(wa.mean() + eta * (w.mean() - 1))


def test_density_ratio_of_two_gaussians_is_the_closed_form():
    rng = np.random.default_rng(0)
    source, target = rng.normal(0, 1, (4000, 1)), rng.normal(1, 1, (2000, 1))
    found = density_ratio(source, target)
    expected = np.exp(source[:, 0] - 0.5)  # N(x; 1, 1) / N(x; 0, 1)
    assert np.abs(np.log(found / expected)).max() < 0.35
    # What is right for x > 1 only: 16 % of the source, half of the target.
    right = source[:, 0] > 1
    assert (found * right).mean() == pytest.approx(0.5, abs=0.05)
    # Domains that are alike: nothing is told apart.
    alike = density_ratio(source[:2000], source[2000:])
    assert np.abs(np.log(alike)).max() < 0.2


def test_weighting_needs_a_source_of_some_size(hand_pair, tmp_path):
    cfg = tiny_config(hand_pair, tmp_path, max_iters=1)
    cfg.val_evaluator.target = [dict(type='ImportanceWeightedValidation')]
    alone = copy.deepcopy(cfg)
    alone.val_dataloader.pop('source')
    alone.val_evaluator.pop('source')
    with pytest.raises(InputError, match='needs val_dataloader.source'):
        stages.train(alone)
    metrics = stages.train(cfg)  # 6 images
    assert math.isnan(metrics['target/validator/iwv'])
    cfg.val_dataloader.source.dataset.split = 'train'  # 12 images
    cfg.val_dataloader.target = cfg.val_dataloader.source
    metrics = stages.train(cfg)
    for name in ('iwv', 'dev'):
        assert 0 <= metrics[f'target/validator/{name}'] < math.inf


def test_validator_without_a_model_says_where_it_belongs():
    metric = METRICS.build(dict(type='MixVal'))
    with pytest.raises(InputError, match='MixVal looks at the network.*DomainValLoop'):
        metric.process(noise(), [])


def test_they_choose_the_checkpoint_of_a_run(hand_pair, tmp_path):
    cfg = tiny_config(hand_pair, tmp_path, max_iters=4)
    cfg.val_evaluator.target = [dict(type=name) for name in SCORES]
    cfg.train_cfg.val_interval = 2
    cfg.default_hooks.checkpoint.save_best = 'target/validator/snd'
    metrics = stages.train(cfg)
    scalars = load_scalars(str(tmp_path))
    for name in SCORES.values():
        steps, values = scalars[f'target/validator/{name}']
        assert steps == [2, 4] and all(map(math.isfinite, values))
        assert metrics[f'target/validator/{name}'] == pytest.approx(values[-1])
    best = 2 * (1 + int(np.argmax(scalars['target/validator/snd'][1])))
    assert [path.name for path in tmp_path.glob('best*')] == [
        f'best_target_validator_snd_iter_{best}.pth'
    ]
