"""Long sequences through a network of bounded context, in overlapping windows on a fixed grid.

Window k yields the frames [k·stride, (k + 1)·stride) and sees `context` more on each side; neighbours are crossfaded
over the middle of what both of them see. The grid starts at the first frame of the piece whatever pieces a caller
feeds, so the result depends on the content alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

# (window (b, d, frames), number of its first frame) -> (b, e, frames · ratio)
Process = Callable[[Tensor, int], Tensor]


class OverlapStream:
    """`process` over a sequence that arrives in pieces; memory is bounded by one window.

    `ratio` is how many output positions one input frame stands for. Every window but the last has the same length.
    """

    def __init__(self, process: Process, stride: int, context: int, ratio: int = 1) -> None:
        if stride < 1 or context < 0 or stride < context:
            raise ValueError(f"expected stride >= context >= 0 and stride >= 1, came stride {stride}, context {context}")
        self.process, self.stride, self.context, self.ratio = process, stride, context, ratio
        self.pending: list[Tensor] = []
        self.first = 0  # number of the first pending frame
        self.index = 0  # number of the next window
        self.tail: Tensor | None = None  # the last window's half of the next crossfade

    def feed(self, piece: Tensor) -> Iterator[Tensor]:
        """Take `piece (b, d, l)`; yield what is final now."""
        self.pending.append(piece)
        # A window is certain not to be the last one only when a frame beyond its own context is there.
        while self.first + sum(p.shape[-1] for p in self.pending) > (self.index + 1) * self.stride + self.context:
            yield self._window(last=False)

    def finish(self) -> Iterator[Tensor]:
        """Yield the rest."""
        if self.pending and self.first + sum(p.shape[-1] for p in self.pending) > 0:
            yield self._window(last=True)

    def _window(self, last: bool) -> Tensor:
        held = torch.cat(self.pending, dim=-1)
        start = max(0, self.index * self.stride - self.context)
        stop = self.first + held.shape[-1] if last else (self.index + 1) * self.stride + self.context
        output = self.process(held[..., start - self.first : stop - self.first], start)
        done, tail = self._join(output, start, stop, last)
        self.index += 1
        keep = max(0, self.index * self.stride - self.context)
        self.pending, self.first, self.tail = [held[..., keep - self.first :]], keep, tail
        return done

    def _join(self, output: Tensor, start: int, stop: int, last: bool) -> tuple[Tensor, Tensor | None]:
        """What of `output` is final, its beginning faded into the previous tail, and its own tail.

        Of the 2·context positions that neighbours share the outer quarters see too little and are dropped: the fade
        lies on the middle half.
        """
        half = self.context * self.ratio // 2
        begin = 0 if self.index == 0 else (self.index * self.stride - start) * self.ratio - half
        end = output.shape[-1] if last else output.shape[-1] - (self.context * self.ratio - half)
        body = output[..., begin:end]
        if self.tail is not None and half:
            width = min(2 * half, body.shape[-1], self.tail.shape[-1])
            rise = (torch.arange(width, device=body.device, dtype=torch.float32) + 0.5) / (2 * half)
            head = body[..., :width] * rise + self.tail[..., :width] * (1 - rise)
            body = torch.cat([head.to(body.dtype), body[..., width:]], dim=-1)
        if last or not half:
            return body, None
        return body[..., : -2 * half], body[..., -2 * half :]


def overlapped(process: Process, pieces: Iterable[Tensor], stride: int, context: int, ratio: int = 1) -> Iterator[Tensor]:
    """The output of `process` over all of `pieces`, as an iterator of tensors that follow one another."""
    stream = OverlapStream(process, stride, context, ratio)
    for piece in pieces:
        yield from stream.feed(piece)
    yield from stream.finish()


def whole_frames(pieces: Iterable[Tensor], channels: int, hop: int) -> Iterator[Tensor]:
    """Audio in pieces as whole latent frames `(b, c * hop, l)`, the last one filled with silence."""
    rest = None
    for piece in pieces:
        if piece.ndim != 3 or piece.shape[1] != channels:
            raise ValueError(f"expected audio (b, {channels}, s), came {tuple(piece.shape)}")
        rest = piece if rest is None else torch.cat([rest, piece], dim=-1)
        whole = rest.shape[-1] // hop
        if whole:
            yield _framed(rest[..., : whole * hop], hop)
            rest = rest[..., whole * hop :]
    if rest is not None and rest.shape[-1]:
        yield _framed(F.pad(rest, (0, hop - rest.shape[-1])), hop)


def _framed(audio: Tensor, hop: int) -> Tensor:
    return audio.unflatten(-1, (-1, hop)).transpose(2, 3).flatten(1, 2)  # (b, c, l hop) -> (b, c hop, l)
