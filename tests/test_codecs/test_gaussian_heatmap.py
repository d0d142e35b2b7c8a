"""Labels against the closed form; decoding against the softmax."""

import math

import numpy as np
import pytest
import torch
from mmpose.codecs import MSRAHeatmap, UDPHeatmap
from mmpose.registry import KEYPOINT_CODECS

from mmregda import InputError
from mmregda.codecs import (
    GaussianHeatmap,
    ProbabilityDecoder,
    gaussian_heatmaps,
    relative_probability,
)

SIZES = dict(input_size=(64, 48), heatmap_size=(16, 12))
STOCK = [
    MSRAHeatmap(**SIZES, sigma=2),
    MSRAHeatmap(**SIZES, sigma=2, unbiased=True),
    UDPHeatmap(**SIZES, sigma=2),
]
NAMES = ['msra', 'dark', 'udp']


def closed_form(x, y, sigma, width=16, height=12):
    """A pixel at a time: a Gaussian of peak 1, zero beyond 3 sigma."""
    heatmap = np.zeros((height, width))
    for row in range(height):
        for column in range(width):
            dx, dy = column - x, row - y
            if abs(dx) <= 3 * sigma and abs(dy) <= 3 * sigma:
                heatmap[row, column] = math.exp(-(dx * dx + dy * dy) / (2 * sigma**2))
    return heatmap


def codec_of(sigma):
    return KEYPOINT_CODECS.build(dict(type='GaussianHeatmap', **SIZES, sigma=sigma))


# --- labels


@pytest.mark.parametrize('sigma', [0.5, 1.0, 1.5, 2, 2.25, 3.0])
def test_labels_are_the_closed_form_at_every_pixel_and_pseudo_labels_too(sigma):
    codec = codec_of(sigma)
    pixels = [(x, y) for x in range(16) for y in range(12)]
    rng = np.random.default_rng(0)
    # Anywhere within the heatmap pixel, which is 4 pixels of the input.
    offsets = rng.uniform(-1.99, 1.99, (len(pixels), 2))
    keypoints = (4 * np.array(pixels) + offsets)[None].astype(np.float32)
    encoded = codec.encode(keypoints, np.ones((1, len(pixels)), np.float32))
    pseudo = gaussian_heatmaps(torch.tensor([pixels]), (12, 16), sigma)[0].numpy()
    assert encoded['heatmaps'].dtype == np.float32
    assert encoded['heatmaps'].shape == (len(pixels), 12, 16)
    assert (encoded['keypoint_weights'] == 1).all()
    for k, (x, y) in enumerate(pixels):
        expected = closed_form(x, y, sigma)
        np.testing.assert_allclose(encoded['heatmaps'][k], expected, atol=1e-6)
        np.testing.assert_array_equal(encoded['heatmaps'][k], pseudo[k])


def test_labels_at_whole_radii_are_those_of_mmpose():
    keypoints = np.random.default_rng(1).uniform(0, 44, (1, 21, 2))
    for sigma in (1, 2):
        ours = codec_of(sigma).encode(keypoints)
        theirs = MSRAHeatmap(**SIZES, sigma=sigma).encode(keypoints)
        for key, value in theirs.items():
            np.testing.assert_allclose(ours[key], value, atol=1e-6)


@pytest.mark.parametrize(
    'x, y, weight',
    [
        (0, 0, 1),
        (-1.9, 20, 1),
        (-2.1, 20, 0),
        (-5, 20, 0),
        (20, -2.1, 0),
        (61.9, 45.9, 1),
        (62.1, 20, 0),
        (20, 46.1, 0),
        (1e9, 20, 0),
        (-1e30, 20, 0),
        (float('nan'), 20, 0),
        (20, float('inf'), 0),
        (-float('inf'), 20, 0),
    ],
)
def test_what_has_no_pixel_in_the_heatmap_weighs_nothing(x, y, weight):
    encoded = codec_of(2).encode(np.array([[[x, y], [30.0, 30.0]]]))
    assert encoded['keypoint_weights'].tolist() == [[weight, 1]]
    assert encoded['heatmaps'][0].max() == weight
    np.testing.assert_allclose(encoded['heatmaps'][1], closed_form(8, 8, 2), atol=1e-6)


