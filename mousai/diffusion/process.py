"""The diffusion process: what x_t is at time t, and what a network is asked to predict there.

Two processes, both with `t` in [0, 1], 0 = data and 1 = noise:

- the v-objective on the cosine angle schedule, x_t = alpha data + sigma noise with alpha = cos(pi t / 2) and
  sigma = sin(pi t / 2), v = alpha noise - sigma data (Salimans & Ho, arXiv 2202.00512, appendix D; Moûsai,
  arXiv 2301.11757, section 3.1);
- flow matching on the straight path, x_t = (1 - t) data + t noise, velocity = dx/dt = noise - data (Lipman et al.,
  arXiv 2210.02747; Liu et al., arXiv 2209.03003).

Everywhere `t` is a float, a 0-d tensor (one time for the whole batch) or `(b,)` (one an item).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def right_pad_dims(t: Tensor, x: Tensor) -> Tensor:
    """`t` on x's device, with trailing axes of length 1 so that it broadcasts along x's batch axis; 0-d stays 0-d."""
    return t.to(x.device).reshape(t.shape + (1,) * (x.ndim - t.ndim)) if t.ndim else t


def alpha_sigma(t: Tensor | float) -> tuple[Tensor, Tensor]:
    """The amplitudes of signal and noise at `t`, float32 in t's shape; alpha(1) and sigma(0) are exactly 0."""
    t = torch.as_tensor(t, dtype=torch.float32)
    half_pi = math.pi / 2
    return torch.sin(half_pi * (1 - t)), torch.sin(half_pi * t)  # cos(pi/2) in float32 is not 0, sin(0) is


def _amplitudes(t: Tensor | float, x: Tensor) -> tuple[Tensor, Tensor]:
    alpha, sigma = alpha_sigma(t)
    return right_pad_dims(alpha, x), right_pad_dims(sigma, x)


def add_noise(data: Tensor, noise: Tensor, t: Tensor | float) -> Tensor:
    """x_t = alpha data + sigma noise: training's input, and the start of audio-to-audio at `t`."""
    alpha, sigma = _amplitudes(t, data)
    return alpha * data + sigma * noise


def v_target(data: Tensor, noise: Tensor, t: Tensor | float) -> Tensor:
    """v = alpha noise - sigma data, the network's target."""
    alpha, sigma = _amplitudes(t, data)
    return alpha * noise - sigma * data


def data_from_v(x_t: Tensor, v: Tensor, t: Tensor | float) -> Tensor:
    """data = alpha x_t - sigma v."""
    alpha, sigma = _amplitudes(t, x_t)
    return alpha * x_t - sigma * v


def noise_from_v(x_t: Tensor, v: Tensor, t: Tensor | float) -> Tensor:
    """noise = sigma x_t + alpha v."""
    alpha, sigma = _amplitudes(t, x_t)
    return sigma * x_t + alpha * v


def flow_x_t(data: Tensor, noise: Tensor, t: Tensor | float) -> Tensor:
    """x_t = (1 - t) data + t noise, the straight path."""
    t = right_pad_dims(torch.as_tensor(t, dtype=torch.float32), data)
    return (1 - t) * data + t * noise


def velocity_target(data: Tensor, noise: Tensor) -> Tensor:
    """velocity = dx/dt = noise - data, the same at every t."""
    return noise - data


def data_from_velocity(x_t: Tensor, velocity: Tensor, t: Tensor | float) -> Tensor:
    """data = x_t - t velocity."""
    return x_t - right_pad_dims(torch.as_tensor(t, dtype=torch.float32), x_t) * velocity
