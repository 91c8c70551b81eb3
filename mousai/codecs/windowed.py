"""What codecs share that work in overlapping windows on a fixed grid (chunks.py): streams, any length, going on in the middle."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn

from mousai.codecs.chunks import first_frame, overlapped, whole_frames
from mousai.device import windows_at_once
from mousai.types import Callback


class WindowedCodec(nn.Module, ABC):
    """The entrances of `types.Codec`; a family says what is in one window, by `encode_window` and `decode_windows`."""

    sample_rate: int
    channels: int
    hop: int
    latent_channels: int
    default_steps: int
    stride_frames: int
    context_frames: int

    @abstractmethod
    def encode_window(self, audio: Tensor) -> Tensor:
        """Latents `(b, d, l)` as they leave the codec, for audio `(b, c, l * hop)`."""

    @abstractmethod
    def decode_windows(self, windows: list[Tensor], firsts: list[int], seeds: list[int], steps: int, callback: Callback) -> list[Tensor]:
        """Audio `(b, c, l * hop)` of windows `(b, d, l)` of one length, whose first latent frames have these numbers in the piece."""

    def window_bytes(self, num_frames: int) -> int:
        """About the memory that decoding a window of at most so many frames takes, whatever the weights do."""
        return self.frames_bytes(min(num_frames, self.stride_frames + 2 * self.context_frames))

    def frames_bytes(self, num_frames: int) -> int:
        """The same of a window of so many frames; 0 = nobody knows."""
        return 0

    @torch.no_grad()
    def encode(self, audio: Tensor, whole: bool = False) -> Tensor:
        """Latents `(b, d, ceil(s / hop))` of zero mean and unit variance for audio `(b, c, s)` of any length; `whole`: in one window."""
        if whole:
            return self._encode_frames(torch.cat(list(whole_frames([audio], self.channels, self.hop)), dim=-1))
        return torch.cat(list(self.encode_stream([audio])), dim=-1)

    @torch.no_grad()
    def encode_stream(self, pieces: Iterable[Tensor]) -> Iterator[Tensor]:
        """The latents of audio that comes in `pieces (b, c, any)`; the cuts make no difference."""

        def process(windows: list[Tensor], firsts: list[int]) -> list[Tensor]:
            return [self._encode_frames(window) for window in windows]

        yield from overlapped(process, whole_frames(pieces, self.channels, self.hop), self.stride_frames, self.context_frames)

    def _encode_frames(self, frames: Tensor) -> Tensor:
        """The latents of whole frames of samples `(b, c * hop, l)`."""
        return self.encode_window(frames.unflatten(1, (self.channels, self.hop)).transpose(2, 3).flatten(2))

    def decode(
        self,
        latents: Tensor,
        num_samples: int | None = None,
        *,
        seeds: list[int] | None = None,
        steps: int | None = None,
        callback: Callback | None = None,
    ) -> Tensor:
        """Audio `(b, c, num_samples)` for latents `(b, d, l)` as `encode` gives them.

        `num_samples` is at most l x hop, and that where it is left away. Item i's noise comes from `seeds[i]` (default
        0, 1, …) and its place alone. `callback(done, total)` counts the sampling steps of all windows.
        """
        longest = latents.shape[-1] * self.hop
        num_samples = longest if num_samples is None else num_samples
        if not 0 < num_samples <= longest:
            raise ValueError(f"{latents.shape[-1]} latent frames decode to 1 … {longest} samples; asked for {num_samples}")
        how = {"num_frames": latents.shape[-1], "batch": windows_at_once(latents.device)}
        pieces = self.decode_stream([latents], seeds=seeds, steps=steps, callback=callback, **how)
        return torch.cat(list(pieces), dim=-1)[..., :num_samples]

    @torch.no_grad()
    def decode_stream(
        self,
        pieces: Iterable[Tensor],
        *,
        seeds: list[int] | None = None,
        steps: int | None = None,
        callback: Callback | None = None,
        num_frames: int | None = None,
        start: int = 0,
        batch: int = 1,
    ) -> Iterator[Tensor]:
        """The audio of latents that come in `pieces (b, d, any)`, hop samples a frame; the cuts make no difference.

        `num_frames`, where it is known, lets `callback` say of how many steps. With `start`, decoding goes on with the
        window of that number, see `resume`. `batch` windows are decoded at once.
        """
        steps = self.default_steps if steps is None else steps
        stride, context = self.stride_frames, self.context_frames
        total = steps * max(1, -(-((num_frames or 0) - context) // stride))
        done = 0

        def count(step: int, _: int) -> None:
            if callback:
                callback(done + step, max(total, done + steps))

        def process(windows: list[Tensor], firsts: list[int]) -> list[Tensor]:
            nonlocal done
            audio = {}
            for length in sorted({window.shape[-1] for window in windows}):
                alike = [index for index, window in enumerate(windows) if window.shape[-1] == length]
                its_seeds = seeds or list(range(len(windows[0])))
                decoded = self.decode_windows([windows[i] for i in alike], [firsts[i] for i in alike], its_seeds, steps, count)
                audio |= dict(zip(alike, decoded))
                done += steps * len(alike)
            return [audio[index] for index in range(len(windows))]

        yield from overlapped(process, pieces, stride, context, ratio=self.hop, start=start, batch=batch)

    def resume(self, sample: int) -> tuple[int, int, int]:
        """Where `decode_stream` goes on for the audio from `sample` on: (`start`, first latent frame, first sample that comes)."""
        stride, context = self.stride_frames, self.context_frames
        early = context * self.hop // 2  # a window's audio begins with the fade, which lies before its own frames
        window = max(0, (sample // self.hop - context) // stride)  # one that there is: the last one may have `context` frames more
        return window, first_frame(max(0, window - 1), stride, context), max(0, window * stride * self.hop - early)