def test_what_is_hidden_weighs_nothing_and_visibility_is_the_weight():
    visible = np.array([[0.0, 1.0, 0.75, 0.3]], np.float32)
    encoded = codec_of(2).encode(np.full((1, 4, 2), 20.0), visible)
    assert encoded['keypoint_weights'].tolist() == [[0, 1, 0.75, 0]]
    assert encoded['heatmaps'].max(axis=(1, 2)).tolist() == [0, 1, 1, 0]


def test_several_instances_are_refused():
    with pytest.raises(InputError, match='keypoints of 2'):
        codec_of(2).encode(np.zeros((2, 4, 2)))


# --- decoding


def logits_of(keypoints, sharpness=12.0, seed=0):
    """A peak at each of the keypoints (K, 2) in heatmap pixels, and noise."""
    generator = torch.Generator().manual_seed(seed)
    peaks = gaussian_heatmaps(torch.tensor([keypoints]), (12, 16), 1.5)
    noise = torch.rand(peaks.shape, generator=generator)
    return sharpness * peaks + noise


PLACES = [[3.2, 4.1], [10.0, 7.7], [0.0, 0.0], [15.0, 11.0], [7.4, 0.3]]
DECODERS = [GaussianHeatmap(**SIZES, sigma=2), *map(ProbabilityDecoder, STOCK)]


@pytest.mark.parametrize('decoder', DECODERS, ids=['gaussian', *NAMES])
def test_the_level_of_logits_changes_no_keypoint_and_no_score(decoder):
    logits = logits_of(PLACES)
    keypoints, scores = decoder.batch_decode(logits)
    assert keypoints[0].shape == (1, 5, 2) and scores[0].shape == (1, 5)
    # At a border what is blurred is cut off.
    inside = keypoints[0][0, :2] - 4 * np.array(PLACES[:2])
    assert np.abs(inside).max() < 4
    for level in (-1e4, -37.5, -12.0, 5.0, 1e3):
        shifted, others = decoder.batch_decode(logits + level)
        # A tenth of a pixel: at a level of 1e4 float32 has three decimals left.
        np.testing.assert_allclose(shifted[0], keypoints[0], atol=0.1)
        np.testing.assert_allclose(others[0], scores[0], atol=1e-2)
    # Of each map by itself.
    levels = torch.tensor([-50.0, 3.0, -9.0, 0.0, -700.0]).view(5, 1, 1)
    shifted, _ = decoder.batch_decode(logits + levels)
    np.testing.assert_allclose(shifted[0], keypoints[0], atol=1e-2)


@pytest.mark.parametrize('codec', STOCK, ids=NAMES)
def test_a_stock_codec_decodes_as_it_does_a_map_of_probabilities(codec):
    logits = logits_of(PLACES)
    keypoints, _ = ProbabilityDecoder(codec).batch_decode(logits - 40)
    probability = logits.double().flatten(2).softmax(-1).view_as(logits)
    relative = (probability / probability.amax((-2, -1), keepdim=True)).float()
    expected, _ = codec.decode(relative[0].numpy())
    np.testing.assert_allclose(keypoints[0], expected, atol=1e-3)


def test_the_score_is_the_probability_within_three_sigma_of_the_maximum():
    logits = logits_of(PLACES, sharpness=4.0) - 20
    _, scores = DECODERS[0].batch_decode(logits)
    for k in range(len(PLACES)):
        p = np.exp(logits[0, k].double().numpy())
        p /= p.sum()
        row, column = divmod(int(p.argmax()), 16)
        near = sum(
            p[y, x]
            for y in range(12)
            for x in range(16)
            if abs(y - row) <= 6 and abs(x - column) <= 6
        )
        assert scores[0][0, k] == pytest.approx(near, abs=1e-5)
    # A network that is sure, and one that knows nothing.
    sure = 100 * gaussian_heatmaps(torch.tensor([[[8, 6]]]), (12, 16), 2.0)
    assert DECODERS[0].batch_decode(sure)[1][0].item() == pytest.approx(1, abs=1e-4)
    large = GaussianHeatmap((256, 256), (64, 64), 2)
    _, scores = large.batch_decode(torch.zeros(1, 1, 64, 64))
    assert scores[0].item() == pytest.approx(49 / 4096, abs=1e-6)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float64])
