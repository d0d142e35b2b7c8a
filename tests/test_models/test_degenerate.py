"""What is at the edge of what a batch can be: results are finite, and known."""

import math

import numpy as np
import pytest
import torch
from conftest import METHODS, SIZE, batches_of, tiny_model_config
from mmengine.structures import InstanceData
from mmpose.registry import MODELS
from mmpose.structures import PoseDataSample

from mmregda.codecs import argmax_keypoints, gaussian_heatmaps
from mmregda.datasets.views import views_of
from mmregda.engine import PlayerOptimWrapperConstructor
from mmregda.evaluation import GroupedPCKAccuracy
from mmregda.models.adaptations.mcd import discrepancy
from mmregda.models.losses import (
    GroundFalseKLLoss,
    KeypointKLLoss,
    MultiKernelMMDLoss,
    ground_false,
)

SIDE = SIZE // 4


def train_step(method, num_keypoints=5, batch_size=2, change=lambda model, data: None):
    """One iteration of a tiny network; the model and what it logs."""
    torch.manual_seed(0)
    model = MODELS.build(tiny_model_config(num_keypoints, type=method)).train()
    model.init_weights()
    sgd = dict(optimizer=dict(type='SGD', lr=0.05, momentum=0.9))
    optimizers = PlayerOptimWrapperConstructor(dict.fromkeys(model.players(), sgd))
    data = batches_of(method, num_keypoints, 1, 3 * [batch_size])
    change(model, data)
    return model, model.train_step(data, optimizers(model))


def assert_finite(model, logged):
    assert logged
    for name, value in logged.items():
        assert math.isfinite(float(value)), name
    for name, value in model.state_dict().items():
        assert torch.isfinite(value).all(), name


def hide_all(model, data):
    for domain in {'source', 'labeled_target'} & set(data):
        for sample in data[domain]['data_samples']:
            sample.gt_instance_labels.keypoint_weights.zero_()


def flatten_heads(model, data):
    """Logits of the same value everywhere: the argmax is the first pixel."""
    for head in (model.head, model.adaptation.adversarial_regressor):
        if head is not None:
            torch.nn.init.zeros_(head.final_layer.weight)
            torch.nn.init.zeros_(head.final_layer.bias)


def one_image(model, data):
    """All images of both domains are one grey."""
    for batch in data.values():
        for view in views_of(batch).values():
            view['inputs'] = [torch.full_like(image, 128) for image in view['inputs']]


@pytest.mark.parametrize('method', METHODS)
@pytest.mark.parametrize('change', [hide_all, flatten_heads, one_image])
def test_a_step_on_degenerate_input_is_finite(method, change):
    model, logged = train_step(method, change=change)
    assert_finite(model, logged)
    if change is hide_all:
        assert float(logged.get('loss_sup', 0)) == 0


@pytest.mark.parametrize('method', METHODS)
def test_a_step_with_batches_of_one_is_finite(method):
    assert_finite(*train_step(method, batch_size=1))


@pytest.mark.parametrize('method', METHODS)
def test_a_step_with_one_keypoint_is_finite(method):
    assert_finite(*train_step(method, num_keypoints=1))


def test_hidden_keypoints_teach_the_heads_nothing():
    # Only what is not supervised moves: of a source-only model nothing does.
    for method in ('SourceOnly', 'AdaBN'):
        before = {}

        def remember(model, data, before=before):
            hide_all(model, data)
            before.update({k: v.clone() for k, v in model.named_parameters()})

        model, _ = train_step(method, change=remember)
        for name, value in model.named_parameters():
            assert torch.equal(value, before[name]), name


# --- losses


def test_ground_false_of_one_keypoint_is_uniform():
    heatmaps = gaussian_heatmaps(torch.tensor([[[3, 4]]]), (SIDE, SIDE))
    assert not ground_false(heatmaps).any()
    logits = torch.zeros(1, 1, SIDE, SIDE, requires_grad=True)
    loss = GroundFalseKLLoss()(logits, heatmaps)
    # The divergence of the uniform distribution from itself.
    assert float(loss) == pytest.approx(0, abs=1e-6)
    loss.backward()
    assert logits.grad.abs().max() < 1e-6
    peak = torch.zeros(1, 1, SIDE, SIDE)
    peak[..., 3, 4] = 5.0
    n = SIDE * SIDE
    by_hand = math.log(math.exp(5) + n - 1) - 5 / n - math.log(n)
    assert float(GroundFalseKLLoss()(peak, heatmaps)) == pytest.approx(by_hand, 1e-4)


def test_ground_false_of_keypoints_on_one_pixel_is_where_they_are():
    # A keypoint's own place is ground false as soon as another is there.
    points = torch.tensor([[[5, 6]] * 4])
    heatmaps = gaussian_heatmaps(points, (SIDE, SIDE))
    found = ground_false(heatmaps)
    torch.testing.assert_close(found, (3 * heatmaps).clamp(max=1))


