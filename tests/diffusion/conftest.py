"""Predictors that are exact, for one data point, for a Gaussian and for a mixture of Gaussians, in closed form."""

from types import SimpleNamespace

import pytest
import torch

from mousai.diffusion.process import alpha_sigma, right_pad_dims


def v_of(data_of):
    """The v-predictor whose data prediction is `data_of(x, alpha, sigma)`."""

    def predict(x, t):
        alpha, sigma = (right_pad_dims(a, x).to(x.dtype) for a in alpha_sigma(t))
        data = data_of(x, alpha, sigma)
        return alpha * (x - alpha * data) / sigma - sigma * data

    return predict


def point(data):
    """All data is `data`: v of whatever noise x has."""
    return v_of(lambda x, alpha, sigma: data)


def velocity_of_point(data):
    """The flow to a single data point: velocity = (x - data) / t, read as its limit at t = 0."""
    return lambda x, t: (x - data) / t if t > 0 else torch.zeros_like(x)


def gaussian(mean, std):
    """Data is N(mean, std^2) everywhere: the posterior mean."""
    return v_of(lambda x, a, s: mean + a * std**2 / (a**2 * std**2 + s**2) * (x - a * mean))


def gaussian_flow(mean, std):
    """The same data's velocity on the straight path, E[noise - data | x]."""

    def predict(x, t):
        t = t.to(x.dtype)
        variance = (1 - t) ** 2 * std**2 + t**2
        rest = x - (1 - t) * mean
        return t / variance * rest - (mean + (1 - t) * std**2 / variance * rest)

    return predict


def mixture(means, stds, weights):
    """Data is a one-dimensional mixture in every coordinate: the posterior mean."""
    means, stds, weights = (torch.tensor(part, dtype=torch.float64) for part in (means, stds, weights))

    def data_of(x, a, s):
        x = x.unsqueeze(-1)
        variance = (a * stds) ** 2 + s**2
        rest = x - a * means
        odds = torch.softmax(weights.log() - variance.log() / 2 - rest**2 / (2 * variance), dim=-1)
        return (odds * (means + a * stds**2 / variance * rest)).sum(-1)

    return v_of(data_of)


@pytest.fixture(scope="session")
def exact():
    """The predictors of this file, by name."""
    return SimpleNamespace(
        v_of=v_of,
        point=point,
        velocity_of_point=velocity_of_point,
        gaussian=gaussian,
        gaussian_flow=gaussian_flow,
        mixture=mixture,
    )
