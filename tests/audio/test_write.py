"""Writing: round trips, scaling instead of clipping, metadata, and nothing left behind when it fails."""

from __future__ import annotations

import logging
import resource
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from mousai.audio import encode, io, write

KINDS = [
    ("wav", "PCM_16", 5e-5), ("wav", "PCM_24", 2e-7), ("wav", "FLOAT", 0), ("flac", "PCM_16", 5e-5), ("flac", "PCM_24", 2e-7),
    ("ogg", None, 0.2), ("opus", None, 0.2),
]  # fmt: skip
METADATA = {"prompt": "slow “piano”, 音楽\nand a second line", "seed": 7, "guidance": 2.5, "steps": None, "long": "é" * 4000}


def music(num_samples: int, channels: int = 2) -> torch.Tensor:
    """Two tones a channel `(c, s)` with a peak of 0.6."""
    phase = torch.arange(num_samples) * torch.linspace(0.02, 0.05, channels)[:, None]
    return 0.4 * torch.sin(phase) + 0.2 * torch.sin(5 * phase)


@pytest.mark.parametrize(("suffix", "subtype", "tolerance"), KINDS)
@pytest.mark.parametrize("num_samples", [1, 100_003])
def test_round_trip_in_pieces(tmp_path: Path, suffix: str, subtype: str | None, tolerance: float, num_samples: int) -> None:
    audio = music(num_samples)
    with io.AudioWriter(tmp_path / f"a.{suffix}", subtype=subtype, metadata=METADATA) as writer:
        for piece in audio.split(30_001, dim=1):
            writer.write(piece)
        assert list(tmp_path.iterdir()) == []
    assert writer.written.num_samples == num_samples and writer.written.scale == 1
    assert writer.written.peak == pytest.approx(audio.abs().max().item())
    read = io.read(tmp_path / f"a.{suffix}")
    assert read.shape == audio.shape
    if num_samples > 1 or tolerance < 0.1:  # one sample is no sound for a lossy codec
        assert (read - audio).abs().max() <= tolerance
    assert io.read_metadata(tmp_path / f"a.{suffix}") == METADATA


@pytest.mark.parametrize(("suffix", "subtype", "tolerance"), KINDS)
def test_a_peak_above_full_scale_is_scaled_and_said(
    tmp_path: Path, suffix: str, subtype: str | None, tolerance: float, caplog: pytest.LogCaptureFixture
) -> None:
    audio = music(20_000) * 5
    with caplog.at_level(logging.WARNING):
        written = io.write(tmp_path / f"a.{suffix}", audio, subtype=subtype)
    read = io.read(tmp_path / f"a.{suffix}")
    if subtype == "FLOAT":
        assert torch.equal(read, audio) and written.scale == 1 and not caplog.records
    else:
        assert written.scale == pytest.approx(1 / audio.abs().max().item())
        assert (read - audio * written.scale).abs().max() <= max(tolerance, 1e-4)
        assert len(caplog.records) == 1 and "-9.5 dB" in caplog.text


@pytest.mark.parametrize("rate", [48_000, 16_000])
@pytest.mark.parametrize("num_samples", [960 * 50 - 312, 48_000, 48_100, 20_001])
def test_opus_is_right_to_the_last_sample(tmp_path: Path, rate: int, num_samples: int) -> None:
    audio = music(num_samples, 1)
    io.write(tmp_path / "a.opus", audio, rate)
    read = io.read(tmp_path / "a.opus", rate, 1)
    assert read.shape == audio.shape
    assert (read - audio)[:, -1000:].abs().max() < 0.15


def test_full_scale_itself_does_not_wrap(tmp_path: Path) -> None:
    audio = torch.tensor([[1.0, -1.0, 1.0, 0.0]])
    for subtype in ("PCM_16", "PCM_24"):
        assert io.write(tmp_path / "a.wav", audio, subtype=subtype).scale == 1
        assert (io.read(tmp_path / "a.wav", channels=1) - audio).abs().max() < 1e-4


def test_a_wav_beyond_four_gigabytes_is_an_rf64(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encode, "WAV_MAX_BYTES", 40_000)
    for num_samples, format, magic in ((5_000, "WAV", b"RIFF"), (10_001, "RF64", b"RF64")):
        io.write(tmp_path / "a.wav", music(num_samples, 1), metadata=METADATA, subtype="FLOAT")
        assert (tmp_path / "a.wav").read_bytes()[:4] == magic
        assert io.info(tmp_path / "a.wav").format == format
        assert torch.equal(io.read(tmp_path / "a.wav", channels=1), music(num_samples, 1))
        assert io.read_metadata(tmp_path / "a.wav") == METADATA


