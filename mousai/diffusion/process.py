"""Diffusion processes: what x_t is at time t, and what a network predicts there.

x_t = alpha data + sigma noise, on a path from data at t = 0 to noise at t = 1, both exactly. What a network predicts is
a mixture of data and noise too, so that with x_t both follow from it: whatever works with data and noise serves every
process. `PROCESSES` has them by name:

| name | path | predicted | source |
|---|---|---|---|
| `v` | alpha = cos(pi t / 2), sigma = sin(pi t / 2) | v = alpha noise - sigma data | Salimans & Ho, arXiv 2202.00512, appendix D |
| `flow` | alpha = 1 - t, sigma = t | velocity = dx/dt = noise - data | Lipman et al., arXiv 2210.02747; Liu et al., arXiv 2209.03003 |
| `epsilon` | as `v` | noise | Ho et al., arXiv 2006.11239 |

Everywhere `t` is a float, a 0-d tensor (one time for the whole batch) or `(b,)` (one an item).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

HALF_PI = math.pi / 2


def right_pad_dims(t: Tensor, x: Tensor) -> Tensor:
    """`t` on x's device, with trailing axes of length 1 so that it broadcasts along x's batch axis; 0-d stays 0-d."""
    return t.to(x.device).reshape(t.shape + (1,) * (x.ndim - t.ndim)) if t.ndim else t


class Path(Protocol):
    """The amplitudes of signal and noise, alpha and sigma, as functions of time."""

    def alpha_sigma(self, t: Tensor | float) -> tuple[Tensor, Tensor]:
        """Float32 in t's shape; alpha(1) and sigma(0) are exactly 0."""

    def amplitudes(self, t: Tensor | float) -> tuple[float, float]:
        """The same at one time as Python floats, in double precision."""

    def slopes(self, t: Tensor | float) -> tuple[float, float]:
        """Their derivatives by t, at one time."""

    def power(self, t: Tensor | float) -> float:
        """alpha^2 + sigma^2 at one time."""

    def level(self, t: Tensor | float) -> float:
        """sigma / alpha at one time, finite for t < 1."""

    def time_at(self, level: Tensor) -> Tensor:
        """The times at which sigma / alpha is `level`."""


class CosineAngle:
    """alpha = cos(pi t / 2), sigma = sin(pi t / 2): the variance stays 1 where data have variance 1."""

    def alpha_sigma(self, t: Tensor | float) -> tuple[Tensor, Tensor]:
        t = torch.as_tensor(t, dtype=torch.float32)
        return torch.sin(HALF_PI * (1 - t)), torch.sin(HALF_PI * t)  # cos(pi/2) in float32 is not 0, sin(0) is

    def amplitudes(self, t: Tensor | float) -> tuple[float, float]:
        return math.sin(HALF_PI * (1 - float(t))), math.sin(HALF_PI * float(t))

    def slopes(self, t: Tensor | float) -> tuple[float, float]:
        alpha, sigma = self.amplitudes(t)
        return -HALF_PI * sigma, HALF_PI * alpha

    def power(self, t: Tensor | float) -> float:
        return 1.0

    def level(self, t: Tensor | float) -> float:
        return math.tan(HALF_PI * float(t))

    def time_at(self, level: Tensor) -> Tensor:
        return torch.atan(level) * 2 / math.pi


class Straight:
    """alpha = 1 - t, sigma = t."""

    def alpha_sigma(self, t: Tensor | float) -> tuple[Tensor, Tensor]:
        t = torch.as_tensor(t, dtype=torch.float32)
        return 1 - t, t

    def amplitudes(self, t: Tensor | float) -> tuple[float, float]:
        return 1 - float(t), float(t)

    def slopes(self, t: Tensor | float) -> tuple[float, float]:
        return -1.0, 1.0

    def power(self, t: Tensor | float) -> float:
        alpha, sigma = self.amplitudes(t)
        return alpha**2 + sigma**2

    def level(self, t: Tensor | float) -> float:
        return float(t) / (1 - float(t))

    def time_at(self, level: Tensor) -> Tensor:
        return level / (1 + level)


