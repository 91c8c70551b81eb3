"""Chapters: what goes into a file comes back, beside its audio and its recipe, and the bytes are what the formats ask for."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
import soundfile
import torch

from mousai.audio import encode, io
from mousai.audio.chapters import Chapter
from mousai.audio.comments import read_comments
from mousai.audio.container import ogg_links

KINDS = [("wav", "PCM_16"), ("wav", "PCM_24"), ("wav", "FLOAT"), ("flac", "PCM_16"), ("flac", "PCM_24"), ("ogg", None), ("opus", None)]
METADATA = {"prompt": "CHAPTER001=no chapter; copyright=ours", "long": "é" * 4000}
TITLES = ["intro", "a=b = c", "“音楽” 🎹 é", "two\nlines\r\n\x00and\u2028more", "", " spaces ", "odd", "x" * 4096]
RATE = 48_000


def noise(num_samples: int, channels: int = 2) -> torch.Tensor:
    return 0.4 * torch.rand(channels, num_samples, generator=torch.Generator().manual_seed(0)) - 0.2


def write(path: Path, chapters: list[Chapter], num_samples: int, subtype: str | None = None, channels: int = 2, rate: int = RATE) -> None:
    blocks = noise(num_samples, channels).split(50_000, dim=1)
    io.write_blocks(path, blocks, num_samples, rate, channels, metadata=METADATA, subtype=subtype, chapters=chapters)


def assert_same(found: tuple[Chapter, ...], expected: list[Chapter], exact: bool, rate: int = RATE) -> None:
    assert [chapter.title for chapter in found] == [chapter.title for chapter in expected]
    for one, other in zip(found, expected, strict=True):
        assert one.sample == other.sample if exact else abs(one.sample - other.sample) <= rate / 2000


@pytest.mark.parametrize(("suffix", "subtype"), KINDS)
@pytest.mark.parametrize(("num_chapters", "num_samples", "channels"), [(1, 1_001, 1), (8, 100_003, 2), (999, 200_001, 1), (1000, 200_001, 2)])
def test_round_trip_beside_audio_and_recipe(
    tmp_path: Path, suffix: str, subtype: str | None, num_chapters: int, num_samples: int, channels: int
) -> None:
    chapters = [Chapter(i * (num_samples // num_chapters), TITLES[i % 7] + "-" * (i % 3)) for i in range(num_chapters)]
    if num_chapters < 10:
        chapters[-1] = Chapter(num_samples - 1, TITLES[7])
    write(tmp_path / f"a.{suffix}", chapters, num_samples, subtype, channels)
    write(tmp_path / f"plain.{suffix}", [], num_samples, subtype, channels)
    said, plain = io.info(tmp_path / f"a.{suffix}"), io.info(tmp_path / f"plain.{suffix}")
    assert_same(said.chapters, chapters, exact=suffix == "wav")
    assert plain.chapters == () and said.num_samples == num_samples
    assert io.read_metadata(tmp_path / f"a.{suffix}") == METADATA and said.tags.keys() == plain.tags.keys()
    assert torch.equal(io.read(tmp_path / f"a.{suffix}", channels=channels), io.read(tmp_path / f"plain.{suffix}", channels=channels))
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("suffix", ["flac", "ogg", "opus"])
@pytest.mark.parametrize("rate", [16_000, 48_000])
def test_times_are_told_to_the_millisecond(tmp_path: Path, suffix: str, rate: int) -> None:
    chapters = [Chapter(0, "a"), Chapter(rate // 2 + 1, "b"), Chapter(61 * rate + rate // 8, "c")]
    write(tmp_path / f"a.{suffix}", chapters, 62 * rate, channels=1, rate=rate)
    with (tmp_path / f"a.{suffix}").open("rb") as file:
        entries = [entry.decode() for entry in read_comments(file) if entry.startswith(b"CHAPTER")]
    assert entries == [
        "CHAPTER001=00:00:00.000", "CHAPTER001NAME=a", "CHAPTER002=00:00:00.500", "CHAPTER002NAME=b",
        "CHAPTER003=00:01:01.125", "CHAPTER003NAME=c",
    ]  # fmt: skip
    assert_same(io.info(tmp_path / f"a.{suffix}").chapters, chapters, exact=False, rate=rate)


def test_the_chunks_of_a_wav(tmp_path: Path) -> None:
    write(tmp_path / "a.wav", [Chapter(0, "ab"), Chapter(30, "c")], 51, "PCM_24", channels=1)  # an odd number of bytes
    data = (tmp_path / "a.wav").read_bytes()
    assert struct.unpack_from("<I", data, 4)[0] == len(data) - 8
    at = data.index(b"data")
    chunks = data[at + 8 + 153 + 1 :]
    labels = b"adtl" + b"labl\x07\0\0\0\x01\0\0\0ab\0\0" + b"labl\x06\0\0\0\x02\0\0\0c\0"
    cues = struct.pack("<III4sIII", 2, 1, 0, b"data", 0, 0, 0) + struct.pack("<II4sIII", 2, 30, b"data", 0, 0, 30)
    assert chunks == b"cue " + struct.pack("<I", 52) + cues + b"LIST" + struct.pack("<I", len(labels)) + labels


def test_a_wav_whose_chapters_are_too_many_for_it_is_an_rf64(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chapters = [Chapter(i, f"chapter {i}") for i in range(100)]
    monkeypatch.setattr(encode, "WAV_MAX_BYTES", 42_000)
    for some, magic in ((chapters[:10], b"RIFF"), (chapters, b"RF64")):
        write(tmp_path / "a.wav", some, 10_000, "PCM_16")
        data = (tmp_path / "a.wav").read_bytes()
        assert data[:4] == magic and io.info(tmp_path / "a.wav").num_samples == 10_000
        assert struct.unpack_from("<I" if magic == b"RIFF" else "<Q", data, 4 if magic == b"RIFF" else 20)[0] == len(data) - 8
        assert io.info(tmp_path / "a.wav").chapters == tuple(some) and io.read_metadata(tmp_path / "a.wav") == METADATA
        assert (io.read(tmp_path / "a.wav") - noise(10_000)).abs().max() < 1e-4


@pytest.mark.parametrize("suffix", ["ogg", "opus"])
@pytest.mark.parametrize("length", [*range(150, 410, 13), 16_000, 64_000])
def test_comments_may_end_anywhere_on_a_page(tmp_path: Path, suffix: str, length: int) -> None:
    path = tmp_path / f"a.{suffix}"
    chapters = [Chapter(i, "x" * min(4096, length)) for i in range(max(1, length // 4096))]
    io.write_blocks(path, [noise(2_000)], 2_000, RATE, 2, chapters=chapters)
    assert [chapter.title for chapter in io.info(path).chapters] == [chapter.title for chapter in chapters]
    assert ogg_links(path, 0, path.stat().st_size, 0, "a") and len(soundfile.read(path)[0]) == 2_000


def test_chapters_of_others(tmp_path: Path) -> None:
    """Cues without labels, in no order, one of them past the end; labels without cues; chunks that promise too much."""
    io.write(tmp_path / "a.wav", noise(100))
    whole = (tmp_path / "a.wav").read_bytes()
    cues = b"".join(struct.pack("<II4sIII", *cue, b"data", 0, 0, cue[1]) for cue in ((7, 60), (3, 20), (4, 500)))
    label = b"labl" + struct.pack("<II", 40, 3) + b"named"
    tails = b"cue " + struct.pack("<II", 76, 3) + cues + b"LIST" + struct.pack("<I", 4000) + b"adtl" + label, b"cue \xff\xff\xff\x7f\x01", b"LIST"
    for tail in tails:
        (tmp_path / "a.wav").write_bytes(whole + tail)
        found = io.info(tmp_path / "a.wav").chapters
        assert found == ((Chapter(20, "named"), Chapter(60, "")) if len(tail) > 20 else ())


@pytest.mark.parametrize(
    ("chapters", "message"),
    [
        ([Chapter(i, "") for i in range(1001)], "1000 chapters, came 1001"),
        ([Chapter(5, "a"), Chapter(5, "b")], "'b' at sample 5"),
        ([Chapter(-1, "a")], "sample -1"),
        ([Chapter(2_000, "a")], "sample 2000 of 2000"),
        ([Chapter(0, "é" * 2049)], "4096 bytes, came 4098"),
    ],
)
def test_what_no_file_can_hold_is_refused_before_any_audio(tmp_path: Path, chapters: list[Chapter], message: str) -> None:
    def blocks():
        raise AssertionError("audio was asked for")
        yield

    with pytest.raises(ValueError, match=message):
        io.write_blocks(tmp_path / "a.flac", blocks(), 2_000, RATE, 2, chapters=chapters)
    assert list(tmp_path.iterdir()) == []
