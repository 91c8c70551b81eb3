"""Reading: every format by its content, resampled once, crops equal to the whole, and damage that is noticed."""

from __future__ import annotations

import re
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from mousai.audio import io
from mousai.audio.container import ogg_checksum

SUFFIXED = [
    ("wav", "WAV", "PCM_16", 2e-4), ("wav", "WAV", "PCM_24", 1e-6), ("wav", "WAVEX", "FLOAT", 0), ("flac", "FLAC", "PCM_16", 2e-4),
    ("flac", "FLAC", "PCM_24", 1e-6), ("aiff", "AIFF", "PCM_24", 1e-6), ("au", "AU", "PCM_16", 2e-4), ("caf", "CAF", "FLOAT", 0),
    ("rf64", "RF64", "PCM_24", 1e-6), ("w64", "W64", "PCM_16", 2e-4),
]  # fmt: skip


def music(num_samples: int, channels: int = 2, rate: int = 48000, seed: int = 0) -> np.ndarray:
    """Chords with noise, `(s, c)`, inside [-0.8, 0.8]."""
    rng = np.random.default_rng(seed)
    seconds = np.arange(num_samples)[:, None] / rate
    tones = sum(np.sin(2 * np.pi * hz * seconds + rng.uniform(0, 6, channels)) for hz in rng.uniform(100, 3000, 5))
    return (0.12 * tones + 0.02 * rng.uniform(-1, 1, (num_samples, channels))).astype(np.float32)


def save(path: Path, audio: np.ndarray, rate: int = 48000, format: str = "WAV", subtype: str | None = None) -> Path:
    with soundfile.SoundFile(path, "w", rate, audio.shape[1], format=format, subtype=subtype) as file:
        for start in range(0, len(audio), 8192):
            file.write(audio[start : start + 8192])
    return path