@pytest.mark.parametrize(("suffix", "subtype", "tolerance"), KINDS)
def test_blocks_of_any_length_make_the_file_that_a_writer_makes(
    tmp_path: Path, suffix: str, subtype: str | None, tolerance: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.TemporaryFile", None)
    audio = music(150_003)
    cuts = audio.split([1, 0, 100_000, 49_000, 1_002], dim=1)
    written = io.write_blocks(tmp_path / f"a.{suffix}", iter(cuts), 150_003, 48_000, 2, metadata=METADATA, subtype=subtype)
    assert written == write.Written(tmp_path / f"a.{suffix}", 150_003, pytest.approx(audio.abs().max().item()), 1.0)
    monkeypatch.undo()
    io.write(tmp_path / f"b.{suffix}", audio, subtype=subtype)
    assert torch.equal(io.read(tmp_path / f"a.{suffix}"), io.read(tmp_path / f"b.{suffix}"))
    assert io.read_metadata(tmp_path / f"a.{suffix}") == METADATA
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [f".{suffix}"] * 2


@pytest.mark.parametrize(("suffix", "subtype", "tolerance"), KINDS)
def test_blocks_beyond_full_scale_are_refused_and_never_wrap(tmp_path: Path, suffix: str, subtype: str | None, tolerance: float) -> None:
    for peak in (1.00005, 1.3):
        audio = torch.sin(torch.arange(20_000) * 0.03)[None] * peak
        blocks = audio.split(7_000, dim=1)
        if peak == 1.3 and subtype != "FLOAT":
            with pytest.raises(ValueError, match=f"a.{suffix}: a peak of 1.3 is above full scale"):
                io.write_blocks(tmp_path / f"a.{suffix}", blocks, 20_000, 48_000, 1, subtype=subtype)
        else:
            io.write_blocks(tmp_path / f"a.{suffix}", blocks, 20_000, 48_000, 1, subtype=subtype)
            assert (io.read(tmp_path / f"a.{suffix}", channels=1) - audio).abs().max() <= (tolerance and tolerance + 1e-4)


def test_blocks_that_are_not_what_was_promised_leave_what_was_there(tmp_path: Path) -> None:
    def broken():
        yield music(50)
        raise ValueError("the source is broken")

    def missing():
        yield music(50)
        raise FileNotFoundError("no such audio file: source.wav")

    io.write(tmp_path / "a.wav", music(10))
    for blocks, num_samples, error, message in (
        ([music(50)], 51, ValueError, "51 samples were to be written, 50 came"),
        ([music(50)] * 3, 99, ValueError, "99 samples were to be written, at least 150 came"),
        ([music(50, 1)], 50, ValueError, "expected audio"),
        ([music(50) * torch.nan], 50, ValueError, "NaN"),
        ([], 0, ValueError, "no audio"),
        (broken(), 100, ValueError, "^the source is broken$"),
        (missing(), 100, FileNotFoundError, "^no such audio file: source.wav$"),
    ):
        with pytest.raises(error, match=message):
            io.write_blocks(tmp_path / "a.wav", blocks, num_samples, 48_000, 2)
        assert [path.name for path in tmp_path.iterdir()] == ["a.wav"] and io.info(tmp_path / "a.wav").num_samples == 10


def test_metadata_of_others_is_none_of_ours(tmp_path: Path) -> None:
    io.write(tmp_path / "a.flac", music(100))
    assert io.read_metadata(tmp_path / "a.flac") == {}
    for number, comment in enumerate(('{"seed": NaN}', '{"loudness": -Infinity}', '{"bpm": 1e999}', "[1]", "{" * 5000)):
        with soundfile.SoundFile(tmp_path / f"{number}.wav", "w", 48_000, 1) as file:
            file.comment = comment
            file.write(np.zeros(100))
        assert io.info(tmp_path / f"{number}.wav").tags["comment"] == comment
        assert io.read_metadata(tmp_path / f"{number}.wav") == {}


@pytest.mark.parametrize(
    ("name", "settings", "error", "message"),
    [
        ("a.mp4", {}, ValueError, "wav, flac, ogg, opus, mp3"),
        ("a", {}, ValueError, "wav, flac, ogg, opus"),
        ("a.wav", {"format": "flac"}, ValueError, "the name says wav"),
        ("a.flac", {"subtype": "FLOAT"}, ValueError, "PCM_16 or PCM_24"),
        ("a.opus", {"sample_rate": 44100}, ValueError, "Opus takes sample rates"),
        ("a.flac", {"channels": 9}, ValueError, "9 channels"),
        ("a.wav", {"sample_rate": 0}, ValueError, "0 Hz"),
        ("a.wav", {"metadata": {"prompt": "x" * 20_000}}, ValueError, "metadata"),
        ("none/a.wav", {}, FileNotFoundError, "no folder"),
        (".", {}, IsADirectoryError, "folder"),
    ],
)
def test_what_cannot_be_written_is_refused_before_any_audio(
    tmp_path: Path, name: str, settings: dict, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        io.AudioWriter(tmp_path / name, **settings)
    assert list(tmp_path.iterdir()) == []


def test_the_format_can_be_given_where_the_name_says_nothing(tmp_path: Path) -> None:
    with io.AudioWriter(tmp_path / "a.part", format="flac") as writer:
        writer.write(music(100))
    assert io.info(tmp_path / "a.part").format == "FLAC"


def test_bad_audio_leaves_nothing(tmp_path: Path) -> None:
    for audio, message in (
        (music(100, 1), "expected audio"),
        (torch.full((2, 10), torch.nan), "NaN"),
        (torch.zeros(2, 0), "no audio"),
    ):
        with pytest.raises(ValueError, match=message), io.AudioWriter(tmp_path / "a.wav") as writer:
            writer.write(audio)
    assert list(tmp_path.iterdir()) == []


def test_an_interrupt_leaves_what_was_there(tmp_path: Path) -> None:
    io.write(tmp_path / "a.wav", music(50))
    with pytest.raises(KeyboardInterrupt), io.AudioWriter(tmp_path / "a.wav") as writer:
        writer.write(music(5_000))
        raise KeyboardInterrupt
    assert [path.name for path in tmp_path.iterdir()] == ["a.wav"]
    assert io.info(tmp_path / "a.wav").num_samples == 50


@pytest.mark.skipif(sys.platform == "win32", reason="needs resource limits")
@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "opus"])
@pytest.mark.parametrize("limit", [600, 6_000, 300_000])
def test_a_full_disk_is_one_error_and_no_file(tmp_path: Path, suffix: str, limit: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    noise = 0.3 * torch.rand(2, 60_000, generator=torch.Generator().manual_seed(0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        with pytest.raises(OSError, match=f"cannot write .*a.{suffix}"):
            io.write(tmp_path / f"a.{suffix}", noise)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="needs resource limits")
@pytest.mark.parametrize(("suffix", "limits"), [("wav", (600, 240_010)), ("flac", (600, 100_000)), ("ogg", (600, 24_000)), ("opus", (600, 22_000))])
def test_a_full_disk_while_blocks_are_written_is_one_error_and_no_file(tmp_path: Path, suffix: str, limits: tuple[int, ...]) -> None:
    noise = 0.3 * torch.rand(2, 60_000, generator=torch.Generator().manual_seed(0))
    chapters = [io.Chapter(i, f"chapter {i}") for i in range(50)]
    for limit in limits:
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
        try:
            with pytest.raises(OSError, match=f"^cannot write .*a.{suffix}: "):
                io.write_blocks(tmp_path / f"a.{suffix}", noise.split(8_192, dim=1), 60_000, 48_000, 2, chapters=chapters)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="needs resource limits")
def test_a_disk_that_fills_while_encoding_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = io.AudioWriter.encode

    def encode_on_a_small_disk(self: io.AudioWriter, part: Path, scale: float) -> None:
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
        try:
            whole(self, part, scale)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    monkeypatch.setattr(io.AudioWriter, "encode", encode_on_a_small_disk)
    noise = 0.3 * torch.rand(2, 20_000, generator=torch.Generator().manual_seed(0))
    for suffix in ("wav", "flac", "ogg", "opus"):
        for limit in (50, 2_048, 4_096, 4_500):
            with pytest.raises(OSError, match="cannot write"):
                io.write(tmp_path / f"a.{suffix}", noise)
            assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "opus"])
