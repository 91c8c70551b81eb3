"""Sequences longer than a network was trained on, sampled in overlapping windows, as a stream of finished frames.

Both ways of the field, for every process, by DDIM:

- `JointDenoiser`: the windows are denoised together, what neighbours predict for the frames they share is averaged in
  every step (Bar-Tal et al., "MultiDiffusion", arXiv 2302.08113). A window's step needs its neighbours' last step, not
  the whole piece's: the steps run behind one another along the piece, so that memory does not grow with its length.
- `Continuation`: windows one after the other, each inpaints what is new given the frames that it shares with the one
  before (RePaint, arXiv 2201.09865).

What is random belongs to a frame's place in the one, to a window's number in the other, so that neither batches nor a
restart from `state()` make a difference.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from mousai.diffusion.inpaint import inpaint
from mousai.diffusion.process import Process
from mousai.diffusion.samplers import checked_eta, checked_times, ddim_step
from mousai.randomness import block_generator, positional_noise

LOOP_PULL = 4.0  # how far all steps together bring the end of a loop to its beginning: (1 - rise)**4 of the way is left
STREAM = 2**32  # noise streams of a seed are so far apart; the first of them is left to whoever decodes the latents

# (x (b, d, l), t (b,), first frame of each row) -> the prediction (b, d, l)
WindowPredict = Callable[[Tensor, Tensor, list[int]], Tensor]


@dataclass(frozen=True)
class WindowGrid:
    """Windows of `window` frames over a sequence of `num_frames`, each sharing `overlap` with the one before it.

    All are multiples of `multiple`, which the network takes; the last window may be shorter and reach beyond the end.
    """

    num_frames: int
    window: int
    overlap: int
    multiple: int = 1

    def __post_init__(self) -> None:
        if self.num_frames < 1 or not 0 < self.overlap <= self.window // 2:
            raise ValueError(f"expected num_frames >= 1 and an overlap from 1 to half a window, came {self}")
        if self.window % self.multiple or self.overlap % self.multiple:
            raise ValueError(f"expected window and overlap to be multiples of {self.multiple}, came {self}")

    @property
    def stride(self) -> int:
        return self.window - self.overlap

    @property
    def count(self) -> int:
        return max(1, -(-(self.num_frames - self.overlap) // self.stride))

    def span(self, index: int) -> tuple[int, int]:
        """First frame of window `index`, and the frame after its last."""
        first = index * self.stride
        least = max(self.num_frames - first, self.window // 2)  # a network hears little in much less than it was trained on
        return first, first + min(self.window, -(-least // self.multiple) * self.multiple)


class JointDenoiser:
    """Frames of data `(d, l)` from `advance()`, window after window, until it has given `num_frames`.

    Noise comes from `seed` and a frame's place. `prefix (d, m)` are frames that are known: the sequence goes on from
    them. With `loop`, its last `overlap` frames become its first ones, so that it can be repeated without them.
    `batch` is how many rows `predict` gets at most.
    """

    def __init__(
        self, process: Process, predict: WindowPredict, times: Tensor, grid: WindowGrid, channels: int, seed: int, *,
        eta: float = 0.0, batch: int = 1, prefix: Tensor | None = None, loop: bool = False, device: torch.device | str = "cpu",
    ) -> None:  # fmt: skip
        checked_eta(eta)
        self.process, self.predict, self.grid, self.channels, self.seed = process, predict, grid, channels, seed
        self.eta, self.batch, self.prefix, self.loop, self.device = eta, batch, prefix, loop, torch.device(device)
        self.times = checked_times(torch.zeros(1, 1), times)
        self.asked = torch.stack([process.asked_at(t, t_next) for t, t_next in zip(self.times[:-1], self.times[1:])])
        levels = len(self.times) - 1
        self.next = [0] * levels  # number of the next window at each step
        self.held = [torch.zeros(channels, 0, device=self.device) for _ in range(levels)]  # x from that window on; not of step 0
        self.tail: list[Tensor | None] = [None] * levels  # what the last window predicted for frames of the next
        self.head: list[Tensor | None] = [None] * levels  # with `loop`, the first frames after each step

    @property
    def done(self) -> int:
        """Window steps that are done, of `total`."""
        return sum(self.next)

    @property
    def total(self) -> int:
        return len(self.next) * self.grid.count

    def advance(self) -> Tensor | None:
        """Take the next window through every step whose input is there; frames that are finished by it, if any are."""
        ready = [level for level, index in enumerate(self.next) if index < self.grid.count and self._there(level, index)]
        inputs = {level: self._input(level) for level in ready}
        finished = None
        for length in sorted({x.shape[-1] for x in inputs.values()}, reverse=True):
            alike = [level for level in ready if inputs[level].shape[-1] == length]
            for first in range(0, len(alike), self.batch):
                levels = alike[first : first + self.batch]
                rows = torch.stack([inputs[level] for level in levels])
                places = [self.grid.span(self.next[level])[0] for level in levels]
                for level, x, prediction in zip(levels, rows, self.predict(rows, self.asked[levels], places)):
                    finished = self._step(level, x, prediction.to(x.dtype), finished)
        return finished

    def _there(self, level: int, index: int) -> bool:
        first, stop = self.grid.span(index)
        return level == 0 or self.held[level].shape[-1] >= stop - first

    def _input(self, level: int) -> Tensor:
        first, stop = self.grid.span(self.next[level])
        return self.noise(0, first, stop) if level == 0 else self.held[level][:, : stop - first]

    def _step(self, level: int, x: Tensor, prediction: Tensor, finished: Tensor | None) -> Tensor | None:
        """One window's step: its prediction faded in over its predecessor's, x one step on where no later window has a say."""
        index, overlap = self.next[level], self.grid.overlap
        first = self.grid.span(index)[0]
        if self.tail[level] is not None:
            rise = (torch.arange(overlap, device=x.device) + 0.5) / overlap
            faded = torch.lerp(self.tail[level], prediction[:, :overlap], rise)
            prediction = torch.cat([faded, prediction[:, overlap:]], dim=-1)
        last = index == self.grid.count - 1
        end = x.shape[-1] if last else self.grid.stride
        t, t_next = self.times[level], self.times[level + 1]
        fresh = self.noise(level + 1, first, first + end) if self.eta else None
        data, noise = self.process.data_and_noise(x[:, :end], prediction[:, :end], t, t_next)
        after = ddim_step(self.process, data, noise, t, t_next, self.eta, fresh)
        after = self._pinned(after, first, level)
        self.next[level] += 1
        self.tail[level] = None if last else prediction[:, end:].clone()
        if level:
            self.held[level] = self.held[level][:, end:].clone()
        if level + 1 < len(self.next):
            self.held[level + 1] = torch.cat([self.held[level + 1], after], dim=-1)
            return finished
        return after[:, : max(0, self.grid.num_frames - first)]

    def _pinned(self, x: Tensor, first: int, level: int) -> Tensor:
        """x after a step, from frame `first` on, with what is known of it in its place."""
        if self.prefix is not None and first < self.prefix.shape[-1]:
            known = self.prefix[:, first : first + x.shape[-1]]
            t = self.times[level + 1]
            at_t = known if t == 0 else self.process.add_noise(known, self.noise(0, first, first + known.shape[-1]), t)
            x = torch.cat([at_t, x[:, known.shape[-1] :]], dim=-1)
        if not self.loop:
            return x
        if first == 0:
            self.head[level] = x[:, : self.grid.stride].clone()
        head, begin = self.head[level], self.grid.num_frames - self.grid.overlap
        place = torch.arange(first, first + x.shape[-1], device=x.device) - begin  # in the repetition
        rise = 1 - (1 - ((place + 0.5) / self.grid.overlap).clamp(0, 1)) ** (LOOP_PULL / len(self.next))
        again = head[:, place.clamp(0, head.shape[-1] - 1)]
        return torch.where((place >= 0) & (place < head.shape[-1]), torch.lerp(x, again, rise), x)

    def noise(self, stream: int, first: int, stop: int) -> Tensor:
        """The noise `(d, stop - first)` of a stream at its place; with `loop` that of the repeated frames is the first ones'."""
        begin = self.grid.num_frames - self.grid.overlap if self.loop else stop
        parts = [(first, min(stop, begin)), (max(first, begin) - begin, stop - begin)]
        drawn = [positional_noise([self.seed + (stream + 1) * STREAM], a, b, self.channels)[0] for a, b in parts if a < b]
        return torch.cat(drawn).T.to(self.device)

    def state(self) -> dict[str, Tensor]:
        """All that `advance` goes on from; `restore` takes it."""
        found = {"next": torch.tensor(self.next)}
        for name in ("held", "tail", "head"):
            found |= {f"{name}.{level}": x.cpu() for level, x in enumerate(getattr(self, name)) if x is not None}
        return found

    def restore(self, state: dict[str, Tensor]) -> None:
        """Goes back to a `state()` of the same piece."""
        self.next = state["next"].tolist()
        for name in ("held", "tail", "head"):
            found = [state.get(f"{name}.{level}") for level in range(len(self.next))]
            setattr(self, name, [None if x is None else x.to(self.device) for x in found])