def test_other_types_of_number_are_decoded(dtype):
    logits = logits_of([[3, 4], [10, 7]]).to(dtype)
    keypoints, scores = DECODERS[0].batch_decode(logits - 30)
    np.testing.assert_allclose(keypoints[0][0], [[12, 16], [40, 28]], atol=1)
    assert (scores[0] > 0.5).all() and (scores[0] <= 1).all()


def test_one_map_is_decoded_as_mmpose_s_codecs_are_called():
    logits = logits_of(PLACES)
    for decoder in DECODERS:
        keypoints, scores = decoder.decode(logits[0].numpy())
        expected, others = decoder.batch_decode(logits)
        np.testing.assert_array_equal(keypoints, expected[0])
        np.testing.assert_array_equal(scores, others[0])
    keypoints, _ = DECODERS[0].batch_decode(logits)
    half = logits[0].numpy().astype(np.float16)
    np.testing.assert_allclose(DECODERS[0].decode(half)[0], keypoints[0], atol=2)


def test_labels_are_decoded_to_where_they_are():
    keypoints = np.array([[[0.0, 0.0], [20.0, 28.0], [60.0, 44.0], [8.0, 40.0]]])
    for sigma in (1, 1.5, 2):
        codec = codec_of(sigma)
        found, _ = codec.decode(codec.encode(keypoints)['heatmaps'])
        np.testing.assert_allclose(found, keypoints, atol=1)


@pytest.mark.parametrize('value', [-7.0, 0.0, 3.0, 1e38, float('inf')])
def test_a_constant_map_is_the_first_pixel_and_no_confidence(value):
    keypoints, scores = DECODERS[0].batch_decode(torch.full((1, 2, 12, 16), value))
    np.testing.assert_allclose(keypoints[0], 0, atol=1)
    np.testing.assert_allclose(scores[0], 49 / 192, atol=1e-6)


def test_infinite_logits_have_the_limit_of_the_softmax():
    logits = torch.zeros(1, 2, 12, 16)
    logits[0, 0, 7, 5] = float('inf')
    logits[0, 1] = -float('inf')
    logits[0, 1, 3, 9] = -1e30
    keypoints, scores = DECODERS[0].batch_decode(logits)
    np.testing.assert_allclose(keypoints[0], [[[20, 28], [36, 12]]], atol=1)
    np.testing.assert_allclose(scores[0], 1)


def test_a_map_that_is_not_all_numbers_has_no_score():
    logits = logits_of(PLACES)
    logits[0, 1, 0, 0] = float('nan')
    logits[0, 2] = float('nan')
    logits[0, 3] = -float('inf')
    keypoints, scores = DECODERS[0].batch_decode(logits)
    np.testing.assert_allclose(keypoints[0][0, 1:4], 0, atol=1)
    assert np.isnan(scores[0][0]).tolist() == [False, True, True, True, False]
    expected, _ = DECODERS[0].batch_decode(logits_of(PLACES))
    np.testing.assert_array_equal(keypoints[0][0, [0, 4]], expected[0][0, [0, 4]])


def test_a_map_of_one_pixel_is_that_pixel():
    codec = GaussianHeatmap((4, 4), (1, 1), 2)
    keypoints, scores = codec.batch_decode(torch.full((1, 3, 1, 1), -8.0))
    assert keypoints[0].tolist() == [[[0, 0]] * 3] and scores[0].tolist() == [[1] * 3]


def test_relative_probability_is_the_softmax_up_to_a_factor():
    logits = logits_of(PLACES).double() - 300
    softmax = logits.flatten(2).softmax(-1).view_as(logits)
    found = relative_probability(logits.flatten(2))
    assert (found.amax(-1) == 1).all() and not found.requires_grad
    torch.testing.assert_close(
        (found / found.sum(-1, keepdim=True)).view_as(softmax), softmax
    )
