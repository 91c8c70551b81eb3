"""`mousai generate`, `encode` and `decode` from the command line, with a tiny cascade of random weights."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from mousai import checkpoint
from mousai.cli import main as cli

ROOT = Path(__file__).parents[2]
LENGTH = 20_001  # samples of the recording


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in, with a recording beside it."""
    noise = np.random.default_rng(0).normal(0, 0.05, (LENGTH, 2))
    soundfile.write(tmp_path / "recording.wav", noise, 48_000)
    (tmp_path / "empty.wav").write_bytes(b"")
    (tmp_path / "words.txt").write_text("calm piano\n\n# a comment\n  fast guitar \n")
    (tmp_path / "blank.txt").write_text("\n\n")
    (tmp_path / "place").mkdir()
    monkeypatch.chdir(tmp_path / "place")
    return tmp_path / "place"


def run(capsys: pytest.CaptureFixture, *arguments: object) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a command."""
    with pytest.raises(SystemExit) as caught:
        cli.main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return caught.value.code, captured.out, captured.err


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def test_several_prompts_and_a_file_of_them(place: Path, tiny_cascade: Path, capsys) -> None:
    code, out, err = run(capsys, "generate", "slow piano", "--prompts", "../words.txt", "--seconds", 0.3, "--seed", 5, "--model", tiny_cascade, "--out", "songs", "--format", "flac", "--json", "--spectrogram")
    assert (code, err) == (0, "")
    made = json.loads(out)
    assert [(file["prompt"], file["seed"]) for file in made["files"]] == [("slow piano", 5), ("calm piano", 6), ("fast guitar", 7)]
    for file in made["files"]:
        sound, rate = soundfile.read(file["path"])
        assert sound.shape == (14_400, 2) and rate == 48_000 and soundfile.info(file["path"]).format == "FLAC"
        assert Path(file["spectrogram"]).read_bytes().startswith(b"\x89PNG")
    assert len(files(place)) == 6 and made["times_real_time"] > 0


def test_a_file_carries_what_made_it_and_makes_it_again(place: Path, tiny_cascade: Path, capsys) -> None:
    settings = ["--seconds", 0.3, "--model", tiny_cascade, "--negative", "noise", "--guidance", 2, "--steps", 3, "--codec-steps", 2]
    assert run(capsys, "generate", "slow piano", "fast", *settings, "--seed", 3, "--out", "a")[0] == 0
    second = next(path for path in Path("a").iterdir() if "fast" in path.name)
    code, out, _ = run(capsys, "info", second, "--json")
    recipe = json.loads(out)["made_by"]
    wanted = {"prompt": "fast", "seed": 4, "steps": 3, "codec_steps": 2, "guidance": 2.0, "negative": "noise"}
    assert {key: recipe[key] for key in wanted} == wanted and recipe["fingerprint"] == checkpoint.fingerprint(tiny_cascade)
    assert run(capsys, "generate", recipe["prompt"], *settings, "--seed", recipe["seed"], "--out", "b.wav")[0] == 0
    again, first = soundfile.read("b.wav")[0], soundfile.read(second)[0]
    assert np.abs(again - first).max() <= 1.01 / 2**15 and np.abs(first).max() > 0.01  # a step of 16 bits: rounding


def test_a_recording_is_varied_and_a_span_of_it_made_anew(place: Path, tiny_cascade: Path, capsys) -> None:
    common = ["slow piano", "--model", tiny_cascade]
    assert run(capsys, "generate", *common, "--init", "../recording.wav", "--strength", 0.5, "--out", "varied.wav")[0] == 0
    assert run(capsys, "generate", *common, "--inpaint", "../recording.wav", "--from", 0.1, "--to", 0.2, "--out", "filled.wav")[0] == 0
    before, filled = soundfile.read("../recording.wav")[0], soundfile.read("filled.wav")[0]
    assert soundfile.info("varied.wav").frames == len(filled) == LENGTH
    assert np.abs(filled[:4_000] - before[:4_000]).max() < 1e-4 and np.abs(filled[12_000:] - before[12_000:]).max() < 1e-4
    assert np.abs(filled[5_500:9_000] - before[5_500:9_000]).max() > 1e-3


def test_encode_and_decode_keep_the_length(place: Path, tiny_cascade: Path, capsys) -> None:
    code, out, _ = run(capsys, "encode", "../recording.wav", "--model", tiny_cascade, "--out", "latents", "--json")
    assert code == 0 and len(json.loads(out)["files"]) == 1
    (latents,) = Path("latents").iterdir()
    code, out, err = run(capsys, "decode", latents, "--model", tiny_cascade, "--out", "again.ogg")
    assert (code, err) == (0, "") and "again.ogg" in out
    assert soundfile.info("again.ogg").frames == LENGTH and soundfile.info("again.ogg").format == "OGG"


MODEL = "{model}"
WRONG = [
    (["generate", "--model", MODEL], "no prompt"),
    (["generate", "", "--model", MODEL], "empty"),
    (["generate", "a", " ", "--model", MODEL], "prompt 2"),
    (["generate", "--prompts", "none.txt"], "none.txt"),
    (["generate", "--prompts", "../blank.txt"], "no prompt"),
    (["generate", "--prompts", "../recording.wav"], "UTF-8"),
    *((["generate", "a", "--seconds", value, "--model", MODEL], "seconds") for value in ("0", "-1", "1e9", "nan", "inf")),
    (["generate", "a", "--seconds", "long"], "--seconds"),
    *((["generate", "a", "--steps", value, "--model", MODEL], "steps") for value in ("0", "-5", "1000000")),
    *((["generate", "a", "--batch", value, "--model", MODEL], "batch") for value in ("0", "-1", "100000000")),
    (["generate", "a", "--seed", "-1", "--model", MODEL], "seed"),
    (["generate", "a", "--guidance", "nan", "--model", MODEL], "guidance"),
    (["generate", "a", "--sampler", "dddim", "--model", MODEL], "ddim"),
    (["generate", "a", "--device", "cuda:99", "--model", MODEL], "this machine has cpu"),
    (["generate", "a", "--device", "banana", "--model", MODEL], "banana"),
    (["generate", "a", "--dtype", "int8", "--model", MODEL], "int8"),
    (["generate", "a", "--format", "mp4", "--model", MODEL], "mp4"),
    (["generate", "a", "--out", "song.aac", "--model", MODEL], "aac"),
    (["generate", "a", "b", "--out", "song.wav", "--model", MODEL], "one file"),
    (["generate", "a", "--out", "/proc/songs", "--model", MODEL], "/proc/songs"),
    (["generate", "a", "--out", "../words.txt", "--model", MODEL], "is a file"),
    (["generate", "a", "--out", "../words.txt/songs", "--model", MODEL], "words.txt"),
    (["generate", "a", "--model", "no-such-model"], "no such model folder"),
    (["generate", "a", "--model", "../words.txt"], "is a file"),
    (["generate", "a", "--model", ".."], "not a model folder"),
    (["generate", "a", "--init", "none.wav", "--model", MODEL], "none.wav"),
    (["generate", "a", "--init", "..", "--model", MODEL], ".."),
    (["generate", "a", "--init", "../empty.wav", "--model", MODEL], "empty.wav"),
    (["generate", "a", "--init", "../words.txt", "--model", MODEL], "words.txt"),
    (["generate", "a", "--strength", "0.5", "--model", MODEL], "init"),
    (["generate", "a", "--init", "../recording.wav", "--strength", "1.5", "--model", MODEL], "strength"),
    (["generate", "a", "--init", "../recording.wav", "--seconds", "9", "--model", MODEL], "0.417"),
    (["generate", "a", "--inpaint", "../recording.wav", "--model", MODEL], "from"),
    (["generate", "a", "--inpaint", "../recording.wav", "--from", "0.1", "--model", MODEL], "--to"),
    (["generate", "a", "--inpaint", "../recording.wav", "--from", "0.2", "--to", "0.1", "--model", MODEL], "from"),
    (["generate", "a", "--inpaint", "../recording.wav", "--from", "1", "--to", "2", "--model", MODEL], "outside"),
    (["encode", "none.wav", "--model", MODEL], "none.wav"),
    (["encode", "..", "--model", MODEL], ".."),
    (["encode", "../empty.wav", "--model", MODEL], "empty.wav"),
    (["encode", "--model", MODEL], "FILE"),
    (["decode", "none.safetensors", "--model", MODEL], "none.safetensors"),
    (["decode", "../recording.wav", "--model", MODEL], "recording.wav"),
]


@pytest.mark.parametrize(("arguments", "words"), WRONG, ids=lambda value: " ".join(value) if isinstance(value, list) else "")
def test_wrong_input_is_one_line_and_leaves_nothing(arguments: list[str], words: str, place: Path, tiny_cascade: Path, capsys) -> None:
    code, out, err = run(capsys, *(argument.replace(MODEL, str(tiny_cascade)) for argument in arguments))
    assert (code, out) == (2, ""), (out, err)
    assert err.startswith("mousai: ") and len(err.splitlines()) == 1 and words in err, err
    assert os.listdir(place) == []


@pytest.mark.parametrize("damage", ["cut", "missing", "shape", "format"])
def test_a_damaged_model_is_one_line_and_leaves_nothing(damage: str, place: Path, tiny_cascade: Path, capsys) -> None:
    folder = Path(shutil.copytree(tiny_cascade, place.parent / "damaged"))
    weights = folder / "model.safetensors"
    if damage == "cut":
        weights.write_bytes(weights.read_bytes()[:-1000])
    elif damage == "missing":
        weights.unlink()
    elif damage == "format":
        (folder / "config.yaml").write_text((folder / "config.yaml").read_text().replace("format: 1", "format: 9"))
    else:
        config, state = checkpoint.load_model(folder)
        config["generator"]["unet"]["modulation_features"] *= 2
        checkpoint.save_model(folder, config, state, "")
    code, out, err = run(capsys, "generate", "a", "--model", folder, "--seconds", 0.1)
    assert (code, out) == (2, "") and len(err.splitlines()) == 1 and "damaged" in err
    assert os.listdir(place) == []


def test_an_interrupted_run_keeps_what_is_finished_and_nothing_half_made(place: Path, tiny_cascade: Path) -> None:
    command = [sys.executable, "-m", "mousai", "generate", *[f"calm {i}" for i in range(400)], "--seconds", "0.5", "--model", str(tiny_cascade), "--out", "songs", "--batch", "1"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
    first = process.stdout.readline().strip()
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert err.splitlines()[-1] == "mousai: interrupted; what was finished is kept"
    made = files(place / "songs")
    assert 1 <= len(made) < 400 and Path(first).name in made
    assert all(name.endswith(".wav") and soundfile.info(place / "songs" / name).frames == 24_000 for name in made)
