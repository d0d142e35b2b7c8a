"""SimCC heads: each function by loops, each method's step written plainly."""

import copy
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import (
    METHODS,
    SIMCC_CODEC,
    SIZE,
    batches_of,
    random_simcc_batch,
    tiny_simcc_config,
)
from mmengine.config import Config
from mmpose.registry import KEYPOINT_CODECS, MODELS

from mmregda import InputError
from mmregda.codecs import SimCCSpace
from mmregda.engine import PlayerOptimWrapperConstructor
from mmregda.engine.hooks.compile_hook import compile_for_training
from mmregda.engine.rehearsal.codecs import require_fitting_loss
from mmregda.models.adaptations.mcd import discrepancy
from mmregda.models.losses import GroundFalseKLLoss, KeypointKLLoss, ground_false

WHOLE_BODIES = (
    'coco-wholebody/rtmpose-m_8xb64-270e_coco-wholebody-256x192.py',
    'cocktail14/rtmw-m_8xb1024-270e_cocktail14-256x192.py',
)
K, BINS, SIGMA, BETA = 5, 2 * SIZE, (2.5, 3.0), 10.0


def build_model(method='RegDA', micro_batches=1, **adaptation):
    torch.manual_seed(0)
    cfg = tiny_simcc_config(K, type=method, **adaptation)
    model = MODELS.build(dict(cfg, micro_batches=micro_batches))
    model.init_weights()
    # Heads that differ and see something.
    for head in (model.head, model.adaptation.adversarial_regressor):
        if head is not None:
            torch.nn.init.normal_(head.final_layer.weight, std=0.3)
            for layer in (head.cls_x, head.cls_y):
                torch.nn.init.normal_(layer.weight, std=0.05)
    return model.train()


def batches(i, size=3):
    return dict(
        source=random_simcc_batch(size, K, 2 * i),
        target=random_simcc_batch(size, K, 2 * i + 1, labeled=False),
    )


def build_optimizers(model, lr=0.02):
    sgd = dict(optimizer=dict(type='SGD', lr=lr, momentum=0.9))
    return PlayerOptimWrapperConstructor(dict.fromkeys(model.players(), sgd))(model)


def gaussian(position, sigma, bins=BINS):
    return np.exp([-((i - position) ** 2) / (2 * sigma**2) for i in range(bins)])


def softmax(values):
    values = np.exp(values - values.max())
    return values / values.sum()


@pytest.fixture
def output():
    generator = torch.Generator().manual_seed(3)
    x, y = (torch.randn(2, K, BINS, generator=generator) / 4 for _ in 'xy')
    return x - 7, y - 9  # Nowhere positive.


@pytest.fixture
def space():
    return build_model().space


# --- the space, by loops


def test_the_most_likely_positions_are_the_largest_of_each_axis(space, output):
    found = space.keypoints(output)
    pixels, box = space.in_input(output), space.in_box(output)
    for b in range(2):
        for k in range(K):
            expected = [max(range(BINS), key=lambda i, z=z: z[b, k, i]) for z in output]
            assert found[b, k].tolist() == expected
            assert pixels[b, k].tolist() == [n / 2 for n in expected]
            np.testing.assert_allclose(box[b, k], np.divide(expected, BINS))


def test_pseudo_labels_are_what_the_codec_writes_at_the_same_place(space, output):
    codec = KEYPOINT_CODECS.build(tiny_simcc_config(K)['head']['decoder'])
    found = space.pseudo_labels(output)
    encoded = codec.encode(space.in_input(output).numpy()[:1])
    for axis, maps in enumerate(found):
        labels = encoded[f'keypoint_{"xy"[axis]}_labels']
        np.testing.assert_allclose(maps[:1], labels, atol=1e-6)
        for k in range(K):
            place = int(output[axis][1, k].argmax())
            expected = gaussian(place, SIGMA[axis])
            np.testing.assert_allclose(maps[1, k], expected, atol=1e-6)


def test_confidence_is_the_probability_of_both_windows(space, output):
    found = space.confidence(output)
    for b in range(2):
        for k in range(K):
            expected = 1.0
            for logits, sigma in zip(output, SIGMA):
                p = softmax(BETA * logits[b, k].double().numpy())
                place = int(p.argmax())
                expected *= sum(
                    p[i] for i in range(BINS) if abs(i - place) <= 3 * sigma
                )
            assert found[b, k].item() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize('leave_out', [None, True, False])
