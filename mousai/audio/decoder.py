"""An open audio file as libsndfile decodes it, with what libsndfile lets pass: short, chained, odd and NaN files."""

from __future__ import annotations

import os
import re
import struct

import numpy as np
import soundfile

from mousai.audio.container import AudioError, File, Window, audio_windows, mp3_start
from mousai.audio.remix import channel_layout

LOGGED_SIZE = re.compile(r"^ *(?:data|SSND|Data Size) *: *(\d+) \(should be (\d+)\)", re.MULTILINE)
LOWEST_RATE, HIGHEST_RATE = 1000, 1_000_000  # a small file of another rate would become a very large one of ours
MP3_SLACK = 2 * 1152
COMMENT_BYTES = 2**20  # of the LIST chunk that is read, however long it says it is


class Decoder:
    """An audio file open for reading at its own rate; the links of a chained Ogg file are read as one.

    `num_samples` may be more than there is by `slack`, which is 0 but for MP3: encoders miscount by a frame or two, and
    where none counted, libsndfile guesses the length from the bit rate. Raises AudioError for whatever is not whole
    audio: at opening for what the headers tell, at reading for the rest.
    """

    def __init__(self, file: File):
        self.file = file
        self.parts: list[soundfile.SoundFile] = []
        self.windows = audio_windows(file)
        self.slack = 0
        try:
            for index in range(len(self.windows)):
                self.parts.append(self.open_part(index))
            self.check()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Decoder:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        for opened in (*self.parts, *self.windows):
            opened.close()

    def open_part(self, index: int) -> soundfile.SoundFile:
        """The link `index` opened by libsndfile; junk before an MP3's first frame is stepped over."""
        window = self.windows[index]
        try:
            part = soundfile.SoundFile(window)
        except soundfile.LibsndfileError as error:
            mp3 = mp3_start(window)
            if mp3 is None or mp3[0] == 0:
                raise AudioError(f"{self.file}: {unreadable(window, error)}") from None
            self.windows[index] = window.narrow(mp3[0])
            return self.open_part(index)
        if part.format == "MP3":
            where = window.tell()  # mpg123 reads on from where the window stands
            mp3 = mp3_start(window)
            self.slack = MP3_SLACK if mp3 and mp3[1] else part.frames
            window.seek(where)
        return part

    def check(self) -> None:
        """Raise AudioError where links do not fit together or the header promises other than there is."""
        first = self.parts[0]
        self.sample_rate, self.channels = first.samplerate, first.channels
        self.format, self.subtype = first.format, first.subtype
        if any((part.samplerate, part.channels) != (self.sample_rate, self.channels) for part in self.parts):
            raise AudioError(f"{self.file}: the links of this Ogg file differ in sample rate or channels; split it")
        if not LOWEST_RATE <= self.sample_rate <= HIGHEST_RATE:
            raise AudioError(f"{self.file}: says that it has {self.sample_rate} samples a second; from {LOWEST_RATE} to {HIGHEST_RATE} are read")
        self.num_samples = sum(part.frames for part in self.parts)
        if self.num_samples <= 0:
            raise AudioError(f"{self.file}: holds no audio (0 samples)")
        if size := LOGGED_SIZE.search(first.extra_info):
            promised, held = int(size[1]), int(size[2])
            # Whoever writes into a pipe cannot know the size and puts the largest of 31 or 32 bits, or nearly.
            streamed = min(abs(promised - 2**31), abs(promised - 2**32)) < 2**16
            if promised > held and not streamed:
                raise AudioError(f"{self.file}: truncated, the header promises {promised} bytes of audio, {held} are there")
        self.layout = channel_layout(self.format, self.channels, first.extra_info)
        self.tags = first.copy_metadata()
        if "ICMT" in first.extra_info and "comment" not in self.tags:
            self.tags["comment"] = riff_comment(self.windows[0])

    def read(self, start: int, num_samples: int) -> np.ndarray:
        """Samples `(s, c)` float32 from `start` on, at the file's own rate; fewer only at the end of the file."""
        pieces = [np.zeros((0, self.channels), np.float32)]
        for part, window in zip(self.parts, self.windows, strict=True):
            take = min(num_samples, part.frames - start)
            if take > 0:
                pieces.append(self.decode(part, start, take, window.last_page))
                num_samples -= take
            start = max(0, start - part.frames)
        return np.concatenate(pieces)

    def decode(self, part: soundfile.SoundFile, start: int, num_samples: int, last_page: int) -> np.ndarray:
        try:
            if part.tell() != start:
                # Seeking into a cut last Vorbis page, libsndfile 1.2.2 lands as many samples off as were cut.
                near = min(start, max(0, last_page - 1)) if self.subtype == "VORBIS" else start
                part.seek(near)
                part.read(start - near, dtype="float32")
            audio = part.read(num_samples, dtype="float32", always_2d=True)
        except soundfile.LibsndfileError as error:
            raise AudioError(f"{self.file}: damaged or truncated ({complaint(error)})") from None
        if len(audio) < num_samples - self.slack:
            raise AudioError(f"{self.file}: truncated, {part.frames} samples are promised, {start + len(audio)} are there")
        if not np.isfinite(audio).all():
            raise AudioError(f"{self.file}: damaged, it holds samples that are NaN or infinite")
        return audio


def riff_comment(window: Window) -> str:
    """The ICMT of a WAV's LIST INFO chunk, of which libsndfile reads no more than 2 KB."""
    where, comment = window.tell(), ""
    window.seek(12)
    while len(header := window.read(8)) == 8:
        marker, size = struct.unpack("<4sI", header)
        if marker == b"LIST":
            after = window.tell() + size + size % 2
            chunk = window.read(min(size, COMMENT_BYTES))
            window.seek(after)
            at = 4
            while at + 8 <= len(chunk):
                name, length = struct.unpack_from("<4sI", chunk, at)
                if name == b"ICMT":
                    comment = chunk[at + 8 : at + 8 + length].rstrip(b"\0").decode("utf-8", "replace")
                at += 8 + length + length % 2
        elif marker == b"data" and size >= 2**32 - 2:  # the size is elsewhere, or nowhere
            break
        else:
            window.seek(size + size % 2, os.SEEK_CUR)
    window.seek(where)
    return comment


def unreadable(window: Window, error: soundfile.LibsndfileError) -> str:
    """Why libsndfile does not open a file, in words a user can act on."""
    window.seek(0)
    head = window.read(64)
    if head.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer instead of audio; fetch the file with `git lfs pull`"
    if head[:4] == b"OggS" and b"FLAC" in head:
        return f"FLAC inside Ogg, which libsndfile {soundfile.__libsndfile_version__} does not read; convert it to .flac"
    return f"not audio that libsndfile {soundfile.__libsndfile_version__} reads ({complaint(error)})"


def complaint(error: soundfile.LibsndfileError) -> str:
    return error.error_string.removeprefix("Error : ").strip(" .").lower()
