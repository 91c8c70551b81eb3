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

# (windows (b, d, frames), number of the first frame of each) -> (b, e, frames · ratio) for each
Process = Callable[[list[Tensor], list[int]], list[Tensor]]


def first_frame(window: int, stride: int, context: int) -> int:
    """The frame with which window number `window` begins."""
    return max(0, window * stride - context)


class OverlapStream:
    """`process` over a sequence that arrives in pieces; memory is bounded by `batch` windows.

    `ratio` is how many output positions one input frame stands for. Every window but the first and the last has the same
    length. With `start`, what windows before number `start` yield is left out, and the pieces begin with frame
    `first_frame(start - 1, …)`: the window before is needed for the crossfade.
    """

    def __init__(self, process: Process, stride: int, context: int, ratio: int = 1, *, start: int = 0, batch: int = 1) -> None:
        if stride < 1 or context < 0 or stride < context:
            raise ValueError(f"expected stride >= context >= 0 and stride >= 1, came stride {stride}, context {context}")
        if start < 0 or batch < 1:
            raise ValueError(f"expected start >= 0 and batch >= 1, came {start} and {batch}")
        self.process, self.stride, self.context, self.ratio = process, stride, context, ratio
        self.start, self.batch = start, batch
        self.index = max(0, start - 1)  # number of the next window
        self.pending: list[Tensor] = []
        self.first = first_frame(self.index, stride, context)  # number of the first pending frame
        self.tail: Tensor | None = None  # the last window's half of the next crossfade

    @property
    def end(self) -> int:
        """The number of frames that have come."""
        return self.first + sum(piece.shape[-1] for piece in self.pending)

    def feed(self, piece: Tensor) -> Iterator[Tensor]:
        """Take `piece (b, d, l)`; yield what is final now."""
        self.pending.append(piece)
        while self._certain() >= self.batch:
            yield from self._windows(self.batch)

    def finish(self) -> Iterator[Tensor]:
        """Yield the rest."""
        if certain := self._certain():
            yield from self._windows(certain)
        if self.end > self.first:
            yield from self._windows(1, last=True)

    def _certain(self) -> int:
        """How many windows are certain not to be the last one: a frame beyond their own context is there."""
        return max(0, (self.end - self.context - 1) // self.stride - self.index)

    def _windows(self, count: int, last: bool = False) -> Iterator[Tensor]:
        held = torch.cat(self.pending, dim=-1)
        spans = [(first_frame(k, self.stride, self.context), (k + 1) * self.stride + self.context) for k in range(self.index, self.index + count)]
        if last:
            spans = [(spans[0][0], self.end)]
        outputs = self.process([held[..., start - self.first : stop - self.first] for start, stop in spans], [start for start, _ in spans])
        for output, (start, stop) in zip(outputs, spans):
            done, self.tail = self._join(output, start, stop, last)
            self.index += 1
            if self.index > self.start:
                yield done
        keep = first_frame(self.index, self.stride, self.context)
        self.pending, self.first = [held[..., keep - self.first :]], keep

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


def overlapped(
    process: Process, pieces: Iterable[Tensor], stride: int, context: int, ratio: int = 1, *, start: int = 0, batch: int = 1
) -> Iterator[Tensor]:
    """The output of `process` over all of `pieces`, as an iterator of tensors that follow one another."""
    stream = OverlapStream(process, stride, context, ratio, start=start, batch=batch)
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
