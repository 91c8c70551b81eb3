"""Chapters inside audio files: cues with labels in a WAV, CHAPTER001=… comments in FLAC, Ogg Vorbis and Opus.

Cues: Microsoft, Multimedia Programming Interface and Data Specifications 1.0, chapter 3; in RF64, EBU Tech 3306. Comments:
the chapter extension of Vorbis comments (wiki.xiph.org/Chapter_Extension). libsndfile writes neither, so a finished file is
completed here.
"""

from __future__ import annotations

import os
import re
import struct
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from mousai.audio.comments import add_to_ogg, read_comments, read_part, replace_placeholder

MAX_CHAPTERS = 1000  # three digits count them
TITLE_MAX_BYTES = 4096
CUE = struct.Struct("<II4sIII")
TIME = re.compile(r"(\d+):(\d\d):(\d\d)(?:\.(\d{1,3}))?")
COMMENT = re.compile(r"CHAPTER(\d\d\d)(NAME)?", re.IGNORECASE)


@dataclass(frozen=True)
class Chapter:
    """Where a chapter begins, as a sample at the file's rate, and its title; line ends and control characters become spaces."""

    sample: int
    title: str

    def __post_init__(self):
        odd = ("Cc", "Cs", "Zl", "Zp")
        clean = "".join(" " if unicodedata.category(character) in odd else character for character in self.title)
        object.__setattr__(self, "title", clean)


def check_chapters(chapters: Sequence[Chapter], num_samples: int, path: str | os.PathLike) -> None:
    """Raise ValueError unless every file of `num_samples` can hold these chapters: in order, within it, not too many."""
    if len(chapters) > MAX_CHAPTERS:
        raise ValueError(f"{path}: a file may have {MAX_CHAPTERS} chapters, came {len(chapters)}")
    before = -1
    for chapter in chapters:
        if not before < chapter.sample < min(num_samples, 2**32):
            raise ValueError(
                f"{path}: the chapter {chapter.title[:40]!r} at sample {chapter.sample} of {num_samples} is not after the one before, "
                "within the audio and below 2^32"
            )
        if len(chapter.title.encode()) > TITLE_MAX_BYTES:
            raise ValueError(f"{path}: the title {chapter.title[:40]!r}… may have {TITLE_MAX_BYTES} bytes, came {len(chapter.title.encode())}")
        before = chapter.sample


def add_chapters(path: Path, chapters: Sequence[Chapter], sample_rate: int) -> None:
    """Complete a finished WAV, FLAC (written with a `placeholder`), Ogg Vorbis or Opus file with its chapters."""
    with path.open("rb") as file:
        magic = file.read(4)
    if magic == b"OggS":
        add_to_ogg(path, to_comments(chapters, sample_rate))
        return
    with path.open("r+b") as file:
        if magic == b"fLaC":
            replace_placeholder(file, to_comments(chapters, sample_rate))
        else:
            append_cues(file, magic, cue_chunks(chapters))


def read_chapters(file: BinaryIO, sample_rate: int, num_samples: int) -> tuple[Chapter, ...]:
    """The chapters of an open audio file of any kind, in order; () where there are none or they cannot be told."""
    file.seek(0)
    magic = file.read(4)
    if magic in (b"RIFF", b"RF64"):
        chapters = read_cues(file)
    else:
        chapters = from_comments(read_comments(file), sample_rate, num_samples)
    chapters = [each for each in chapters if each.sample < num_samples]
    return tuple(sorted(chapters, key=lambda chapter: chapter.sample))


def cue_chunks(chapters: Sequence[Chapter]) -> bytes:
    """The `cue ` chunk and the LIST of its labels; nothing for no chapters."""
    if not chapters:
        return b""
    cues = b"".join(CUE.pack(i, each.sample, b"data", 0, 0, each.sample) for i, each in enumerate(chapters, 1))
    labels = b"".join(chunk(b"labl", struct.pack("<I", i) + each.title.encode() + b"\0") for i, each in enumerate(chapters, 1))
    return chunk(b"cue ", struct.pack("<I", len(chapters)) + cues) + chunk(b"LIST", b"adtl" + labels)


