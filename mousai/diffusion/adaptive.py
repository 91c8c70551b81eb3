"""Dormand and Prince's adaptive solver of order five, by torchdiffeq (extra `dopri5`): it decides how often it asks."""

from __future__ import annotations

import torch
from torch import Tensor

from mousai.checks import extra
from mousai.diffusion.process import Process
from mousai.diffusion.samplers import Predict

TOLERANCE = 1e-4  # of each step, absolute and relative


@torch.no_grad()
def dopri5(process: Process, predict: Predict, x: Tensor, tolerance: float = TOLERANCE) -> Tensor:
    """From noise x at t = 1 to data at t = 0; ValueError names the extra where torchdiffeq is not installed."""
    odeint = extra("torchdiffeq", "the sampler dopri5", "dopri5", otherwise="take heun").odeint

    def slope(t: Tensor, x: Tensor) -> Tensor:
        at = t.to("cpu", torch.float32)
        prediction = predict(x, at)
        return process.derivative(process.data(x, prediction, at), process.noise(x, prediction, at), at)

    times = torch.tensor([1.0, 0.0], device=x.device)
    return odeint(slope, x.float(), times, rtol=tolerance, atol=tolerance, method="dopri5")[-1]
