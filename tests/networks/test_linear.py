import pytest
import torch
from torch import nn

from mousai.networks.linear import Linear


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(7,), (3, 7), (2, 5, 7)])
def test_equals_torchs_with_every_gradient(shape, bias):
    torch.manual_seed(0)
    ours = Linear(7, 9, bias=bias)
    theirs = nn.Linear(7, 9, bias=bias)
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(shape, requires_grad=True)
    y = x.detach().clone().requires_grad_()
    weight = torch.randn(*shape[:-1], 9)
    (ours(x) * weight).sum().backward()
    (theirs(y) * weight).sum().backward()
    with torch.no_grad():
        torch.testing.assert_close(ours(x), theirs(x), atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(x.grad, y.grad, atol=1e-6, rtol=1e-5)
    for name, parameter in ours.named_parameters():
        torch.testing.assert_close(parameter.grad, theirs.get_parameter(name).grad, atol=1e-6, rtol=1e-5)


def test_frozen_inputs_and_other_dtypes_pass():
    layer = Linear(4, 3)
    layer(torch.randn(2, 4)).sum().backward()
    assert layer.weight.grad is not None
    assert layer.to(torch.bfloat16)(torch.randn(2, 4, dtype=torch.bfloat16)).dtype == torch.bfloat16