def test_losses_are_sums_over_both_axes(space, output, leave_out):
    weights = torch.tensor([[1.0, 0.0, 0.5, 1.0, 1.0], [0.0, 1.0, 1.0, 1.0, 0.25]])
    labels = space.pseudo_labels(tuple(x.roll(3, dims=1) for x in output))
    # Two keypoints at one x, of which one is apart in y.
    labels[0][0, 1] = labels[0][0, 0]
    maps = space.maps(output)
    truth = KeypointKLLoss()(maps, labels, weights).item()
    false = GroundFalseKLLoss(leave_out_own=leave_out)(maps, labels, weights).item()
    expected = [0.0, 0.0]
    for b in range(2):
        for k in range(K):
            for z, h in zip(maps, labels):
                log_q = np.log(softmax(z[b, k].double().numpy()))
                own = h[b, k].double().numpy()
                others = sum(h[b, j].double().numpy() for j in range(K) if j != k)
                others = np.clip(others, 0, 1)
                if leave_out is not False:
                    # Bins within three sigma of the keypoint itself.
                    others[own >= math.exp(-4.5) * (1 - 1e-4)] = 0
                for i, target in enumerate((own, others + 1e-7)):
                    p = target / target.sum()
                    divergence = np.sum(p[p > 0] * (np.log(p) - log_q)[p > 0])
                    expected[i] += weights[b, k].item() * divergence / (2 * K)
    assert truth == pytest.approx(expected[0], rel=1e-4)
    assert false == pytest.approx(expected[1], rel=1e-4)


def test_bins_near_its_own_peak_are_left_out_of_a_ground_false_map():
    labels = torch.from_numpy(
        np.stack([gaussian(x, 2.0, 40) for x in (10, 12, 30)])[None]
    ).float()
    found = ground_false(labels, leave_out_own=True)[0]
    # The neighbour of the first is within its window; what sticks out stays.
    for k, place in enumerate((10, 12, 30)):
        near = [i for i in range(40) if abs(i - place) <= 6]
        assert not found[k, near].any()
        assert found[k].any()
    torch.testing.assert_close(found[0, 30], torch.tensor(1.0))
    plain = ground_false(labels)[0]
    assert plain[0, 12] == 1 and plain[1, 10] == 1
    far = [i for i in range(40) if abs(i - 30) > 6]
    torch.testing.assert_close(found[2, far], plain[2, far])


def test_discrepancy_is_the_mean_of_both_axes(space, output):
    maps, others = space.maps(output), space.maps((output[1], output[0]))
    expected = np.mean(
        [
            np.abs(softmax(z[b, k].numpy()) - softmax(w[b, k].numpy())).sum()
            for z, w in zip(maps, others)
            for b in range(2)
            for k in range(K)
        ]
    )
    assert discrepancy(maps, others).item() == pytest.approx(expected, rel=1e-4)


def test_a_loss_unit_is_what_the_heads_loss_makes_of_a_mean_divergence():
    model = build_model()
    head = copy.copy(tiny_simcc_config(K)['head'])
    head['loss'] = dict(type='KLDiscretLoss', beta=BETA, label_softmax=False)
    space = SimCCSpace(MODELS.build(head))
    output = tuple(torch.randn(3, K, BINS) / 10 for _ in 'xy')
    labels = [maps / maps.sum(-1, keepdim=True) for maps in space.pseudo_labels(output)]
    theirs = space.loss_module(output, labels, torch.ones(3, K))
    ours = KeypointKLLoss()(space.maps(output), labels)
    torch.testing.assert_close(ours * space.loss_unit(output), theirs)
    head['loss'] = dict(type='KeypointKLLoss')
    assert SimCCSpace(MODELS.build(head)).loss_unit(output) == 1
    assert model.space.loss_unit(output) == 3 / BINS


# --- decoding


@pytest.mark.parametrize('use_dark', [False, True])
@pytest.mark.parametrize('flip_test', [False, True])
def test_the_level_of_logits_moves_no_prediction(use_dark, flip_test):
    cfg = tiny_simcc_config(K, type='RegDA')
    cfg['head']['decoder'] = dict(cfg['head']['decoder'], use_dark=use_dark)
    model = MODELS.build(cfg).eval()
    model.test_cfg = dict(flip_test=flip_test)
    generator, found = torch.Generator().manual_seed(0), []
    places = torch.randint(20, BINS - 20, (2, K, 2), generator=generator)
    peaks = model.space.gaussians(places, 2 * (torch.empty(2, K, BINS),))
    for level in (0.0, -30.0):
        batch = random_simcc_batch(2, K, 0)
        for sample in batch['data_samples']:
            sample.set_metainfo(dict(flip_indices=list(range(K))))
        model.head.forward = lambda _, v=level: tuple(z + v for z in peaks)
        with torch.no_grad():
            found.append([s.pred_instances for s in model.test_step(batch)])
    for one, other in zip(*found):
        np.testing.assert_allclose(one.keypoints, other.keypoints, atol=0.05)
        np.testing.assert_allclose(
            one.keypoint_scores, other.keypoint_scores, atol=1e-2
        )
        assert (one.keypoint_scores > 0).all() and (one.keypoint_scores <= 1).all()


