"""Finding the audio inside a file by its content: windows on bytes, Ogg pages, the first MP3 frame.

libsndfile stops at the end of the first link of a chained Ogg file, decodes over pages whose checksum fails, and
recognises an MP3 only at its very first byte; what is here hands it the right bytes. Ogg pages: RFC 3533; MP3
frame headers: ISO/IEC 11172-3, 2.4.1.3, and 13818-3 for the lower rates.
"""

from __future__ import annotations

import io
import os
import stat
import struct
import zlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

MP3_SEARCH_BYTES = 65536
REVERSED_BYTES = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
MP3_KBITS = {  # bit rates of layer III by the header's 4 bits
    3: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),  # MPEG-1
    2: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),  # MPEG-2
    0: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),  # MPEG-2.5
}
MP3_RATES = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}


class AudioError(ValueError):
    """A file that is there but is not whole, readable audio."""


@dataclass(frozen=True)
class Member:
    """One file inside an uncompressed archive: `num_bytes` bytes of `path` from `offset` on; `name` is for messages."""

    path: Path
    offset: int
    num_bytes: int
    name: str

    def __str__(self) -> str:
        return f"{self.path}:{self.name}"


File = str | os.PathLike | Member


class Window(io.RawIOBase):
    """The bytes [start, start + num_bytes) of a file, as a readable file of their own."""

    def __init__(self, path: str | os.PathLike, start: int, num_bytes: int, last_page: int = 0):
        super().__init__()
        self.source = open(path, "rb")
        self.path, self.start, self.num_bytes = path, start, num_bytes
        self.last_page = last_page  # of an Ogg link: the sample with which its last page begins
        self.seek(0)

    def narrow(self, skip: int) -> Window:
        """Close this window and open one without its first `skip` bytes."""
        self.close()
        return Window(self.path, self.start + skip, self.num_bytes - skip)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.source.tell() - self.start

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self.tell(), os.SEEK_END: self.num_bytes}[whence]
        self.source.seek(self.start + max(0, base + offset))
        return self.tell()

    def readinto(self, buffer) -> int:
        view = memoryview(buffer).cast("B")
        return self.source.readinto(view[: max(0, min(len(view), self.num_bytes - self.tell()))])

    def close(self) -> None:
        if not self.closed:
            self.source.close()
        super().close()


def locate(file: File) -> tuple[Path, int, int, int]:
    """(path, first byte, number of bytes, time of change) of a file or archive member.

    Raises FileNotFoundError where there is none, AudioError for a folder, a pipe or a file of no bytes.
    """
    path = file.path if isinstance(file, Member) else Path(file)
    try:
        status = path.stat()
    except FileNotFoundError:
        raise FileNotFoundError(f"no such audio file: {path}") from None
    if stat.S_ISDIR(status.st_mode):
        raise AudioError(f"{path} is a folder, expected an audio file")
    if not stat.S_ISREG(status.st_mode):
        raise AudioError(f"{path} is not a regular file")
    start, num_bytes = (file.offset, file.num_bytes) if isinstance(file, Member) else (0, status.st_size)
    if num_bytes == 0:
        raise AudioError(f"{file} is empty (0 bytes)")
    return path, start, num_bytes, status.st_mtime_ns


def audio_windows(file: File) -> list[Window]:
    """Open windows on the audio streams of a file, in order: one, or as many as an Ogg file has links.

    Raises FileNotFoundError, or AudioError for what `locate` refuses and for Ogg pages that are damaged or missing.
    """
    path, start, num_bytes, changed = locate(file)
    with Window(path, start, num_bytes) as window:
        magic = window.read(4)
    links = ogg_links(path, start, num_bytes, changed, str(file)) if magic == b"OggS" else ((0, num_bytes, 0),)
    return [Window(path, start + first, size, last_page) for first, size, last_page in links]


