"""Which heads serve, and that what decodes reads what is trained."""

import copy
import pickle
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import FRAGMENTS, METHODS, SIZE, random_batch, tiny_model_config
from mmengine.config import Config
from mmpose.registry import KEYPOINT_CODECS, MODELS

import mmregda.models
from mmregda import InputError
from mmregda.codecs import HeatmapSpace
from mmregda.engine.rehearsal.codecs import report_decoding, require_fitting_loss
from mmregda.models import KeypointKLLoss

K = 5
GRID = dict(input_size=(SIZE, SIZE), heatmap_size=(SIZE // 4, SIZE // 4))
CODECS = dict(
    gaussian=dict(type='GaussianHeatmap', **GRID, sigma=1.5),
    msra=dict(type='MSRAHeatmap', **GRID, sigma=2),
    dark=dict(type='MSRAHeatmap', **GRID, sigma=2, unbiased=True),
    udp=dict(type='UDPHeatmap', **GRID, sigma=2),
)


def config(head=None, method='RegDA', **decoder):
    cfg = tiny_model_config(num_keypoints=K, type=method)
    cfg['head'] = dict(cfg['head'], **(head or {}))
    if decoder:
        cfg['head']['decoder'] = decoder
    return cfg


def predict(model, **test_cfg):
    model.test_cfg = test_cfg
    batch = random_batch(3, K, 0)
    for sample in batch['data_samples']:
        sample.set_metainfo(dict(flip_indices=list(range(K))))
    with torch.no_grad():
        return model.eval().test_step(batch)


def trained(cfg):
    torch.manual_seed(0)
    model = MODELS.build(cfg)
    model.init_weights()
    torch.nn.init.normal_(model.head.final_layer.weight, std=0.3)
    return model


@pytest.mark.parametrize('flip_test', [False, True])
@pytest.mark.parametrize('codec', CODECS)
def test_a_constant_in_the_last_bias_moves_no_prediction(codec, flip_test):
    model = trained(config(**CODECS[codec]))
    expected = predict(model, flip_test=flip_test)
    model.head.final_layer.bias.data -= 300 + torch.arange(K)
    found = predict(model, flip_test=flip_test)
    for one, other in zip(found, expected):
        one, other = one.pred_instances, other.pred_instances
        np.testing.assert_allclose(one.keypoints, other.keypoints, atol=0.1)
        np.testing.assert_allclose(
            one.keypoint_scores, other.keypoint_scores, atol=1e-3
        )
        assert (other.keypoint_scores > 0).all() and (other.keypoint_scores <= 1).all()


def test_heatmaps_that_are_looked_at_have_a_peak_of_one():
    model = trained(config())
    model.head.final_layer.bias.data -= 300
    for sample in predict(model, output_heatmaps=True):
        heatmaps = sample.pred_fields.heatmaps
        assert (heatmaps.flatten(1).amax(1) == 1).all() and (heatmaps >= 0).all()


def test_stage_one_decodes_by_the_codec_alone():
    cfg = config(**CODECS['gaussian'])
    cfg.pop('adaptation')
    model = trained(dict(cfg, type='TopdownPoseEstimator'))
    expected = predict(model)
    model.head.final_layer.bias.data -= 300
    for one, other in zip(predict(model), expected):
        np.testing.assert_allclose(
            one.pred_instances.keypoints, other.pred_instances.keypoints, atol=0.1
        )


@pytest.mark.parametrize('codec', CODECS)
def test_a_decoder_survives_copies_and_keeps_the_codec_s_settings(codec):
    model = MODELS.build(config(**CODECS[codec]))
    expected = KEYPOINT_CODECS.build(CODECS[codec])
    for decoder in (
        model.head.decoder,
        copy.deepcopy(model).head.decoder,
        pickle.loads(pickle.dumps(model.head.decoder)),
    ):
        assert decoder.sigma == expected.sigma
        assert decoder.heatmap_size == expected.heatmap_size
        assert decoder.field_mapping_table == expected.field_mapping_table
        assert decoder.support_batch_decoding
        with pytest.raises(AttributeError):
            _ = decoder.no_such_thing


@pytest.mark.parametrize('codec', CODECS)
def test_pseudo_labels_are_the_function_that_writes_the_labels(codec):
    codec = KEYPOINT_CODECS.build(CODECS[codec])
    space = HeatmapSpace(SimpleNamespace(decoder=codec))
    logits = torch.randn(2, 7, 16, 16, generator=torch.Generator().manual_seed(0)) - 9
    (found,) = space.pseudo_labels(logits)
    for maps, labels in zip(logits, found.view_as(logits)):
        y, x = np.unravel_index(maps.flatten(1).argmax(1).numpy(), (16, 16))
        keypoints = np.stack((x, y), axis=-1)[None] * codec.scale_factor
        expected = codec.encode(keypoints.astype(np.float32))['heatmaps']
        np.testing.assert_allclose(labels, expected, atol=1e-4)


@pytest.mark.parametrize(
    'codec',
    [
        dict(type='MSRAHeatmap', **GRID, sigma=1.5),
        dict(type='UDPHeatmap', **GRID, sigma=1.5),
        dict(type='MSRAHeatmap', **GRID, sigma=2.5),
    ],
)
@pytest.mark.parametrize('method', ['RegDA', 'SourceOnly'])
def test_a_codec_that_misplaces_labels_is_refused(codec, method):
    with pytest.raises(InputError) as caught:
        MODELS.build(config(method=method, **codec))
    message = str(caught.value)
    assert 'model.head.decoder' in message and 'GaussianHeatmap' in message
    assert f'sigma={codec["sigma"]}' in message


REFUSED = [
    dict(
        type='RegressionHead',
        in_channels=16,
        num_joints=K,
        decoder=dict(type='RegressionLabel', input_size=(SIZE, SIZE)),
    ),
    dict(
        type='CPMHead',
        in_channels=16,
        out_channels=K,
        num_stages=1,
        decoder=CODECS['msra'],
    ),
    dict(
        type='MSPNHead',
        out_shape=(16, 16),
        unit_channels=16,
        out_channels=K,
        num_stages=1,
        num_units=1,
        norm_cfg=dict(type='BN'),
        level_indices=[0],
        loss=[dict(type='KeypointMSELoss')],
        decoder=CODECS['msra'],
    ),
    dict(
        type='HeatmapHead',
        in_channels=16,
        out_channels=3 * K,
        deconv_out_channels=None,
        loss=dict(type='CombinedTargetMSELoss', use_target_weight=False),
        decoder=dict(type='UDPHeatmap', **GRID, heatmap_type='combined'),
    ),
    dict(
        type='HeatmapHead',
        in_channels=16,
        out_channels=K,
        deconv_out_channels=None,
        loss=dict(type='KeypointKLLoss'),
        decoder=dict(type='MegviiHeatmap', **GRID, kernel_size=5),
    ),
    None,
]


@pytest.mark.parametrize('head', REFUSED, ids=lambda head: (head or {}).get('type'))
@pytest.mark.parametrize('method', ['RegDA', 'SourceOnly'])
def test_a_head_without_a_distribution_over_positions_is_refused(head, method):
    cfg = dict(config(method=method), head=head)
    with pytest.raises(InputError, match=r'model\.head.*HeatmapHead'):
        MODELS.build(cfg)


def test_a_head_of_the_users_own_serves_if_its_codec_does():
    from mmpose.models.heads import HeatmapHead

    class OwnHead(HeatmapHead):
        pass

    MODELS.register_module(module=OwnHead, force=True)
    model = MODELS.build(config(head=dict(type='OwnHead')))
    assert predict(model)[0].pred_instances.keypoints.shape == (1, K, 2)


@pytest.mark.parametrize(
    ('codec', 'loss', 'said'),
    [
        ('msra', 'KeypointKLLoss', True),
        ('udp', 'KeypointKLLoss', True),
        ('gaussian', 'KeypointKLLoss', False),
        ('msra', 'KeypointMSELoss', False),
    ],
)
def test_a_model_of_mmpose_s_that_decodes_by_level_is_reported(
    codec, loss, said, capsys
):
    cfg = config(head=dict(loss=dict(type=loss)), **CODECS[codec])
    head = MODELS.build(cfg['head'])
    report_decoding(SimpleNamespace(head=head))
    name = CODECS[codec]['type']
    found = ''.join(capsys.readouterr())
    assert (f'{name} takes a keypoint for missing' in found) == said
    report_decoding(MODELS.build(config(**CODECS[codec])))
    assert not ''.join(capsys.readouterr())


# --- losses that do not fit


@pytest.mark.parametrize('method', ['RegDA', 'MCD', 'DANN', 'SourceOnly'])
def test_a_forgotten_loss_is_refused(method):
    cfg = config(method=method)
    del cfg['head']['loss']
    with pytest.raises(InputError, match=r"head\.loss = dict\(type='KeypointKLLoss'"):
        MODELS.build(cfg)


def test_a_loss_of_another_scale_than_the_adversary_s_is_said(capsys):
    mse = dict(loss=dict(type='KeypointMSELoss'))
    MODELS.build(config(head=mse))
    assert "model.head.loss = dict(type='KeypointKLLoss')" in ''.join(
        capsys.readouterr()
    )
    MODELS.build(config(head=mse, method='DAN'))
    MODELS.build(config())
    assert 'model.head.loss' not in ''.join(capsys.readouterr())


HEATMAP_LOSSES = [
    # Whether it trains a softmax, ignores weights, and the loss.
    (True, False, dict(type='KeypointKLLoss')),
    (False, False, dict(type='KeypointMSELoss')),
    (False, False, dict(type='KeypointOHKMMSELoss', use_target_weight=True)),
    (False, False, dict(type='AdaptiveWingLoss', use_target_weight=True)),
    (False, False, dict(type='MSELoss', use_target_weight=True)),
    (False, True, dict(type='MSELoss')),
    (False, True, dict(type='SmoothL1Loss')),
    (False, True, dict(type='BCELoss')),
    (False, False, dict(type='FocalHeatmapLoss')),
    (False, False, dict(type='JSDiscretLoss')),
    (False, False, dict(type='MultipleLossWrapper', losses=[dict(type='MSELoss')])),
    (True, False, dict(type='CrossEntropyOfPositions')),
    (True, False, dict(type='WeighedKL')),
]


@MODELS.register_module()
class WeighedKL(KeypointKLLoss):
    """Some keypoints weigh more than others, so it serves a head of one number."""

    def __init__(self):
        super().__init__()
        self.register_buffer('factors', torch.linspace(1, 2, K))

    def forward(self, output, target, target_weights):
        return super().forward(output, target, target_weights * self.factors)


@MODELS.register_module()
class CrossEntropyOfPositions(torch.nn.Module):
    trains_a_softmax = True

    def forward(self, output, target, target_weights):
        log_p = torch.nn.functional.log_softmax(output.flatten(2), -1)
        return -(target.flatten(2) * log_p).sum(-1).mean()


@pytest.mark.parametrize(('softmax', 'unweighed', 'loss'), HEATMAP_LOSSES, ids=str)
def test_what_a_loss_trains_is_known(softmax, unweighed, loss, capsys):
    model = MODELS.build(config(head=dict(loss=loss), method='SourceOnly'))
    assert model.space.trains_a_softmax == softmax
    require_fitting_loss(model)
    found = ''.join(capsys.readouterr())
    assert ('ignores keypoint weights' in found) == unweighed
    MODELS.build(config(head=dict(loss=loss)))
    found = ''.join(capsys.readouterr())
    assert ('which trains the values of maps' in found) == (not softmax)


def test_a_head_that_regresses_heatmaps_is_decoded_as_mmpose_does():
    model = trained(
        config(head=dict(loss=dict(type='KeypointMSELoss')), method='SourceOnly')
    )
    scores = predict(model, output_heatmaps=True)
    for sample in scores:
        largest = sample.pred_fields.heatmaps.flatten(1).amax(1)
        np.testing.assert_allclose(sample.pred_instances.keypoint_scores[0], largest)


def test_labels_of_another_shape_are_refused_by_the_loss():
    loss = mmregda.models.KeypointKLLoss()
    with pytest.raises(InputError, match=r'16 x 24 \(width x height\).*24 x 16'):
        loss(torch.zeros(1, 4, 24, 16), torch.rand(1, 4, 16, 24))
    with pytest.raises(InputError, match='4 keypoints.* 3 for'):
        loss(torch.zeros(1, 4, 8, 8), torch.rand(1, 3, 8, 8))


def test_every_method_is_exported():
    fragments = [Config.fromfile(str(path)) for path in FRAGMENTS]
    assert METHODS and {f.adaptation.type for f in fragments} == set(METHODS)
    for name in METHODS:
        assert getattr(mmregda.models, name) is MODELS.get(name)
        assert name in mmregda.models.__all__
