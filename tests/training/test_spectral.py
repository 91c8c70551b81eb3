"""Sigma-reparametrisation: begins as the model without, keeps norms exactly, and is gone from what is exported."""

import pytest
import torch
from torch import nn

from mousai import checkpoint
from mousai.training.spectral import SpectralScale, follow, plain, reparametrise
from mousai.training.state import part


def model():
    torch.manual_seed(3)
    net = nn.Sequential(nn.Linear(6, 9), nn.Tanh(), nn.Linear(9, 4, bias=False), nn.Linear(4, 4))
    nn.init.zeros_(net[3].weight)
    return net


@pytest.mark.parametrize("training", [True, False])
def test_a_model_begins_as_it_is_without(training):
    one, other, x = model(), model(), torch.randn(5, 6)
    reparametrise(other.train(training))
    torch.testing.assert_close(other(x), one(x))
    assert [isinstance(layer, nn.Linear) and hasattr(layer, "parametrizations") for layer in other] == [True, False, True, False]


def test_norms_are_gamma_s_whatever_the_matrix_becomes():
    net = model()
    reparametrise(net)
    optimizer, x = torch.optim.SGD(net.parameters(), 0.3), torch.randn(32, 6)
    for _ in range(30):
        follow(net)
        optimizer.zero_grad()
        (net(x) + net(2 * x)).sub(1).square().mean().backward()  # two uses before the gradient is taken
        optimizer.step()
    net.eval()
    for layer in (net[0], net[2]):
        scale = layer.parametrizations.weight[0]
        assert torch.linalg.matrix_norm(layer.weight, 2).item() == pytest.approx(scale.gamma.item(), rel=1e-5)
    exported = plain(net.state_dict())
    bare = model().eval()
    assert exported.keys() == bare.state_dict().keys()
    bare.load_state_dict(exported)
    torch.testing.assert_close(bare(x), net(x))


def test_one_power_iteration_a_step_follows_a_matrix_that_moves():
    torch.manual_seed(0)
    matrix, step = torch.randn(20, 30), 0.01 * torch.randn(20, 30)
    scale = SpectralScale(matrix)
    for _ in range(50):
        matrix = matrix + step
        scale.follow(matrix)
        made = scale(matrix)
    assert torch.linalg.matrix_norm(made, 2).item() == pytest.approx(scale.gamma.item(), rel=0.02)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(scale(matrix), made)  # the norm is no bf16
    found = torch.autograd.grad(scale(matrix.requires_grad_()).sum(), matrix)[0]  # the norm's own gradient is in it
    assert abs((found * matrix).sum()) < 1e-3  # a matrix twice as large gives the same


def test_a_run_with_it_goes_on_to_the_same_bits_and_its_state_exports_plain(tmp_path, run_tiny):
    main = run_tiny.main
    whole = main(tmp_path / "whole", "sigma_reparam=true")
    main(tmp_path / "two", "sigma_reparam=true", faults={11: "SIGTERM"})
    assert main(tmp_path / "two", "sigma_reparam=true")["weights"] == whole["weights"]
    _, tensors, _ = checkpoint.load_state(tmp_path / "whole/state")
    averaged = part(tensors, "ema.model.")
    names = plain(averaged).keys()
    assert any("parametrizations" in name for name in averaged) and not any("parametrizations" in name for name in names)
    main(tmp_path / "plain")
    assert names == part(checkpoint.load_state(tmp_path / "plain/state")[1], "ema.model.").keys()
    with pytest.raises(ValueError, match="another model"):
        main(tmp_path / "plain", "sigma_reparam=true", "steps=40")
    with pytest.raises(ValueError, match="no norm in any of them"):
        main(tmp_path / "split", "sigma_reparam=true", "shard=true")
