"""What benchmarks/regda_variants.py trains."""

import os
import subprocess
import sys

import pytest
import torch
from conftest import ROOT, SGD, random_batch, tiny_model_config
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmpose.registry import MODELS

pytestmark = pytest.mark.slow


@pytest.fixture(scope='module')
def variants():
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.syspath_prepend(str(ROOT / 'benchmarks'))
        import regda_variants

        yield regda_variants


def trained(**adaptation):
    """Parameters and running statistics after three iterations."""
    torch.manual_seed(0)
    model = MODELS.build(tiny_model_config(5, **adaptation))
    model.init_weights()
    model.adaptation.warm_start.iteration.fill_(1000)
    cfg = dict(constructor='PlayerOptimWrapperConstructor', optimizer=dict(SGD, lr=0.1))
    optim_wrapper = build_optim_wrapper(model.train(), cfg)
    for i in range(3):
        target = random_batch(4, 5, 2 * i + 1, labeled=False)
        batches = dict(source=random_batch(4, 5, 2 * i), target=target)
        model.train_step(batches, optim_wrapper)
    state = model.state_dict()
    return {k: v for k, v in state.items() if 'teacher' not in k}


def test_without_a_change_it_is_regda_and_with_one_it_is_not(variants):
    regda = trained(type='RegDA')
    plain = trained(type='RegDAVariant')
    assert regda.keys() == plain.keys()
    for name, value in regda.items():
        torch.testing.assert_close(plain[name], value, rtol=0, atol=0)
    for name, change in variants.VARIANTS.items():
        changed = trained(type='RegDAVariant', **change)
        assert any(not torch.equal(changed[k], v) for k, v in regda.items()), name


def test_joint_ground_false_has_the_gradient_of_a_distribution_over_positions(variants):
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(2, 4, 6, generator=generator) ** 4
    y = torch.rand(2, 4, 5, generator=generator) ** 4
    z = [torch.randn(t.shape, generator=generator).requires_grad_() for t in (x, y)]
    # Spelt out on the plane: the mean of the others' distributions, and a product.
    labels = torch.einsum('bki,bkj->bkij', x, y)
    labels = labels / labels.sum(dim=(2, 3), keepdim=True)
    loss = 0.0
    for b in range(2):
        for k in range(4):
            p_false = sum(labels[b, other] for other in range(4) if other != k) / 3
            p = z[0][b, k].softmax(0)[:, None] * z[1][b, k].softmax(0)
            loss = loss + (p_false * (p_false / p).log()).sum() / 8
    expected = torch.autograd.grad(loss, z)
    false = variants.joint_ground_false([x, y])
    found = torch.autograd.grad(MODELS.build(dict(type='KeypointKLLoss'))(z, false), z)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


def test_fragments_are_configs_of_methods(variants, tmp_path):
    for path in variants.write_fragments(tmp_path).values():
        fragment = Config.fromfile(path)
        MODELS.build(tiny_model_config(5, **fragment.adaptation))
        assert set(fragment.optim_wrapper) >= {'adversary', 'head'}


def test_it_lists_the_arguments_of_the_benchmark():
    command = [sys.executable, str(ROOT / 'benchmarks/regda_variants.py'), '--help']
    found = subprocess.run(command, capture_output=True, text=True, env=os.environ)
    assert found.returncode == 0, found.stderr
    assert '--seeds' in found.stdout and 'Variants of RegDA' in found.stdout