class Continuation:
    """As `JointDenoiser`, but each window is finished before the next one begins, with noise from `seed` and its number.

    Every step is done `resamples` times with `eta` 1, see `inpaint`.
    """

    def __init__(
        self, process: Process, predict: WindowPredict, times: Tensor, grid: WindowGrid, channels: int, seed: int, *,
        resamples: int = 5, prefix: Tensor | None = None, loop: bool = False, device: torch.device | str = "cpu",
    ) -> None:  # fmt: skip
        self.process, self.predict, self.times = process, predict, times
        self.grid, self.channels, self.seed = grid, channels, seed
        self.resamples, self.prefix, self.loop, self.device = resamples, prefix, loop, torch.device(device)
        self.index = 0
        self.shared = torch.zeros(channels, 0, device=self.device)  # the last frames of the window before
        self.head: Tensor | None = None  # with `loop`, the first frames

    @property
    def done(self) -> int:
        return self.index

    @property
    def total(self) -> int:
        return self.grid.count

    def advance(self) -> Tensor:
        """The frames that the next window makes final."""
        first, stop = self.grid.span(self.index)
        data = torch.zeros(self.channels, stop - first, device=self.device)
        keep = torch.zeros(stop - first, dtype=torch.bool, device=self.device)
        for known, place in self._known(first):
            begin, end = max(0, place), min(len(keep), place + known.shape[-1])
            if begin < end:
                data[:, begin:end], keep[begin:end] = known[:, begin - place : end - place], True
        generator = block_generator(self.seed + STREAM, self.index)
        noise = torch.randn(data.shape, generator=generator).to(self.device)
        x = inpaint(
            self.process, lambda x, t: self.predict(x, t.expand(1), [first]), noise[None], data[None], keep[None, None],
            self.times, resamples=self.resamples, generators=[generator],
        )[0]  # fmt: skip
        if self.index == 0:
            self.head = x[:, : self.grid.overlap].clone()
        last = self.index == self.grid.count - 1
        self.shared, self.index = x[:, self.grid.stride :].clone(), self.index + 1
        return x[:, : self.grid.num_frames - first] if last else x[:, : self.grid.stride]

    def _known(self, first: int) -> list[tuple[Tensor, int]]:
        """What is known of a window that begins at frame `first`, and at which of its frames."""
        found = [(self.shared, 0)]
        if self.prefix is not None:
            found.append((self.prefix, -first))
        if self.loop and self.head is not None:
            found.append((self.head, self.grid.num_frames - self.grid.overlap - first))
        return found

    def state(self) -> dict[str, Tensor]:
        """All that `advance` goes on from; `restore` takes it."""
        return {"index": torch.tensor(self.index), "shared": self.shared.cpu()} | ({} if self.head is None else {"head": self.head.cpu()})

    def restore(self, state: dict[str, Tensor]) -> None:
        """Goes back to a `state()` of the same piece."""
        self.index, self.shared = int(state["index"]), state["shared"].to(self.device)
        self.head = state["head"].to(self.device) if "head" in state else None