def chunk(marker: bytes, data: bytes) -> bytes:
    return marker + struct.pack("<I", len(data)) + data + bytes(len(data) % 2)


def append_cues(file: BinaryIO, magic: bytes, chunks: bytes) -> None:
    end = file.seek(0, os.SEEK_END)
    file.write(bytes(end % 2) + chunks)
    riff = file.tell() - 8
    file.seek(20 if magic == b"RF64" else 4)
    file.write(struct.pack("<Q" if magic == b"RF64" else "<I", riff))


def read_cues(file: BinaryIO) -> list[Chapter]:
    samples, titles = {}, {}
    for marker, start, size in riff_chunks(file):
        if marker == b"cue ":
            data = read_part(file, start + 4, size - 4)
            samples = {cue[0]: cue[5] for cue in CUE.iter_unpack(data[: len(data) // CUE.size * CUE.size])}
        elif marker == b"LIST" and read_part(file, start, 4) == b"adtl":
            data, at = read_part(file, start + 4, size - 4), 0
            while at + 12 <= len(data):
                name, length, cue = struct.unpack_from("<4sII", data, at)
                if name == b"labl":
                    titles[cue] = data[at + 12 : at + 8 + length].partition(b"\0")[0].decode("utf-8", "replace")
                at += 8 + length + length % 2
    return [Chapter(sample, titles.get(cue, "")) for cue, sample in samples.items()]


def riff_chunks(file: BinaryIO) -> Iterator[tuple[bytes, int, int]]:
    """(marker, first byte, number of bytes) of a WAV's chunks; ds64 tells the size of data in RF64."""
    at, end, large = 12, file.seek(0, os.SEEK_END), None
    while at + 8 <= end:
        marker, size = struct.unpack("<4sI", read_part(file, at, 8))
        if marker == b"ds64" and size >= 28:
            large = struct.unpack("<Q", read_part(file, at + 16, 8))[0]
        elif marker == b"data" and size == 2**32 - 1 and large is not None:
            size = large
        yield marker, at + 8, size
        at += 8 + size + size % 2


def to_comments(chapters: Sequence[Chapter], sample_rate: int) -> list[bytes]:
    """Two comments a chapter, counted from 1, or from 0 where three digits would not do."""
    entries = []
    for number, chapter in enumerate(chapters, 0 if len(chapters) == MAX_CHAPTERS else 1):
        seconds, milliseconds = divmod((2000 * chapter.sample + sample_rate) // (2 * sample_rate), 1000)
        time = f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}.{milliseconds:03}"
        entries += [f"CHAPTER{number:03}={time}".encode(), f"CHAPTER{number:03}NAME={chapter.title}".encode()]
    return entries


def from_comments(entries: Sequence[bytes], sample_rate: int, num_samples: int) -> list[Chapter]:
    """The chapters that comments tell; a time rounded up to the very end is within the audio again."""
    samples, titles = {}, {}
    for entry in entries:
        key, _, value = entry.decode("utf-8", "replace").partition("=")
        if named := COMMENT.fullmatch(key):
            if named[2]:
                titles[named[1]] = value
            elif time := TIME.fullmatch(value.strip()):
                hours, minutes, seconds, fraction = time.groups("0")
                milliseconds = ((int(hours) * 60 + int(minutes)) * 60 + int(seconds)) * 1000 + int(fraction.ljust(3, "0"))
                sample = (2 * milliseconds * sample_rate + 1000) // 2000
                samples[named[1]] = num_samples - 1 if num_samples <= sample < num_samples + sample_rate / 1000 else sample
    return [Chapter(sample, titles.get(number, "")) for number, sample in samples.items()]
