"""A loop that is shorter than what a network was trained on, in one window that goes round it, by DDIM.

The window holds the loop once or several times and the beginning of it once more; what is predicted for the same frame in
several places is averaged in every step, less where the window begins and ends. So nothing begins or ends in the loop.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mousai.diffusion.process import Process
from mousai.diffusion.samplers import checked_eta, checked_times, ddim_step
from mousai.diffusion.windows import STREAM, WindowGrid, WindowPredict
from mousai.randomness import positional_noise


class Ring:
    """As `windows.JointDenoiser`: after the last step the `grid.num_frames` frames, whose last `grid.overlap` are its first ones.

    The grid has one window, of at least as many frames.
    """

    def __init__(
        self, process: Process, predict: WindowPredict, times: Tensor, grid: WindowGrid, channels: int, seed: int, *,
        eta: float = 0.0, device: torch.device | str = "cpu",
    ) -> None:  # fmt: skip
        checked_eta(eta)
        self.length = grid.num_frames - grid.overlap
        if self.length < 1 or grid.window < grid.num_frames:
            raise ValueError(f"expected a window as long as a loop and its overlap, came {grid}")
        self.process, self.predict, self.grid, self.channels, self.seed = process, predict, grid, channels, seed
        self.eta, self.device, self.times = eta, torch.device(device), checked_times(torch.zeros(1, 1), times)
        self.place = torch.arange(grid.window, device=self.device) % self.length
        edge = torch.arange(grid.window, device=self.device) + 0.5
        self.weight = torch.minimum(edge, grid.window - edge).div(grid.overlap).clamp(max=1.0)
        self.done = 0  # steps
        self.x = self.noise(0)

    @property
    def total(self) -> int:
        return len(self.times) - 1

    def advance(self) -> Tensor | None:
        """Takes the next step; the frames after the last one."""
        t, t_next = self.times[self.done], self.times[self.done + 1]
        asked = self.process.asked_at(t, t_next).reshape(1)
        prediction = self.folded(self.predict(self.x[:, self.place][None], asked, [0])[0].to(self.x.dtype))
        fresh = self.noise(self.done + 1) if self.eta else None
        self.x = ddim_step(self.process, *self.process.data_and_noise(self.x, prediction, t, t_next), t, t_next, self.eta, fresh)
        self.done += 1
        return self.x[:, self.place[: self.grid.num_frames]] if self.done == self.total else None

    def folded(self, prediction: Tensor) -> Tensor:
        """The mean over all places of each of the loop's frames, of `(d, window)`."""
        sums = torch.zeros(len(prediction), self.length, device=self.device).index_add_(1, self.place, prediction * self.weight)
        return sums / torch.zeros(self.length, device=self.device).index_add_(0, self.place, self.weight)

    def noise(self, stream: int) -> Tensor:
        """The noise `(d, length)` of a stream."""
        return positional_noise([self.seed + (stream + 1) * STREAM], 0, self.length, self.channels)[0].T.to(self.device)

    def state(self) -> dict[str, Tensor]:
        """All that `advance` goes on from; `restore` takes it."""
        return {"done": torch.tensor(self.done), "x": self.x.cpu()}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Goes back to a `state()` of the same loop."""
        self.done, self.x = int(state["done"]), state["x"].to(self.device)
