"""A growing WAV: playable at any moment, exact after a kill, a cut, a full disk and beyond 4 GiB."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile
import torch

from mousai.audio import growing, io
from mousai.audio.growing import HEADER_BYTES, GrowingWav

FRAME = 8  # bytes, stereo


def noise(num_samples: int, channels: int = 2) -> torch.Tensor:
    return torch.randn(channels, num_samples, generator=torch.Generator().manual_seed(num_samples))


def together(file: GrowingWav, *where: int) -> torch.Tensor:
    return torch.cat(list(file.blocks(*where)), dim=1)


@pytest.mark.parametrize("channels", [1, 2])
def test_every_append_leaves_a_file_that_plays(tmp_path: Path, channels: int) -> None:
    whole = torch.zeros(channels, 0)
    with GrowingWav(tmp_path / "a.wav", 44_100, channels) as file:
        assert soundfile.info(tmp_path / "a.wav").frames == 0
        for num_samples in (1, 70_001, 0, 2_000):
            file.append(noise(num_samples, channels))
            whole = torch.cat([whole, noise(num_samples, channels)], dim=1)
            said = io.info(tmp_path / "a.wav")
            assert (said.num_samples, said.sample_rate, said.channels) == (whole.shape[1], 44_100, channels)
            assert (said.format, said.subtype) == ("WAV", "FLOAT")
            assert torch.equal(io.read(tmp_path / "a.wav", 44_100, channels), whole)
        assert torch.equal(together(file), whole)
        assert torch.equal(together(file, 69_000, 71_000), whole[:, 69_000:71_000])
        assert [block.shape[1] for block in file.blocks(5, 25, 8)] == [8, 8, 4]
        assert list(file.blocks(7, 7)) == []


def test_it_is_read_while_it_grows(tmp_path: Path) -> None:
    with GrowingWav(tmp_path / "a.wav", 48_000, 2) as file:
        file.append(noise(10))
        blocks = file.blocks(size=6)
        first = next(blocks)
        file.append(noise(20))
        assert torch.equal(torch.cat([first, *blocks], dim=1), noise(10))
        assert torch.equal(together(file, 10), noise(20))


class Killed(BaseException):
    pass


@pytest.mark.parametrize("written", ["no header", "half of the data"])
def test_a_kill_while_appending_loses_only_what_was_appended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: str) -> None:
    with GrowingWav(tmp_path / "a.wav", 48_000, 2) as file:
        file.append(noise(100))
        put = GrowingWav.put

        def kill(self: GrowingWav, at: int, data: bytes) -> None:
            if at == 0:
                raise Killed
            put(self, at, data if written == "no header" else data[: len(data) // 2 + 3])
            if written != "no header":
                raise Killed

        monkeypatch.setattr(GrowingWav, "put", kill)
        monkeypatch.setattr(GrowingWav, "settle", lambda self, num_samples: None)  # nothing runs after a kill
        with pytest.raises(Killed):
            file.append(noise(3_000))
        monkeypatch.undo()
    assert (tmp_path / "a.wav").stat().st_size > HEADER_BYTES + 100 * FRAME
    assert torch.equal(io.read(tmp_path / "a.wav"), noise(100))
    with GrowingWav(tmp_path / "a.wav", 48_000, 2) as file:
        assert file.num_samples == 100
        assert (tmp_path / "a.wav").stat().st_size == HEADER_BYTES + 100 * FRAME
        file.append(noise(50))
        assert torch.equal(together(file), torch.cat([noise(100), noise(50)], dim=1))


def test_a_real_kill_leaves_whole_appends(tmp_path: Path) -> None:
    script = (
        "import sys, torch\n"
        "from mousai.audio.growing import GrowingWav\n"
        "with GrowingWav(sys.argv[1], 48000, 2) as file:\n"
        "    while True:\n"
        "        file.append(torch.full((2, 5000), 1.0 + file.num_samples // 5000))\n"
    )
    with subprocess.Popen([sys.executable, "-c", script, tmp_path / "a.wav"]) as process:
        while process.poll() is None and not ((tmp_path / "a.wav").exists() and (tmp_path / "a.wav").stat().st_size > 400_000):
            pass
        process.kill()
    audio = torch.from_numpy(soundfile.read(tmp_path / "a.wav", dtype="float32")[0]).T
    assert audio.shape[1] >= 40_000 and audio.shape[1] % 5000 == 0
    assert torch.equal(audio[0, ::5000], torch.arange(1.0, 1 + audio.shape[1] // 5000))
    assert torch.equal(audio, audio[:, ::5000].repeat_interleave(5000, dim=1))
    with GrowingWav(tmp_path / "a.wav", 48_000, 2) as file:
        assert file.num_samples == audio.shape[1]


@pytest.mark.parametrize("lost", [1, FRAME, 50 * FRAME + 3, 100 * FRAME])
def test_a_file_that_lost_its_end_offers_what_is_there(tmp_path: Path, lost: int) -> None:
    with GrowingWav(tmp_path / "a.wav", 48_000, 2) as file:
        file.append(noise(100))
    os.truncate(tmp_path / "a.wav", HEADER_BYTES + 100 * FRAME - lost)
    kept = 100 - -(-lost // FRAME)
    with GrowingWav(tmp_path / "a.wav", 48_000, 2) as file:
        assert file.num_samples == soundfile.info(tmp_path / "a.wav").frames == kept
        file.append(noise(7))
        assert torch.equal(together(file), torch.cat([noise(100)[:, :kept], noise(7)], dim=1))


@pytest.mark.parametrize("length", [0, 1, 40, HEADER_BYTES - 1])
def test_a_kill_before_the_first_header_is_whole(tmp_path: Path, length: int) -> None:
    GrowingWav(tmp_path / "a.wav", 48_000, 2).close()
    os.truncate(tmp_path / "a.wav", length)
    with GrowingWav(tmp_path / "a.wav", 48_000, 2) as file:
        file.append(noise(5))
    assert torch.equal(io.read(tmp_path / "a.wav"), noise(5))


def test_any_flipped_bit_of_a_header_is_noticed_in_words(tmp_path: Path) -> None:
    with GrowingWav(tmp_path / "a.wav", 48_000, 2) as file:
        file.append(noise(100))
    whole = (tmp_path / "a.wav").read_bytes()
    for place in range(HEADER_BYTES):
        for bit in range(8):
            (tmp_path / "a.wav").write_bytes(whole[:place] + bytes([whole[place] ^ 1 << bit]) + whole[place + 1 :])
            with pytest.raises(ValueError, match="a.wav"):
                GrowingWav(tmp_path / "a.wav", 48_000, 2)


def test_truncation(tmp_path: Path) -> None:
    with GrowingWav(tmp_path / "a.wav", 48_000, 2) as file:
        file.append(noise(100))
        file.truncate(60)
        assert file.num_samples == 60 and torch.equal(io.read(tmp_path / "a.wav"), noise(100)[:, :60])
        with pytest.raises(ValueError, match="a.wav holds 60 samples, cannot be cut to 61"):
            file.truncate(61)
        file.truncate(0)
        file.append(noise(3))
        assert torch.equal(together(file), noise(3))


def test_beyond_four_gigabytes_and_back(tmp_path: Path) -> None:
    path, near = tmp_path / "a.wav", growing.WAV_MAX_BYTES // FRAME - 5
    path.write_bytes(growing.header(near, 48_000, 2))
    os.truncate(path, HEADER_BYTES + near * FRAME)  # of no blocks on the disk
    assert soundfile.info(path).frames == near and soundfile.info(path).format == "WAV"
    with GrowingWav(path, 48_000, 2) as file:
        file.append(noise(5))
        assert io.info(path).format == "WAV"
        file.append(noise(100_000))
        said = io.info(path)
        assert (said.format, said.num_samples, file.num_samples) == ("RF64", near + 100_005, near + 100_005)
    assert path.stat().st_size > 2**32
    with GrowingWav(path, 48_000, 2) as file:
        assert file.num_samples == near + 100_005
        tail = torch.cat([torch.zeros(2, 3), noise(5), noise(100_000)], dim=1)
        assert torch.equal(together(file, near - 3), tail)
        with soundfile.SoundFile(path) as read:
            read.seek(near - 3)
            assert torch.equal(torch.from_numpy(read.read(dtype="float32")).T, tail)
        file.truncate(near + 2)
        said = io.info(path)
        assert (said.format, said.num_samples) == ("WAV", near + 2)
        assert torch.equal(together(file, near), noise(5)[:, :2])


@pytest.mark.skipif(sys.platform == "win32", reason="needs resource limits")
@pytest.mark.parametrize("limit", [HEADER_BYTES + 100 * FRAME, HEADER_BYTES + 150 * FRAME + 5])
def test_a_full_disk_is_one_line_and_the_file_as_before(tmp_path: Path, limit: int) -> None:
    with GrowingWav(tmp_path / "a.wav", 48_000, 2) as file:
        file.append(noise(100))
        before = (tmp_path / "a.wav").read_bytes()
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
        try:
            with pytest.raises(OSError, match=r"^cannot write .*a\.wav: File too large$"):
                file.append(noise(200))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert (tmp_path / "a.wav").read_bytes() == before and file.num_samples == 100
        file.append(noise(200))
        assert torch.equal(io.read(tmp_path / "a.wav"), torch.cat([noise(100), noise(200)], dim=1))


def test_bad_audio_changes_nothing(tmp_path: Path) -> None:
    with GrowingWav(tmp_path / "a.wav", 48_000, 2) as file:
        for audio in (noise(5, 1), noise(5)[0], noise(5) * torch.inf):
            with pytest.raises(ValueError, match="a.wav"):
                file.append(audio)
        for start, stop, size in ((0, 1, 1), (-1, 0, 1), (0, 0, 0)):
            with pytest.raises(ValueError, match="a.wav holds 0 samples"):
                file.blocks(start, stop, size)
        assert file.num_samples == 0


def test_what_was_not_begun_here_is_refused_and_untouched(tmp_path: Path) -> None:
    io.write(tmp_path / "other.wav", noise(50), subtype="FLOAT")
    (tmp_path / "text.wav").write_text("RIFF raff")
    GrowingWav(tmp_path / "rate.wav", 44_100, 2).close()
    with GrowingWav(tmp_path / "mono.wav", 48_000, 1) as file:
        file.append(noise(3, 1))
    for name, message in (
        ("other.wav", "not a WAV that was begun here"),
        ("text.wav", "not a WAV that was begun here"),
        ("rate.wav", "holds 2 channels at 44100 Hz, expected 2 at 48000 Hz"),
        ("mono.wav", "holds 1 channels at 48000 Hz, expected 2 at 48000 Hz"),
    ):
        before = (tmp_path / name).read_bytes()
        with pytest.raises(ValueError, match=message):
            GrowingWav(tmp_path / name, 48_000, 2)
        assert (tmp_path / name).read_bytes() == before
    with pytest.raises(FileNotFoundError, match="cannot write .*none/a.wav"):
        GrowingWav(tmp_path / "none" / "a.wav", 48_000, 2)
    with pytest.raises(IsADirectoryError, match="cannot write"):
        GrowingWav(tmp_path, 48_000, 2)
    with pytest.raises(ValueError, match="0 channels"):
        GrowingWav(tmp_path / "a.wav", 48_000, 0)
