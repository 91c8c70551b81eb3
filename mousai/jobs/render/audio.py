"""The audio of a long piece while it is made: one growing file, and beside it a hash of every block, so that damage shows."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable
from pathlib import Path

from torch import Tensor

from mousai.audio.growing import HEADER_BYTES, GrowingWav, header
from mousai.files import append_text

SUM = re.compile(rb"(\d{1,15}) ([0-9a-f]{32})\n")  # samples so far, hash of the last block
Say = Callable[[str], None]


class Audio:
    """The growing audio and the hashes of its blocks; blocks that are not as they were written are cut off, with all after them."""

    def __init__(self, wav: GrowingWav, sums: Path, say: Say) -> None:
        self.wav, self.sums = wav, sums
        good, kept = 0, 0  # samples, and bytes of the lines that vouch for them
        if wav.num_samples and not sums.exists():
            say(f"{sums} is missing; decoding from the beginning again")
        with sums.open("a+b") as lines:
            lines.seek(0)
            for line in lines:
                if not line.endswith(b"\n"):  # killed while it was written
                    break
                found = SUM.fullmatch(line)
                end = int(found[1]) if found else 0
                if not good < end <= wav.num_samples or found[2].decode() != self._digest(good, end):
                    what = wav.path if found else sums
                    say(f"{what} is damaged or cut after {good / wav.sample_rate:.1f} s; decoding from there on again")
                    break
                good, kept = end, kept + len(line)
            lines.truncate(kept)
        wav.truncate(good)

    @property
    def num_samples(self) -> int:
        return self.wav.num_samples

    def append(self, block: Tensor) -> None:
        """Adds a block `(c, s)`; OSError in one line if the disk does not take it."""
        if block.shape[-1] == 0:
            return
        first = self.num_samples
        self.wav.append(block)
        line = f"{self.num_samples} {self._digest(first, self.num_samples)}\n"
        append_text(self.sums, line, synced=True)

    def _digest(self, first: int, stop: int) -> str:
        digest = hashlib.blake2b(digest_size=16)
        for block in self.wav.blocks(first, stop):
            digest.update(block.numpy().tobytes())
        return digest.hexdigest()


def opened(path: Path, sample_rate: int, channels: int, say: Say) -> GrowingWav:
    """The growing file, begun or gone on with; a header that is damaged is made to count all that is there."""
    try:
        return GrowingWav(path, sample_rate, channels)
    except ValueError:
        say(f"the header of {path} is damaged; writing it again")
    with path.open("r+b") as file:
        num_samples = max(0, os.fstat(file.fileno()).st_size - HEADER_BYTES) // (4 * channels)
        file.write(header(num_samples, sample_rate, channels))
    return GrowingWav(path, sample_rate, channels)
