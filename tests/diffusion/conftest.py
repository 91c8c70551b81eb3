"""Predictors that are exact for every process: for one data point, for a Gaussian and for a mixture of Gaussians, in closed form."""

from types import SimpleNamespace

import pytest
import torch

from mousai.diffusion.process import PROCESSES, right_pad_dims


def amplitudes_of(process, t, x):
    """alpha and sigma in double precision and in x's axes and dtype."""
    both = torch.tensor([process.path.amplitudes(each) for each in t.reshape(-1)], dtype=torch.float64)
    return tuple(right_pad_dims(part.reshape(t.shape).to(x.dtype), x) for part in both.T)


def of(process, data_of):
    """The predictor whose data prediction is `data_of(x, alpha, sigma)`; at sigma 0, x tells nothing of the noise: its mean, 0."""

    def predict(x, t):
        alpha, sigma = amplitudes_of(process, t, x)
        data = data_of(x, alpha, sigma)
        noise = torch.where(sigma > 0, (x - alpha * data) / sigma.clamp(min=1e-30), torch.zeros_like(x))
        of_data, of_noise = process.mixture(alpha, sigma)
        return of_data * data + of_noise * noise

    return predict


def point(process, data):
    """All data is `data`."""
    return of(process, lambda x, alpha, sigma: data)


def pair(process, data, noise):
    """Knows the noise too, so that the path is that from one to the other, whatever x is."""

    def predict(x, t):
        of_data, of_noise = process.mixture(*amplitudes_of(process, t, x))
        return of_data * data + of_noise * noise

    return predict


def gaussian(process, mean, std):
    """Data is N(mean, std^2) everywhere: the posterior mean."""
    return of(process, lambda x, a, s: mean + a * std**2 / (a**2 * std**2 + s**2) * (x - a * mean))


def mixture(process, means, stds, weights):
    """Data is a one-dimensional mixture in every coordinate: the posterior mean."""
    means, stds, weights = (torch.tensor(part, dtype=torch.float64) for part in (means, stds, weights))

    def data_of(x, a, s):
        x = x.unsqueeze(-1)
        variance = (a * stds) ** 2 + s**2
        rest = x - a * means
        odds = torch.softmax(weights.log() - variance.log() / 2 - rest**2 / (2 * variance), dim=-1)
        return (odds * (means + a * stds**2 / variance * rest)).sum(-1)

    return of(process, data_of)


@pytest.fixture(scope="session")
def exact():
    """The predictors of this file, by name."""
    return SimpleNamespace(of=of, point=point, pair=pair, gaussian=gaussian, mixture=mixture)


@pytest.fixture(params=PROCESSES)
def process(request):
    """Each of the processes."""
    return PROCESSES[request.param]