def test_a_name_of_full_length_is_written_with_chapters(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"{'x' * (254 - len(suffix))}.{suffix}"
    io.write_blocks(path, [torch.zeros(1, 4800)], 4800, 48_000, 1, chapters=[io.Chapter(0, "a"), io.Chapter(2400, "b")])
    assert [chapter.title for chapter in io.info(path).chapters] == ["a", "b"]
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


def test_an_mp3_is_as_long_as_what_went_in_and_carries_its_recipe(tmp_path: Path) -> None:
    made = {"prompt": "é 音", "note": "x" * 15_000}
    for num_samples in (1, 1152, 100_001):
        audio = 0.3 * torch.sin(torch.arange(num_samples) / 20).expand(2, -1)
        io.write_blocks(tmp_path / "a.mp3", [audio], num_samples, 48_000, 2, metadata=made, chapters=[io.Chapter(0, "one")])
        assert io.info(tmp_path / "a.mp3").num_samples == num_samples and io.read_metadata(tmp_path / "a.mp3") == made
        if num_samples > 10_000:
            torch.testing.assert_close(io.read(tmp_path / "a.mp3"), audio, atol=0.1, rtol=0)  # of a tone that breaks off
    with pytest.raises(ValueError, match="6 channels at 48000 Hz cannot be written in this format"):
        io.AudioWriter(tmp_path / "b.mp3", 48_000, 6)


def test_a_peak_that_is_above_by_nothing_is_not_spoken_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    io.write(tmp_path / "a.wav", torch.full((2, 100), 1.001))
    assert not caplog.records
