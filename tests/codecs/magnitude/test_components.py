import pytest
import torch

from mousai.codecs.magnitude.components import ComponentConfig, Components, dct, feature_weights, local_mean, row_frequencies, strongest
from mousai.codecs.magnitude.features import FeatureConfig


def test_the_dct_is_orthonormal():
    torch.testing.assert_close(dct(5) @ dct(5).T, torch.eye(5))


def test_as_many_components_as_numbers_give_everything_back():
    torch.manual_seed(0)
    components = Components(ComponentConfig(block=4, count=24), width=6)
    x = torch.randn(2, 6, 400) + torch.arange(6)[:, None]
    weights = torch.randn(6, 6) + 4 * torch.eye(6)
    components.fit([x], weights)
    torch.testing.assert_close(components.decode(components.encode(x)), x, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(components.mean[:, 0], torch.arange(6.0), atol=0.15, rtol=0)


def test_latents_have_unit_variance_and_no_correlation():
    torch.manual_seed(0)
    components = Components(ComponentConfig(block=2, count=5), width=8)
    x = torch.randn(8, 8, 4000).cumsum(1)
    components.fit(x.split(2), torch.eye(8))
    latents = components.encode(x).transpose(0, 1).flatten(1)
    torch.testing.assert_close(torch.cov(latents), torch.eye(5), atol=0.06, rtol=0)


def test_slow_and_strong_patterns_get_the_latents():
    """A pattern of two features that lasts, among noise: it alone is kept where only two latents are given."""
    torch.manual_seed(0)
    pattern = torch.tensor([1.0, -1.0, 0, 0])[:, None] * torch.randn(1, 500).repeat_interleave(8, 1)
    components = Components(ComponentConfig(block=4, count=1), width=4)
    components.fit([(pattern + 0.1 * torch.randn(4, 4000))[None]], torch.eye(4))
    kept = components.decode(components.encode(pattern[None]))[0]
    assert (kept - pattern).square().mean() < 0.02 * pattern.square().mean()


def test_weights_say_what_is_kept():
    torch.manual_seed(0)
    x = torch.randn(1, 2, 4000).repeat_interleave(4, 2)
    for loud in (0, 1):
        components = Components(ComponentConfig(block=4, count=1), width=2)
        components.fit([x], torch.diag(torch.tensor([3.0, 1.0] if loud == 0 else [1.0, 3.0])))
        error = (components.decode(components.encode(x)) - x).square().mean((0, 2))
        assert error[loud] < 0.05 and error[1 - loud] > 0.9


def test_the_strongest_are_chosen_across_temporal_frequencies():
    covariances = torch.stack([torch.diag(torch.tensor([9.0, 1.0, 4.0])), torch.diag(torch.tensor([0.5, 6.0, 2.0]))])
    variances, axes = strongest(covariances, 4)
    torch.testing.assert_close(variances, torch.tensor([9.0, 4.0, 6.0, 2.0]))
    assert axes.frequency.tolist() == [0, 0, 1, 1]
    assert axes.axes.abs().argmax(1).tolist() == [0, 2, 1, 2]
    with pytest.raises(ValueError, match="at most the 6 numbers"):
        strongest(covariances, 7)


def test_weights_favour_fine_structure_mid_and_the_fast_path(small):
    config = ComponentConfig(smoothing=5, fine=(3.0, 1.0), fine_hz=(200.0, 900.0), side=0.25, fast=2.0)
    weights = feature_weights(config, small.features, 2, 8000)
    rows, width = small.features.rows, 2 * small.features.per_channel
    assert weights.shape == (width, width)
    torch.testing.assert_close(weights[rows : 2 * rows, rows : 2 * rows], weights[:rows, :rows] / 2)  # an error's square counts side
    ripple, flat = torch.zeros(2, width)
    ripple[:32], flat[:32] = torch.tensor([1.0, -1.0]).repeat(16), 1.0
    answers = [(weights @ x)[:32] / weights.diagonal()[:32] for x in (ripple, flat)]
    assert answers[0][4:28].abs().mean() > 1.2 * answers[1][4:28].abs().mean()
    fast = weights.diagonal()[2 * rows :]
    torch.testing.assert_close(fast[0] / fast[-1], torch.tensor(2.0))


def test_rows_lie_where_their_bins_are():
    hz, bins = row_frequencies(FeatureConfig(), 48000)
    assert hz[0] == 0 and hz[511] == 511 * 48000 / 4096 and bins.sum() == 2048
    assert hz[512] == (512 + 1.5) * 48000 / 4096


def test_a_local_mean_counts_fewer_at_the_ends():
    x = torch.arange(5.0)[:, None].expand(5, 2)
    torch.testing.assert_close(local_mean(x, 3)[:, 0], torch.tensor([0.5, 1, 2, 3, 3.5]))


def test_fitting_to_nothing_is_refused():
    with pytest.raises(ValueError, match="at least two blocks"):
        Components(ComponentConfig(block=4, count=2), width=3).fit([], torch.eye(3))