def ogg_page(flags: int, granule: int, serial: int, number: int, body: bytes) -> bytes:
    head = b"OggS\0" + struct.pack("<BqIII", flags, granule, serial, number, 0)
    lacing = bytes([255] * (len(body) // 255) + [len(body) % 255])
    page = head + bytes([len(lacing)]) + lacing + body
    return page[:22] + struct.pack("<I", ogg_checksum(page)) + page[26:]


@pytest.mark.parametrize(("suffix", "format", "subtype", "tolerance"), SUFFIXED)
def test_what_was_written_is_read(tmp_path: Path, suffix: str, format: str, subtype: str, tolerance: float) -> None:
    audio = music(5001)
    path = save(tmp_path / f"a.{suffix}", audio, 48000, format, subtype)
    read = io.read(path)
    assert read.dtype == torch.float32 and read.shape == (2, 5001)
    assert np.abs(read.numpy().T - audio).max() <= tolerance
    found = io.info(path)
    assert (found.sample_rate, found.channels, found.num_samples, found.subtype) == (48000, 2, 5001, subtype)


@pytest.mark.parametrize(("subtype", "error"), [("VORBIS", 0.1), ("OPUS", 0.1)])
def test_lossy_formats_keep_length_and_sound(tmp_path: Path, subtype: str, error: float) -> None:
    audio = music(48001)
    read = io.read(save(tmp_path / "a.ogg", audio, 48000, "OGG", subtype))
    assert read.shape == (2, 48001)
    assert np.sqrt(((read.numpy().T - audio) ** 2).mean()) < error * np.sqrt((audio**2).mean())


@pytest.mark.parametrize(("format", "subtype", "name"), [("OGG", "VORBIS", "a.wav"), ("MP3", None, "a.flac"), ("FLAC", None, "a.raw"), ("WAV", None, "a")])
def test_content_goes_before_the_name(tmp_path: Path, format: str, subtype: str | None, name: str) -> None:
    path = save(tmp_path / "right", music(20000), 48000, format, subtype).rename(tmp_path / name)
    assert io.info(path).format == format
    assert io.read(path).shape == (2, 20000)


def test_values_beyond_full_scale_arrive_as_they_are(tmp_path: Path) -> None:
    audio = 4 * music(1000)
    assert np.abs(audio).max() > 1.5
    assert np.array_equal(io.read(save(tmp_path / "a.wav", audio, subtype="FLOAT")).numpy().T, audio)


@pytest.mark.parametrize("rate", [8000, 22050, 44100, 96000, 192000])
def test_resampling_keeps_a_tone(tmp_path: Path, rate: int) -> None:
    seconds = np.arange(rate + 7)[:, None] / rate
    path = save(tmp_path / "a.wav", (0.5 * np.sin(2 * np.pi * 1000 * seconds)).astype(np.float32), rate, subtype="FLOAT")
    read = io.read(path, channels=1)[0]
    assert len(read) == io.resampled_length(rate + 7, rate, 48000)
    wanted = 0.5 * torch.sin(2 * torch.pi * 1000 * torch.arange(len(read), dtype=torch.float64) / 48000)
    assert (read - wanted)[2000:-2000].abs().max() < 2e-5


CROPPED = [("WAV", "PCM_16", 44100), ("FLAC", "PCM_24", 96000), ("OGG", "OPUS", 48000), ("OGG", "VORBIS", 44100), ("MP3", None, 22050)]


@pytest.mark.parametrize(("format", "subtype", "rate"), CROPPED)
def test_a_crop_and_the_blocks_are_parts_of_the_whole(tmp_path: Path, format: str, subtype: str | None, rate: int) -> None:
    num_samples = 4 * rate + 777  # so that the last Ogg page is a cut one
    path = save(tmp_path / "a", music(num_samples, 2, rate), rate, format, subtype)
    whole = io.read(path)
    assert whole.shape[1] == io.resampled_length(num_samples, rate, 48000)
    rng = np.random.default_rng(1)
    starts = [0, 1, *rng.integers(0, whole.shape[1] - 1, 12), *rng.integers(whole.shape[1] - 20000, whole.shape[1] - 1, 6)]
    for start in map(int, starts):
        crop = io.read(path, start_seconds=start / 48000, num_samples=5000)
        assert crop.shape[1] == min(5000, whole.shape[1] - start)
        assert (crop - whole[:, start : start + 5000]).abs().max() < 1e-5
    for size in (999, 70000, 10**7):
        parts = list(io.blocks(path, 48000, 2, size))
        assert {part.shape[1] for part in parts[:-1]} <= {size}
        assert torch.allclose(torch.cat(parts, 1), whole, atol=1e-5)


def test_a_crop_does_not_decode_what_lies_before_it(tmp_path: Path) -> None:
    audio = music(48000 * 20)
    path = save(tmp_path / "a.flac", audio, format="FLAC")
    data = bytearray(path.read_bytes())
    data[len(data) // 4 : len(data) // 4 + 2000] = bytes(2000)
    path.write_bytes(data)
    assert np.abs(io.read(path, start_seconds=15, num_samples=9600).numpy().T - audio[720000:729600]).max() < 1e-4
    with pytest.raises(io.AudioError, match="damaged"):
        io.read(path)


def test_start_outside_the_file_and_nonsense_are_errors(tmp_path: Path) -> None:
    path = save(tmp_path / "a.wav", music(48000))
    for settings in ({"start_seconds": 1.0}, {"start_seconds": -0.1}, {"num_samples": 0}, {"sample_rate": 0}, {"channels": 0}):
        with pytest.raises(ValueError, match="start|sample_rate"):
            io.read(path, **settings)


def test_mono_becomes_two_equal_channels(tmp_path: Path) -> None:
    audio = music(3000, 1)
    read = io.read(save(tmp_path / "a.wav", audio, subtype="FLOAT"))
    assert torch.equal(read[0], read[1]) and np.array_equal(read[0].numpy(), audio[:, 0])


@pytest.mark.parametrize(("format", "subtype", "centre", "rear_left"), [("WAVEX", "FLOAT", 2, 4), ("OGG", "VORBIS", 1, 3), ("FLAC", "PCM_24", 2, 4)])
def test_surround_is_mixed_down_by_its_layout(tmp_path: Path, format: str, subtype: str, centre: int, rear_left: int) -> None:
    tone = 0.5 * np.sin(np.arange(48000) * 0.05)
    for channel, gains in ((0, (1, 0)), (centre, (0.7071, 0.7071)), (rear_left, (0.7071, 0))):
        audio = np.zeros((48000, 6), np.float32)
        audio[:, channel] = tone
        read = io.read(save(tmp_path / "a", audio, 48000, format, subtype)).numpy()
        for side in (0, 1):
            assert np.sqrt(((read[side] - gains[side] * tone) ** 2).mean()) < 0.01


def damaged(tmp_path: Path) -> dict[str, tuple[bytes, str]]:
    """Contents that are no whole audio, and what is said of each."""
    def encoded(format: str, subtype: str | None = None, audio: np.ndarray | None = None) -> bytes:
        return save(tmp_path / "whole", music(30000) if audio is None else audio, 48000, format, subtype).read_bytes()

    wav, flac, ogg, opus = encoded("WAV"), encoded("FLAC"), encoded("OGG", "VORBIS"), encoded("OGG", "OPUS")
    infinite = music(3000)
    infinite[1000, 0] = np.inf
    flipped = bytearray(ogg)
    flipped[len(ogg) // 2] ^= 0x10
    pages = [found.start() for found in re.finditer(b"OggS", ogg)]
    flac_flipped = flac[:30000] + bytes(value ^ 255 for value in flac[30000:30400]) + flac[30400:]
    ogg_flac = ogg_page(2, 0, 5, 0, b"\x7fFLAC\1\0\0\1fLaC\0\0\0\x22" + bytes(34)) + ogg_page(4, 0, 5, 1, bytes(100))
    return {
        "empty": (b"", "empty"),
        "text": (b"not audio at all, but some words\n" * 40, "not audio"),
        "pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n", "git lfs pull"),
        "no samples": (encoded("WAV", None, np.zeros((0, 2), np.float32)), "no audio"),
        "cut WAV": (wav[:50000], "truncated, the header promises 120000 bytes"),
        "cut AIFF": (encoded("AIFF")[:50000], "truncated, the header promises"),
        "cut AU": (encoded("AU")[:50000], "truncated, the header promises"),
        "cut FLAC": (flac[: len(flac) // 2], "damaged or truncated"),
        "cut Vorbis": (ogg[: len(ogg) // 2], "truncated within the Ogg page"),
        "cut Opus": (opus[: opus.rindex(b"OggS")], "has no end"),
        "cut MP3": (encoded("MP3")[:4000], "truncated"),
        "flipped FLAC": (flac_flipped, "damaged"),
        "flipped Vorbis": (bytes(flipped), "checksum"),
        "a page short": (ogg[: pages[-2]] + ogg[pages[-1] :], "pages are missing"),
        "infinite": (encoded("WAV", "FLOAT", infinite), "NaN or infinite"),
        "FLAC in Ogg": (ogg_flac, "FLAC inside Ogg"),
    }


def test_damage_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    for name, (content, message) in damaged(tmp_path).items():
        path = tmp_path / f"{name}.wav"
        path.write_bytes(content)
        with pytest.raises(io.AudioError, match=message) as caught:
            io.read(path)
        assert str(path) in str(caught.value), name
        assert "\n" not in str(caught.value)


def test_what_headers_tell_is_known_without_decoding(tmp_path: Path) -> None:
    late = ("flipped FLAC", "infinite")
    for name, (content, message) in damaged(tmp_path).items():
        path = tmp_path / "a"
        path.write_bytes(content)
        if name in late:
            assert io.info(path).num_samples > 0
        else:
            with pytest.raises(io.AudioError, match=message):
                io.info(path)


def test_missing_files_and_folders(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no such audio file"):
        io.read(tmp_path / "none.wav")
    with pytest.raises(io.AudioError, match="is a folder"):
        io.read(tmp_path)


def test_a_size_that_a_pipe_could_not_know_is_no_damage(tmp_path: Path) -> None:
    audio = music(4000)
    data = bytearray(save(tmp_path / "a.wav", audio).read_bytes())
    at = data.index(b"data") + 4
    for size in (0xFFFFFFFF, 0x7FFFFFFF, 0x7FFFF000):
        data[4:8] = data[at : at + 4] = struct.pack("<I", size)
        (tmp_path / "a.wav").write_bytes(data)
        assert io.read(tmp_path / "a.wav").shape == (2, 4000)


def test_links_of_a_chained_ogg_file_are_one(tmp_path: Path) -> None:
    parts = [save(tmp_path / f"{seed}.ogg", music(30000 + seed, seed=seed), 48000, "OGG", "VORBIS") for seed in range(3)]
    separate = [io.read(part) for part in parts]
    chained = tmp_path / "chained.ogg"
    chained.write_bytes(b"".join(part.read_bytes() for part in parts) + b"TAG" + bytes(125))
    assert io.info(chained).num_samples == 90003
    assert torch.equal(io.read(chained), torch.cat(separate, 1))
    assert torch.equal(io.read(chained, start_seconds=29000 / 48000, num_samples=40000), torch.cat(separate, 1)[:, 29000:69000])
    other = save(tmp_path / "other.ogg", music(3000, 1), 44100, "OGG", "VORBIS")
    chained.write_bytes(parts[0].read_bytes() + other.read_bytes())
    with pytest.raises(io.AudioError, match="differ in sample rate or channels"):
        io.read(chained)


def test_mp3_after_junk_and_without_a_frame_count(tmp_path: Path) -> None:
    whole = save(tmp_path / "a.mp3", music(50000, 1, 44100), 44100, "MP3").read_bytes()
    samples = io.read(tmp_path / "a.mp3", 44100, 1)
    assert samples.shape == (1, 50000)
    junk = np.random.default_rng(0).integers(0, 255, 5000, dtype=np.uint8).tobytes()
    (tmp_path / "junk").write_bytes(junk + whole)
    assert torch.equal(io.read(tmp_path / "junk", 44100, 1), samples)
    mark = max(whole.find(b"Xing"), whole.find(b"Info"))
    assert mark > 0
    (tmp_path / "uncounted").write_bytes(whole[:mark] + b"----" + whole[mark + 4 :])
    found = io.info(tmp_path / "uncounted")
    assert found.num_samples == io.read(tmp_path / "uncounted", 44100, 1).shape[1] == sum(
        block.shape[1] for block in io.blocks(tmp_path / "uncounted", 44100, 1, 4096)
    )
    with pytest.raises(ValueError, match="ends after"):
        io.read(tmp_path / "uncounted", 44100, 1, start_seconds=(found.num_samples + 1) / 44100)


def test_a_member_of_an_archive_is_a_file(tmp_path: Path) -> None:
    audio = music(5000)
    inner = save(tmp_path / "a.flac", audio, format="FLAC", subtype="PCM_24").read_bytes()
    (tmp_path / "archive").write_bytes(b"x" * 333 + inner + b"y" * 100)
    member = io.Member(tmp_path / "archive", 333, len(inner), "a.flac")
    assert np.abs(io.read(member).numpy().T - audio).max() < 1e-6
    with pytest.raises(io.AudioError, match="archive:a.flac"):
        io.read(io.Member(tmp_path / "archive", 333, len(inner) // 2, "a.flac"))


def test_tags_are_read(tmp_path: Path) -> None:
    for format, subtype in (("MP3", None), ("FLAC", None), ("OGG", "VORBIS"), ("OGG", "OPUS"), ("WAV", None)):
        with soundfile.SoundFile(tmp_path / "a", "w", 48000, 2, format=format, subtype=subtype) as file:
            file.title, file.artist = "Über alles 音楽", "Someone"
            file.write(music(20000))
        tags = io.info(tmp_path / "a").tags
        assert (tags["title"], tags["artist"]) == ("Über alles 音楽", "Someone")


def test_ogg_checksum_is_the_one_that_libogg_writes(tmp_path: Path) -> None:
    data = save(tmp_path / "a.ogg", music(20000), 48000, "OGG", "VORBIS").read_bytes()
    page = data[: data.index(b"OggS", 4)]
    slow = 0
    for byte in page[:22] + bytes(4) + page[26:]:
        slow ^= byte << 24
        for _ in range(8):
            slow = (slow << 1 ^ 0x04C11DB7 if slow & 0x80000000 else slow << 1) & 0xFFFFFFFF
    assert slow == ogg_checksum(page[:22] + bytes(4) + page[26:]) == struct.unpack("<I", page[22:26])[0]


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="counts open files in /proc")
def test_reading_leaves_no_file_open(tmp_path: Path) -> None:
    bad = tmp_path / "bad.ogg"
    bad.write_bytes(b"OggS" + bytes(100))
    good = save(tmp_path / "a.flac", music(3000), format="FLAC")
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(5):
        io.read(good)
        io.info(good)
        next(iter(io.blocks(good, 44100, 1, 100)))
        with pytest.raises(io.AudioError):
            io.read(bad)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


@pytest.mark.parametrize("rate", [1, 999, 2_000_000])
def test_a_small_file_does_not_become_a_large_one(tmp_path: Path, rate: int) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros(20_000, np.float32), rate)
    for read in (io.info, io.read):
        with pytest.raises(io.AudioError, match=f"says that it has {rate} samples a second; from 1000 to 1000000 are read"):
            read(tmp_path / "a.wav")


@pytest.mark.parametrize("rate", [0, 3, 2_000_000])
def test_a_rate_that_nobody_hears_is_refused_at_once(tmp_path: Path, rate: int) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros(20_000, np.float32), 48_000)
    with pytest.raises(ValueError, match="sample_rate must be from 1000 to 1000000"):
        io.read(tmp_path / "a.wav", rate)