def test_the_score_is_the_confidence_and_keypoints_are_the_largest_bins(space, output):
    decoder = space.decoder()
    keypoints, scores = decoder.batch_decode(*output)
    np.testing.assert_allclose(np.concatenate(keypoints), space.in_input(output))
    np.testing.assert_allclose(
        np.concatenate(scores), space.confidence(output), atol=1e-6
    )
    one, score = decoder.decode(*(z[:1].numpy() for z in output))
    np.testing.assert_array_equal(one, keypoints[0])
    np.testing.assert_array_equal(score, scores[0])
    _, scores = decoder.batch_decode(output[0] * float('nan'), output[1])
    assert np.isnan(scores[0]).all()


# --- heads


def test_a_codec_that_writes_no_gaussians_is_refused():
    cfg = tiny_simcc_config(K, type='RegDA')
    cfg['head']['decoder'] = dict(
        type='SimCCLabel',
        input_size=(SIZE, SIZE),
        smoothing_type='standard',
        label_smooth_weight=0.1,
    )
    with pytest.raises(InputError, match=r'model\.head\.decoder: SimCCLabel'):
        MODELS.build(cfg)
    cfg['head']['decoder'] = None
    with pytest.raises(InputError, match='has no decoder'):
        MODELS.build(cfg)


def test_a_simcc_head_serves_as_well():
    cfg = tiny_simcc_config(K, type='RegDA')
    rtm = cfg['head']
    cfg['head'] = dict(
        type='SimCCHead',
        in_channels=16,
        out_channels=K,
        input_size=(SIZE, SIZE),
        in_featuremap_size=(SIZE // 4, SIZE // 4),
        deconv_out_channels=None,
        loss=rtm['loss'],
        decoder=rtm['decoder'],
    )
    model = MODELS.build(cfg).train()
    model.init_weights()
    logged = model.train_step(batches(0), build_optimizers(model))
    assert all(torch.isfinite(value) for value in logged.values())


# --- steps


LOSSES = dict(
    RegDA=dict(adv='+F', psi='+T'),
    DisparityDiscrepancy=dict(adv='-T', psi='+T'),
    GroundFalseMinimax=dict(adv='+F', psi='-F'),
)


class Naive:
    """RegDA and its relatives on SimCC, three passes of psi, plain PyTorch."""

    def __init__(self, model, method, start):
        self.model = model = copy.deepcopy(model)
        self.f, self.f_adv = model.head, model.adaptation.adversary
        self.method, self.i = method, start
        self.sgd = {
            player: torch.optim.SGD(
                [p for m in modules for p in m.parameters()], 0.02, momentum=0.9
            )
            for player, modules in dict(
                psi=[model.backbone, model.neck], f=[self.f], adv=[self.f_adv]
            ).items()
        }

    def psi(self, inputs):
        return self.model.neck(self.model.backbone(inputs))

    def scaled(self, feats):
        s = 2 * 0.1 / (1 + math.exp(-self.i / 1000)) - 0.1
        return tuple(s * x + ((1 - s) * x).detach() for x in feats)

    def minimize(self, loss, *players):
        for parameter in self.model.parameters():
            parameter.grad = None
        loss.backward()
        for player in players:
            self.sgd[player].step()

    @staticmethod
    def pseudo(output):
        truth, false = [], []
        for z, sigma in zip(output, SIGMA):
            places = z.detach().argmax(-1)
            maps = torch.tensor(
                np.array([[gaussian(int(x), sigma) for x in row] for row in places])
            ).float()
            others = torch.stack(
                [sum(maps[:, j] for j in range(K) if j != k) for k in range(K)], dim=1
            ).clamp(0, 1)
            grid = torch.arange(BINS)
            near = (grid - places[..., None]).abs() <= 3 * sigma
            truth.append(maps)
            false.append(torch.where(near, torch.zeros(()), others) + 1e-7)
        return truth, false

    @staticmethod
    def kl(output, targets, weights=1.0):
        total = 0.0
        for z, target in zip(output, targets):
            p = target / target.sum(-1, keepdim=True)
            log_q = (BETA * z).log_softmax(-1)
            total = total + F.kl_div(log_q, p, reduction='none').sum(-1)
        # In units of the supervised loss: a sum over images, a mean over bins.
        return (weights * total).mean() * len(output[0]) / BINS

    def supervised(self, output, samples):
        """KLDiscretLoss: softened labels, a sum over images, a mean over bins."""
        labels = [s.gt_instance_labels for s in samples]
        weights = torch.cat([label.keypoint_weights for label in labels])
        total = 0.0
        for axis, z in zip('xy', output):
            y = torch.cat([label[f'keypoint_{axis}_labels'] for label in labels])
            p = (10 * y).softmax(-1)
            log_q = (BETA * z).log_softmax(-1)
            total = total + ((p * (p.log() - log_q)).sum(-1) / BINS * weights).sum()
        return total / K, weights

    def step(self, source, target):
        feats = self.psi(source['inputs'])
        output = self.f(feats)
        loss, weights = self.supervised(output, source['data_samples'])
        truth, _ = self.pseudo(output)
        loss = loss + 4 * self.kl(self.f_adv(self.scaled(feats)), truth, weights)
        self.minimize(loss, 'psi', 'f', 'adv')
        for player in ('adv', 'psi'):
            feats = self.psi(target['inputs'])
            truth, false = self.pseudo(self.f(feats))
            output = self.f_adv(self.scaled(feats))
            labels = truth if LOSSES[self.method][player][1] == 'T' else false
            sign = -1 if LOSSES[self.method][player][0] == '-' else 1
            self.minimize(sign * self.kl(output, labels), player)
        self.i += 1


@pytest.mark.parametrize('start', [0, 500])
@pytest.mark.parametrize('method', LOSSES)
def test_a_step_equals_the_plain_three_pass_version(method, start):
    model = build_model(method)
    model.adaptation.warm_start.iteration.fill_(start)
    before = {name: p.clone() for name, p in model.named_parameters()}
    naive = Naive(model, method, start)
    optimizers = build_optimizers(model)
    for i in range(6):
        data = batches(i)
        model.train_step(data, optimizers)
        naive.step(*(model.data_preprocessor(data[d], training=True) for d in data))
    expected = dict(naive.model.named_parameters())
    moved = 0.0
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(
            parameter, expected[name], atol=1e-5, rtol=0, msg=lambda m, n=name: n + m
        )
        moved = max(moved, (parameter - before[name]).abs().max().item())
    assert moved > 1e-3


@pytest.mark.parametrize('method', METHODS)
def test_every_method_trains_a_simcc_head(method):
    model = build_model(method)
    optimizers = build_optimizers(model)
    for i in range(2):
        data = batches_of(method, K, i, batch=random_simcc_batch)
        logged = model.train_step(data, optimizers)
        assert logged and all(torch.isfinite(value) for value in logged.values())


def test_source_only_is_mmpose_s_own_training():
    model = build_model('SourceOnly')
    plain = copy.deepcopy(model)
    optimizers = build_optimizers(model)
    sgd = torch.optim.SGD(plain.parameters(), 0.02, momentum=0.9)
    for i in range(2):
        source = batches(i)['source']
        model.train_step(dict(source=source), optimizers)
        sgd.zero_grad()
        data = plain.data_preprocessor(source, training=True)
        plain(**data, mode='loss')['loss_kpt'].backward()
        sgd.step()
    for found, expected in zip(model.parameters(), plain.parameters()):
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize('method', ['RegDA', 'MeanTeacherRegDA', 'MCD'])
def test_parts_of_a_batch_are_the_batch(method):
    moves = []
    for count in (1, 2):
        model = build_model(method, micro_batches=count)
        for module in model.features:
            for norm in module.modules():
                if isinstance(norm, torch.nn.BatchNorm2d):
                    norm.eval()
                    norm.train = lambda mode=True: None
        before = torch.cat([p.detach().flatten() for p in model.parameters()])
        optimizers = build_optimizers(model)
        torch.manual_seed(1)
        for i in range(2):
            model.train_step(batches(i, size=4), optimizers)
        after = torch.cat([p.detach().flatten() for p in model.parameters()])
        moves.append(after - before)
    assert moves[0].norm() > 1e-3
    assert (moves[0] - moves[1]).norm() < 1e-3 * moves[0].norm()


@pytest.mark.parametrize('method', ['RegDA', 'MeanTeacherRegDA'])
def test_compiled_it_trains_as_without(method):
    found = []
    for compiled in (False, True):
        model = build_model(method)
        if compiled:
            compile_for_training(model.neck, backend='eager')
        optimizers = build_optimizers(model)
        torch.manual_seed(1)
        for i in range(2):
            model.train_step(batches(i), optimizers)
        found.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    torch.testing.assert_close(*found)


@pytest.mark.parametrize('method', ['RegDA', 'MeanTeacherRegDA'])
def test_logits_keep_their_digits_in_mixed_precision(method):
    model = build_model(method)
    wrapper = dict(
        type='PlayerAmpOptimWrapper',
        dtype='bfloat16',
        optimizer=dict(type='SGD', lr=0.02),
    )
    optimizers = PlayerOptimWrapperConstructor(dict.fromkeys(model.players(), wrapper))(
        model
    )
    seen = []
    for head in (model.head, model.adaptation.adversary):
        head.register_forward_hook(lambda _, __, out: seen.extend(out))
    logged = model.train_step(batches(0), optimizers)
    assert seen and all(logits.dtype == torch.float32 for logits in seen)
    assert all(torch.isfinite(value) for value in logged.values())


@pytest.mark.parametrize('normalize', [False, True])
@pytest.mark.parametrize('label_softmax', [False, True])
def test_labels_are_made_distributions_once(normalize, label_softmax):
    cfg = tiny_simcc_config(K, type='SourceOnly')
    cfg['head']['loss'] = dict(type='KLDiscretLoss', label_softmax=label_softmax)
    cfg['head']['decoder'] = dict(cfg['head']['decoder'], normalize=normalize)
    model = MODELS.build(cfg)
    if normalize != label_softmax:
        require_fitting_loss(model)
        return
    with pytest.raises(InputError, match='label_softmax = (True|False), or normalize='):
        require_fitting_loss(model)


def test_a_simcc_loss_without_weights_is_said(capsys):
    cfg = tiny_simcc_config(K, type='SourceOnly')
    for weighed in (True, False):
        cfg['head']['loss'] = dict(type='KLDiscretLoss', use_target_weight=weighed)
        cfg['head']['decoder'] = dict(cfg['head']['decoder'], normalize=True)
        model = MODELS.build(cfg)
        assert model.space.trains_a_softmax
        require_fitting_loss(model)
        found = 'ignores keypoint weights' in ''.join(capsys.readouterr())
        assert found != weighed


@pytest.mark.parametrize('name', WHOLE_BODIES)
def test_rtmpose_of_whole_bodies_takes_a_step(name):
    """MMPose's configs of 133 keypoints, with few channels and small images."""
    base = f'mmpose::wholebody_2d_keypoint/rtmpose/{name}'
    cfg = Config.fromstring(f'_base_ = ["{base}"]', '.py').model
    cfg.backbone.update(
        deepen_factor=0.167, widen_factor=0.125, norm_cfg=dict(type='BN'), init_cfg=None
    )
    cfg.backbone.pop('_scope_', None)  # MMPose has it, too.
    if 'neck' in cfg:
        cfg.neck.update(in_channels=[32, 64, 128], norm_cfg=dict(type='BN'))
    cfg.head.update(
        in_channels=128,
        input_size=(SIZE, SIZE),
        in_featuremap_size=(SIZE // 32, SIZE // 32),
        decoder={**cfg.head.decoder, **SIMCC_CODEC},
    )
    torch.manual_seed(0)
    cfg.update(type='DomainAdaptiveTopdown', adaptation=dict(type='RegDA'))
    model = MODELS.build(cfg)
    model.init_weights()
    before = copy.deepcopy(model.state_dict())
    data = dict(
        source=random_simcc_batch(2, 133, 0),
        target=random_simcc_batch(2, 133, 1, labeled=False),
    )
    logged = model.train().train_step(data, build_optimizers(model))
    assert len(logged) > 3 and all(np.isfinite(float(v)) for v in logged.values())
    moved = [n for n, v in model.state_dict().items() if not torch.equal(v, before[n])]
    for part in ('backbone.', 'head.', 'adaptation.adversary.'):
        assert [name for name in moved if name.startswith(part)]
    found = model.eval().head(model.extract_feat(torch.zeros(1, 3, SIZE, SIZE)))
    assert [axis.shape for axis in found] == [(1, 133, 2 * SIZE)] * 2