@lru_cache(maxsize=65536)  # a training run takes thousands of crops from each file and need walk it only once
def ogg_links(path: Path, start: int, num_bytes: int, changed: int, name: str) -> tuple[tuple[int, int, int], ...]:
    """(first byte, number of bytes, first sample of the last page) of an Ogg file's links, every page verified.

    `changed`, the time of change, only tells versions of a file apart. Raises AudioError.
    """
    links, position, first_page = [], 0, False
    numbers = {}  # of the last page, by open logical stream
    last_pages, samples = [], 0  # by link; how many are complete at the end of the page before
    with Window(path, start, num_bytes) as raw, io.BufferedReader(raw, 1 << 20) as window:
        while header := window.read(27):
            if len(header) < 27 or header[:5] != b"OggS\0":
                if links and not numbers and b"OggS" not in header + window.read():
                    break  # a foreign tag after the end
                raise AudioError(f"{name}: damaged or truncated, no Ogg page at byte {position} of {num_bytes}")
            lacing = window.read(header[26])
            body = window.read(sum(lacing))
            if len(lacing) < header[26] or len(body) < sum(lacing):
                raise AudioError(f"{name}: truncated within the Ogg page at byte {position} of {num_bytes}")
            flags, granule, serial, number, checksum = struct.unpack("<x4xBqIII", header[:26])
            if ogg_checksum(header[:22] + bytes(4) + header[26:] + lacing + body) != checksum:
                raise AudioError(f"{name}: damaged, the checksum fails in the Ogg page at byte {position}")
            starts, ends = flags & 2, flags & 4  # of a logical stream; a link opens with the first pages of all of its own
            if starts and not first_page:
                links.append(position)
                last_pages.append(0)
                numbers.clear()
                samples = 0
            elif not starts and numbers.get(serial) != number - 1:
                raise AudioError(f"{name}: damaged, Ogg pages are missing before byte {position}")
            numbers[serial] = number
            if granule >= 0:  # a page that ends no packet has -1
                last_pages[-1], samples = samples, granule
            if ends:
                del numbers[serial]
            first_page = starts
            position += len(header) + len(lacing) + len(body)
    if not links or numbers:
        raise AudioError(f"{name}: truncated, the Ogg stream has no end")
    ends = [*links[1:], num_bytes]
    return tuple((first, end - first, last) for first, end, last in zip(links, ends, last_pages, strict=True))


def ogg_checksum(page: bytes) -> int:
    """CRC-32 of polynomial 0x04C11DB7, neither reflected nor inverted (RFC 3533, section 6).

    zlib's is the reflected one: reversing the bits of every byte and of the result turns one into the other.
    """
    reflected = zlib.crc32(page.translate(REVERSED_BYTES), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{reflected:032b}"[::-1], 2)


def mp3_frame(data: bytes, at: int) -> tuple[int, int, int] | None:
    """(version, sample rate, length in bytes) of the layer III frame header at byte `at`, or None."""
    if at + 4 > len(data) or data[at] != 0xFF or data[at + 1] & 0xE6 != 0xE2:
        return None
    version, kbits, rate = data[at + 1] >> 3 & 3, data[at + 2] >> 4, data[at + 2] >> 2 & 3
    if version == 1 or rate == 3 or kbits in (0, 15):
        return None
    sample_rate = MP3_RATES[version][rate]
    slots = 144 if version == 3 else 72
    return version, sample_rate, slots * 1000 * MP3_KBITS[version][kbits] // sample_rate + (data[at + 2] >> 1 & 1)


def mp3_start(window: Window) -> tuple[int, bool] | None:
    """Where the MP3 frames of a window begin and whether the first one counts the others (Xing, Info, VBRI).

    A frame counts as the first when two like it follow; an ID3v2 tag is stepped over, other junk searched through.
    """
    window.seek(0)
    head = window.read(10)
    skip = 10 + sum((byte & 127) << shift for byte, shift in zip(head[6:], (21, 14, 7, 0))) if head[:3] == b"ID3" else 0
    window.seek(skip)
    data = window.read(MP3_SEARCH_BYTES)
    for at in range(len(data)):
        here, chain = at, []
        while len(chain) < 3 and (frame := mp3_frame(data, here)):
            chain.append(frame[:2])
            here += frame[2]
        if len(chain) == 3 and len(set(chain)) == 1:
            first = data[at : at + mp3_frame(data, at)[2]]
            return skip + at, any(mark in first for mark in (b"Xing", b"Info", b"VBRI"))
    return None
