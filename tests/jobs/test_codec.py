"""`mousai encode` and `mousai decode`: lengths, streaming, headers, what is refused."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
import soundfile
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from mousai import checkpoint
from mousai.audio import io
from mousai.cli import main as cli
from mousai.jobs import codec as job, places
from mousai.jobs.codec import decode, encode, encode_file, read_header
from mousai.pipelines.cascade import load_codec

RATE = 48000


@pytest.fixture(scope="module")
def codec(tiny_cascade: Path):
    return load_codec(tiny_cascade, device="cpu")[0]


def tone(num_samples: int, rate: int = RATE, channels: int = 2) -> torch.Tensor:
    time = torch.arange(num_samples) / rate
    return torch.stack([0.2 * torch.sin(2 * torch.pi * 300 * (c + 1) * time) for c in range(channels)])


def run(capsys, *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as caught:
        cli.main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return caught.value.code or 0, captured.out, captured.err


@pytest.mark.parametrize(("num_samples", "rate", "channels"), [(1, RATE, 2), (1023, RATE, 1), (50_001, RATE, 2), (30_000, 44100, 2), (8001, 8000, 1), (200_000, RATE, 6)])
def test_what_comes_back_is_as_long_as_what_went_in(num_samples, rate, channels, tiny_cascade, tmp_path):
    soundfile.write(tmp_path / "a.wav", tone(num_samples, rate, channels).T.numpy(), rate)
    expected = io.resampled_length(num_samples, rate, RATE)
    (coded,) = encode([tmp_path / "a.wav"], tiny_cascade, tmp_path)
    assert coded.path == tmp_path / "a.safetensors" and coded.num_samples == expected and coded.frames == -(-expected // 1024)
    (made,) = decode([coded.path], tiny_cascade, tmp_path / "b.flac", steps=1)
    assert io.read(made.path).shape == (2, expected) and made.num_samples == expected


def test_in_pieces_it_is_what_it_is_in_one(tiny_cascade, codec, tmp_path, monkeypatch):
    """The file is read and written in pieces of a quarter of a second; the codec gets the whole at once here."""
    audio = tone(150_000) * torch.linspace(0.2, 1, 150_000)
    io.write(tmp_path / "a.wav", audio, subtype="FLOAT")
    monkeypatch.setattr(job, "BLOCK_SECONDS", 0.25)
    (coded,) = encode([tmp_path / "a.wav"], tiny_cascade, tmp_path)
    (made,) = decode([coded.path], tiny_cascade, tmp_path / "b.wav", seed=5)
    gain = 0.1 / float(audio.square().mean().sqrt())
    latents = codec.encode(audio[None] * gain)
    with safe_open(coded.path, framework="pt") as file:
        kept = file.get_tensor("latents")
        torch.testing.assert_close(kept, latents[0], atol=2e-3, rtol=0)  # logarithms of what is nearly nothing round apart
        assert float(file.metadata()["gain"]) == pytest.approx(gain, rel=1e-6)
    decoded = codec.decode(kept[None], 150_000, seeds=[5])[0] / gain
    decoded /= max(1.0, float(decoded.abs().max()))
    torch.testing.assert_close(io.read(made.path), decoded, atol=1e-4, rtol=0)
    assert io.read_metadata(made.path) | {"seed": 5, "source": "a.wav", "decoded_from": "a.safetensors", "codec_steps": 3} == io.read_metadata(made.path)


def test_no_more_than_a_window_is_held(codec, tmp_path, monkeypatch):
    """The latents of the beginning are there long before the end of the file is read."""
    io.write(tmp_path / "a.wav", tone(12 * RATE))
    monkeypatch.setattr(job, "BLOCK_SECONDS", 0.25)
    order = []
    stream = codec.encode_stream

    def watched(pieces):
        def counted():
            for piece in pieces:
                order.append("read")
                yield piece

        for latents in stream(counted()):
            order.append("made")
            yield latents

    monkeypatch.setattr(codec, "encode_stream", watched)
    encode_file(tmp_path / "a.wav", codec, None)
    assert order.count("read") == 48 and order.index("made") < 10 and order.count("made") > 5


def test_steps_and_seeds_count(tiny_cascade, tmp_path):
    io.write(tmp_path / "a.wav", tone(20_000))
    (coded,) = encode([tmp_path / "a.wav"], tiny_cascade, tmp_path)
    sounds = [io.read(next(iter(decode([coded.path], tiny_cascade, tmp_path, **settings))).path) for settings in ({}, {"seed": 1}, {"steps": 1}, {})]
    assert torch.equal(sounds[0], sounds[3])
    assert not torch.allclose(sounds[0], sounds[1], atol=1e-3) and not torch.allclose(sounds[0], sounds[2], atol=1e-3)


def test_a_quiet_file_comes_back_quiet(tiny_cascade, tmp_path):
    for name, level in (("loud", 0.3), ("quiet", 0.03)):
        io.write(tmp_path / f"{name}.wav", tone(40_000) * level, subtype="FLOAT")
    made = [io.read(each.path) for each in decode([c.path for c in encode([tmp_path / "loud.wav", tmp_path / "quiet.wav"], tiny_cascade, tmp_path)], tiny_cascade, tmp_path)]
    torch.testing.assert_close(made[1] * 10, made[0], atol=1e-3, rtol=0)


def test_the_commands(tiny_cascade, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b"):
        io.write(f"{name}.wav", tone(9600))
    code, out, err = run(capsys, "encode", "a.wav", "b.wav", "-m", tiny_cascade, "-o", "latents")
    assert code == 0 and err == "" and [line.split("  ")[0] for line in out.splitlines()] == ["latents/a.safetensors", "latents/b.safetensors"]
    code, out, _ = run(capsys, "decode", "latents/a.safetensors", "latents/b.safetensors", "-m", tiny_cascade, "-f", "opus", "--steps", "1", "--json")
    files = json.loads(out)["files"]
    assert [file["path"] for file in files] == ["a.opus", "b.opus"] and {file["num_samples"] for file in files} == {9600}
    assert run(capsys, "encode", "a.wav", "-m", tiny_cascade, "-o", "latents/a.safetensors")[0] == 0
    assert sorted(os.listdir("latents")) == ["a-2.safetensors", "a.safetensors", "b.safetensors"]


@pytest.fixture
def latents(tiny_cascade, tmp_path) -> Path:
    io.write(tmp_path / "a.wav", tone(9600))
    (coded,) = encode([tmp_path / "a.wav"], tiny_cascade, tmp_path)
    return coded.path


def test_latents_of_another_codec_are_refused(tiny_cascade, latents, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(tiny_cascade, other)
    settings, state = checkpoint.load_model(tiny_cascade)
    state["codec.encoder.linear.weight"][0] += 1
    shutil.rmtree(other)
    checkpoint.save_model(other, {key: value for key, value in settings.items() if key != "format"}, state, "")
    with pytest.raises(ValueError, match="were made by codec .*give --model the one they were made with"):
        list(decode([latents], other, tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_files_of_latents_that_are_none(tiny_cascade, latents, tmp_path):
    whole = latents.read_bytes()
    with safe_open(latents, framework="pt") as file:
        header, tensor = file.metadata(), file.get_tensor("latents")
    bad = tmp_path / "bad.safetensors"
    for content in (whole[: len(whole) // 2], b"", b"RIFF" * 30):
        bad.write_bytes(content)
        with pytest.raises(ValueError, match="no latents that `mousai encode` wrote, or cut"):
            read_header(bad)
    for changes in ({"format": "9"}, {"gain": "nan"}, {"gain": "0"}, {"num_samples": "-1"}, {"sample_rate": "x"}):
        save_file({"latents": tensor}, bad, header | changes)
        with pytest.raises(ValueError, match="header is not that of latents"):
            read_header(bad)
    save_file({"other": tensor}, bad, header)
    with pytest.raises(ValueError, match="header is not that of latents"):
        read_header(bad)
    del header["crc"]
    save_file({"latents": tensor[:, :-1].contiguous()}, bad, header)
    with pytest.raises(ValueError, match="9600 samples of this codec have latents .8, 10., came .8, 9."):
        list(decode([bad], tiny_cascade, tmp_path))
    assert not (tmp_path / "bad.wav").exists()


WRONG = [
    (["encode"], "FILE"),
    (["encode", "none.wav"], "no such audio file: none.wav"),
    (["encode", "."], "is a folder"),
    (["encode", "text.txt"], "text.txt"),
    (["encode", "a.wav", "--model", "none"], "no such model folder: none"),
    (["encode", "a.wav", "--out", "text.txt"], "is a file"),
    (["encode", "a.wav", "--out", "b.wav"], ".wav cannot be written; use safetensors"),
    (["encode", "a.wav", "a.wav", "--out", "b.safetensors"], "name a folder"),
    (["encode", "a.wav", "--device", "tpu"], "this machine has cpu"),
    (["decode", "none.safetensors"], "no such file of latents"),
    (["decode", "."], "is a folder"),
    (["decode", "a.wav"], "no latents that"),
    (["decode", "a.safetensors", "--steps", "0"], "steps: expected a whole number from 1"),
    (["decode", "a.safetensors", "--seed", "-1"], "seed"),
    (["decode", "a.safetensors", "--format", "m4a"], "unknown format"),
    (["decode", "a.safetensors", "--model", "none"], "no such model folder"),
]


@pytest.mark.parametrize(("arguments", "words"), WRONG, ids=[" ".join(arguments) for arguments, _ in WRONG])
def test_wrong_input_is_one_line_code_2_and_leaves_nothing(arguments, words, latents, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.txt").write_text("words")
    before = sorted(os.listdir(tmp_path))
    code, out, err = run(capsys, *arguments)
    assert code == 2 and out == "" and len(err.splitlines()) == 1 and words in err
    assert sorted(os.listdir(tmp_path)) == before


def test_a_changed_byte_of_latents_is_found(tiny_cascade, latents, tmp_path, monkeypatch):
    monkeypatch.setattr(job, "CHECK_BYTES", 100)  # some rows at a time
    whole = latents.read_bytes()
    read_header(latents)
    for place in (len(whole) - 1, len(whole) - 300, whole.index(b'"gain":"') + 12):
        latents.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(ValueError, match="is damaged: it does not have its checksum; run `mousai encode` again"):
            read_header(latents)
    with safe_open(latents, framework="pt") as file:
        header = file.metadata()
        tensor = file.get_tensor("latents")
    del header["crc"]
    save_file({"latents": tensor}, latents, header)
    read_header(latents)  # of an earlier version


def test_a_bad_file_stops_no_other(tiny_cascade, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b", "c"):
        io.write(f"{name}.flac", tone(9600, channels=1))
    data = bytearray(Path("b.flac").read_bytes())
    data[len(data) // 2] ^= 8  # a frame's checksum does not fit any more
    Path("b.flac").write_bytes(data)
    Path("text.txt").write_text("words")
    code, out, err = run(capsys, "encode", "text.txt", "a.flac", "b.flac", "none.flac", "c.flac", "-m", tiny_cascade)
    assert code == 2 and [line.split("  ")[0] for line in out.splitlines()] == ["a.safetensors", "c.safetensors"]
    assert [line.split()[1].rstrip(":") for line in err.splitlines()] == ["text.txt", "no", "b.flac"] and "none.flac" in err
    Path("a.safetensors").write_bytes(Path("a.safetensors").read_bytes()[:300])
    code, out, err = run(capsys, "decode", "a.safetensors", "c.safetensors", "-m", tiny_cascade, "--steps", "1")
    assert code == 2 and out.startswith("c.wav  ") and len(err.splitlines()) == 1 and "a.safetensors" in err
    code, out, err = run(capsys, "encode", "text.txt", "none.flac", "-m", tiny_cascade)
    assert code == 2 and out == "" and len(err.splitlines()) == 2


def test_a_name_that_another_process_takes_meanwhile(tiny_cascade, latents, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def contested(folder, name, suffix, beside=()):
        path = places.free(folder, name, suffix, beside)
        if path.name == "a.wav":
            path.write_text("another's")
        return path

    Path("a.wav").unlink()
    monkeypatch.setattr(job, "free", contested)
    (made,) = decode([latents], tiny_cascade, steps=1)
    assert made.path.name == "a-2.wav" and io.info(made.path).num_samples == 9600 and Path("a.wav").read_text() == "another's"


def test_an_interruption_leaves_the_finished_ones(tiny_cascade, tmp_path):
    for name in ("a", "b"):
        io.write(tmp_path / f"{name}.wav", tone(48_000))

    def stop(done: float, total: float) -> None:
        if done > total / 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(encode([tmp_path / "a.wav", tmp_path / "b.wav"], tiny_cascade, tmp_path / "out", progress=stop))
    assert os.listdir(tmp_path / "out") == ["a.safetensors"]
    coded = list(encode([tmp_path / "b.wav"], tiny_cascade, tmp_path / "out"))
    with pytest.raises(KeyboardInterrupt):
        list(decode([tmp_path / "out" / "a.safetensors", coded[0].path], tiny_cascade, tmp_path / "out", steps=2, progress=stop))
    assert sorted(os.listdir(tmp_path / "out")) == ["a.safetensors", "a.wav", "b.safetensors"]