@pytest.mark.parametrize('x', [0, SIDE - 1])
@pytest.mark.parametrize('y', [0, SIDE - 1])
def test_a_prediction_in_a_corner_has_a_cut_off_gaussian(x, y):
    logits = torch.zeros(1, 1, SIDE, SIDE)
    logits[0, 0, y, x] = 1
    points = argmax_keypoints(logits)
    assert points.tolist() == [[[x, y]]]
    (heatmap,) = gaussian_heatmaps(points, (SIDE, SIDE))[0]
    by_hand = np.array(
        [
            [
                math.exp(-((i - x) ** 2 + (j - y) ** 2) / 8)
                * (abs(i - x) <= 6 and abs(j - y) <= 6)
                for i in range(SIDE)
            ]
            for j in range(SIDE)
        ]
    )
    np.testing.assert_allclose(heatmap.numpy(), by_hand, atol=1e-6)
    loss = KeypointKLLoss()(logits, heatmap[None, None])
    assert math.isfinite(float(loss)) and float(loss) > 0


def test_the_maximum_of_constant_logits_is_the_first_pixel():
    assert not argmax_keypoints(torch.full((2, 3, SIDE, SIDE), -7.0)).any()


def test_losses_without_a_visible_keypoint_are_zero_and_so_are_gradients():
    for loss_type in (KeypointKLLoss, GroundFalseKLLoss):
        logits = torch.randn(2, 3, SIDE, SIDE, requires_grad=True)
        loss = loss_type()(logits, torch.rand(2, 3, SIDE, SIDE), torch.zeros(2, 3))
        loss.backward()
        assert float(loss) == 0 and not logits.grad.any()


@pytest.mark.parametrize('sizes', [(1, 1), (1, 4), (4, 1), (3, 2)])
def test_mmd_of_equal_vectors_is_zero_and_has_no_gradient(sizes):
    source, target = (torch.full((n, 3), 0.3, requires_grad=True) for n in sizes)
    loss = MultiKernelMMDLoss()(source, target)
    loss.backward()
    assert float(loss) == pytest.approx(0, abs=1e-6)
    for vectors in (source, target):
        assert not vectors.grad.any()


def test_mmd_of_two_vectors_is_twice_what_their_kernel_lacks():
    a, b = torch.tensor([[0.0, 1.0]]), torch.tensor([[3.0, 5.0]])
    # 25 apart, squared, which is the mean over the pairs: exp(-1 / 2u).
    by_hand = sum(2 - 2 * math.exp(-1 / (2 * u)) for u in (0.5, 2.0))
    assert float(MultiKernelMMDLoss((0.5, 2.0))(a, b)) == pytest.approx(by_hand, 1e-5)


def test_mmd_of_nearly_equal_vectors_has_finite_gradients():
    for scale in (1e-3, 1e-10, 1e-19, 1e-25, 1e-38):
        generator = torch.Generator().manual_seed(0)
        source = (torch.randn(3, 4, generator=generator) * scale).requires_grad_()
        loss = MultiKernelMMDLoss()(source, torch.zeros(2, 4))
        loss.backward()
        assert math.isfinite(float(loss)) and torch.isfinite(source.grad).all()


def test_the_discrepancy_of_constant_logits_is_zero():
    logits = torch.full((2, 3, SIDE * SIDE), 9.0, requires_grad=True)
    loss = discrepancy([logits], [torch.zeros(2, 3, SIDE * SIDE)])
    loss.backward()
    assert float(loss) == 0 and torch.isfinite(logits.grad).all()


# --- metrics


def pck(visible, predicted, groups):
    metric = GroupedPCKAccuracy(groups=groups)
    truth = np.full((1, len(visible), 2), 8.0)
    sample = PoseDataSample(
        gt_instances=InstanceData(
            keypoints=truth,
            keypoints_visible=np.array([visible], np.float32),
            bboxes=np.array([[0.0, 0.0, 64.0, 64.0]]),
        ),
        pred_instances=InstanceData(keypoints=np.full_like(truth, predicted)),
    )
    metric.process([], [sample.to_dict()])
    return metric.evaluate(1)


def test_pck_without_a_visible_keypoint_is_no_number_and_spoils_no_other():
    groups = dict(hidden=[0], seen=[1], both=[0, 1])
    found = pck([0, 1], 8.0, groups)
    assert math.isnan(found['PCK/hidden'])
    assert found['PCK/seen'] == found['PCK/both'] == 1
    assert all(math.isnan(value) for value in pck([0, 0], 8.0, groups).values())


def test_pck_of_one_keypoint_is_that_of_its_distance():
    # 0.05 of 64 is 3.2 pixels; both coordinates differ by as much.
    assert pck([1], 8.0 + 2.2, dict(Avg=[0])) == {'PCK/Avg': 1}
    assert pck([1], 8.0 + 2.3, dict(Avg=[0])) == {'PCK/Avg': 0}