@dataclass(frozen=True)
class Process:
    """A path, and what the network predicts on it: a data + b noise, where `mixture(alpha, sigma)` is (a, b).

    `divisor(alpha)` is alpha b - sigma a, by which data and noise follow from x_t and the prediction; where it is 0, the
    prediction says nothing of the data.
    """

    name: str
    path: Path
    mixture: Callable[[Any, Any], tuple[Any, Any]]
    divisor: Callable[[Any], Any]

    # -- training --------------------------------------------------------------------------------------------------

    def add_noise(self, data: Tensor, noise: Tensor, t: Tensor | float) -> Tensor:
        """x_t = alpha data + sigma noise: training's input, and the start of audio-to-audio at `t`."""
        alpha, sigma = self._alpha_sigma(t, data)
        return alpha * data + sigma * noise

    def target(self, data: Tensor, noise: Tensor, t: Tensor | float) -> Tensor:
        """What the network is to predict of `add_noise(data, noise, t)`."""
        of_data, of_noise = self.mixture(*self._alpha_sigma(t, data))
        return of_data * data + of_noise * noise

    # -- sampling --------------------------------------------------------------------------------------------------

    def data(self, x_t: Tensor, prediction: Tensor, t: Tensor | float) -> Tensor:
        """The data that x_t is made of, by the prediction: (b x_t - sigma prediction) / (alpha b - sigma a)."""
        alpha, sigma, _, of_noise, divisor = self._parts(x_t, t)
        return of_noise / divisor * x_t - sigma / divisor * prediction

    def noise(self, x_t: Tensor, prediction: Tensor, t: Tensor | float) -> Tensor:
        """The noise that x_t is made of, by the prediction: (alpha prediction - a x_t) / (alpha b - sigma a)."""
        alpha, _, of_data, _, divisor = self._parts(x_t, t)
        return alpha / divisor * prediction - of_data / divisor * x_t

    def data_gain(self, x_t: Tensor, t: Tensor | float) -> Any:
        """By how much the data of x_t change with the prediction: -sigma / (alpha b - sigma a)."""
        _, sigma, _, _, divisor = self._parts(x_t, t)
        return -sigma / divisor

    def asked_at(self, t: Tensor, t_next: Tensor) -> Tensor:
        """When the network is asked for a step from `t` to `t_next`: at t, if what it says there tells of the data.

        Epsilon at t = 1, where alpha is 0, is x itself: there it is asked in the middle of the step.
        """
        return t if self.divisor(self.path.amplitudes(t)[0]) else (t + t_next) / 2

    def data_and_noise(self, x_t: Tensor, prediction: Tensor, t: Tensor, t_next: Tensor) -> tuple[Tensor, Tensor]:
        """What x_t is made of by the prediction of time `asked_at(t, t_next)`."""
        asked = self.asked_at(t, t_next)
        return self.data(x_t, prediction, asked), self.noise(x_t, prediction, t) if asked is t else x_t

    def derivative(self, data: Tensor, noise: Tensor, t: Tensor | float) -> Tensor:
        """dx/dt at `t` along the path between this data and this noise."""
        alpha_slope, sigma_slope = self.path.slopes(t)
        return alpha_slope * data + sigma_slope * noise

    def log_snr(self, t: Tensor | float) -> float:
        """lambda = log(alpha / sigma), finite for 0 < t < 1."""
        return -math.log(self.path.level(t))

    def _alpha_sigma(self, t: Tensor | float, x: Tensor) -> tuple[Tensor, Tensor]:
        alpha, sigma = self.path.alpha_sigma(t)
        return right_pad_dims(alpha, x), right_pad_dims(sigma, x)

    def _parts(self, x: Tensor, t: Tensor | float) -> tuple[Any, Any, Any, Any, Any]:
        """alpha, sigma, a, b and alpha b - sigma a: numbers in double precision for one time, else of x's axes."""
        several = isinstance(t, Tensor) and t.ndim
        alpha, sigma = self._alpha_sigma(t, x) if several else self.path.amplitudes(t)
        return alpha, sigma, *self.mixture(alpha, sigma), self.divisor(alpha)


V = Process("v", CosineAngle(), mixture=lambda alpha, sigma: (-sigma, alpha), divisor=lambda alpha: 1.0)
FLOW = Process("flow", Straight(), mixture=lambda alpha, sigma: (-1.0, 1.0), divisor=lambda alpha: 1.0)
EPSILON = Process("epsilon", CosineAngle(), mixture=lambda alpha, sigma: (0.0, 1.0), divisor=lambda alpha: alpha)
PROCESSES = {process.name: process for process in (V, FLOW, EPSILON)}
