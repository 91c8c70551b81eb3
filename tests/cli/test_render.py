"""`mousai render`, `extend` and `replay` from the command line, with a tiny cascade of random weights."""

from __future__ import annotations

import io as streams
import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from rich.console import Console

from mousai import checkpoint
from mousai.audio import io
from mousai.cli import main as cli, progress as cli_progress
from mousai.cli.progress import Bars, Lines, Speed
from mousai.jobs.render.job import Result
from mousai.jobs.render.plan import Target
from mousai.pictures.overview import Overview
from mousai.request import piece
from mousai.request.piece import Piece

RATE = 48_000
QUICK = ("--steps", 2, "--codec-steps", 1)
RECORDING = 60_001  # samples


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in, with recordings and other things beside it."""
    noise = np.random.default_rng(0).normal(0, 0.05, (RECORDING, 2))
    soundfile.write(tmp_path / "take.wav", noise, RATE)
    soundfile.write(tmp_path / "short.wav", noise[:20_001], RATE)
    (tmp_path / "empty.wav").write_bytes(b"")
    (tmp_path / "words.wav").write_text("no audio")
    (tmp_path / "words.txt").write_text("calm piano\n")
    (tmp_path / "folder.yaml").mkdir()
    (tmp_path / "place").mkdir()
    monkeypatch.chdir(tmp_path / "place")
    return tmp_path / "place"


@pytest.fixture
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """No pictures, which take longer than everything else, and loops of a second."""
    monkeypatch.setattr(Overview, "add", lambda *_: None)
    monkeypatch.setattr(Overview, "save", lambda _, path: Path(path).write_bytes(b"\x89PNG"))


def run(capsys: pytest.CaptureFixture, *arguments: object) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a command."""
    with pytest.raises(SystemExit) as caught:
        cli.main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return caught.value.code, captured.out, captured.err


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


# -- what cannot be ----------------------------------------------------------------------------------------------------

A = "prompt: a\nseconds: 20\n"
SECONDS = "seconds: expected a number from 1 to 86400 s, came"
JOBS = {  # what stands in the file, and what is said of it
    "prompt: a\nseconds: 20\ntitel: x\n": ["unknown key 'titel': did you mean 'title'?"],
    "sections: [{promt: a, seconds: 20}]": ["section 1: unknown key 'promt': did you mean 'prompt'?"],
    "pieces:\n- {prompt: [a], seconds: x, title: 4, seed: 1.5, loop: 3, format: mp4}": [
        "piece 1: prompt: expected one value, came a list", f"piece 1: {SECONDS} 'x'", "piece 1: title: expected text, came 4",
        "piece 1: seed: expected a whole number from 0 to 4294967295, came 1.5", "piece 1: loop: expected true or false, came 3",
        "piece 1: format: expected wav, flac, ogg, opus, mp3; came 'mp4', did you mean 'mp3'?",
    ],
    "prompt: a\nseconds: 0\n": [f"{SECONDS} 0"],
    "prompt: a\nseconds: -3\n": [f"{SECONDS} -3"],
    "prompt: a\nseconds: 1.0e+9\n": [f"{SECONDS} 1e+09"],
    "prompt: a\nseconds: .nan\n": [f"{SECONDS} nan"],
    "prompt: a\nseconds: .inf\n": [f"{SECONDS} inf"],
    "prompt: a\nminutes: 1441\n": ["minutes: expected a number from 0.0166667 to 1440 min, came 1441"],
    "prompt: a\nminutes: 1\nseconds: 60\n": ["seconds and minutes: give one of the two"],
    "prompt: a\n": ["seconds: is missing; give seconds or minutes"],
    "sections: [{prompt: a, seconds: 50000}, {prompt: b, seconds: 50000}]": ["sections: last 100000 s together, the limit is 86400 s (24 h)"],
    "sections: [{prompt: a, seconds: 20}, {prompt: b, seconds: 20, transition: 60}]": [
        "section 2: transition: 60 s reach beyond the two sections, 40 s fit at most"
    ],
    f"{A}extend: none.wav\n": ["extend: no such file: {here}/none.wav"],
    f"{A}extend: words.wav\n": ["extend: {here}/words.wav: not audio that libsndfile {sndfile} reads (format not recognised)"],
    f"{A}extend: empty.wav\n": ["extend: {here}/empty.wav is empty (0 bytes)"],
    f"{A}extend: short.wav\n": ["extend: {here}/short.wav lasts 0.417 s, a piece goes on from 1 s or more"],
    f"{A}extend: take.wav\nloop: true\n": ["extend and loop: a recording's end cannot go on at its beginning; leave one of the two away"],
    f"{A}loop: true\nwindow: 15\n": ["window: a loop of 20 s has windows of at most 13.3333 s, two thirds of it; came 15 s"],
    f"{A}guidance: 1\nnegative: b\n": ["negative: works through guidance, and guidance 1 is none; raise it, or leave the negative prompt away"],
    f"{A}window: 10\noverlap: 6\n": ["overlap: expected at most half of the window, 5 s, came 6"],
    f"{A}method: jont\n": ["method: expected joint, continuation; came 'jont', did you mean 'joint'?"],
    f"{A}title: \"a\\0b\"\n": ["title: expected a line of text, came 'a\\x00b'"],
    f"{A}title: ' '\n": ["title: is empty; leave it away, and the piece is called after its prompt"],
    "pieces: [{prompt: a, seconds: 20, title: T}, {prompt: b, seconds: 20, title: t}]": [
        "piece 2 \"t\": title: gives the file name 't', as that of piece 1 \"T\" does; call one of them otherwise"
    ],
    "prompt: ''\nseconds: 20\n": ['prompt: is empty; say what to play, for example "slow piano, melancholic"'],
    "prompt: a\nseconds: 20\nseconds: 30\n": ["line 3: the key 'seconds' comes twice"],
    "pieces: [\n  - {": ["line 2: expected the node content, but found '-'"],
    " \n": ["is empty; expected a piece with prompt and seconds, or several"],
    "pieces: []": ["pieces: is empty; expected a list of pieces"],
    "just words": ["expected a mapping with pieces, or a piece with prompt or sections, came 'just words'"],
}  # fmt: skip
LINES = {  # the same of a file with a piece a line
    '{"prompt": "a", "seconds": 20}\n{"prompt"': ["line 2: column 10: no JSON: Expecting ':' delimiter"],
    '{"prompt": "a", "prompt": "b", "seconds": 20}': ["line 1: the key 'prompt' comes twice"],
    '[1]\n{"prompt": "a", "seconds": NaN}\n\n{"titel": "x", "prompt": "a", "seconds": 20}': [
        "line 1: expected a mapping with prompt and seconds, or sections, came a list", f"line 2: {SECONDS} nan",
        "line 4: unknown key 'titel': did you mean 'title'?",
    ],
    "": ["is empty; expected a piece with prompt and seconds, or several"],
}  # fmt: skip
P = ("render", "slow piano", "--seconds", "20")
E = ("extend", "../take.wav", "--seconds", "20")
COMMANDS = [  # what is typed and, without "mousai: ", what is said
    (("render",), 'nothing to render: say what to play, for example "slow piano, melancholic" --minutes 10, or name a job file'),
    (("render", "none.yaml"), "no such file: none.yaml"),
    (("render", "../folder.yaml"), "../folder.yaml: is a folder; a file of pieces was expected"),
    (("render", "slow piano"), "how long: give --minutes, --seconds or --bars, one of the three"),
    *((("render", path, *more), f"{path}: expected a prompt, or a job file, whose name ends in .yaml, .yml, .json, .jsonl; to go on from a recording use mousai extend") for path, more in (("../words.txt", ()), ("../words.wav", ("--seconds", "20")), ("../", ("--minutes", "1")))),
    (("render", "x" * 5000), "how long: give --minutes, --seconds or --bars, one of the three"),
    ((*P, "--minutes", "1"), "how long: give --minutes, --seconds or --bars, one of the three"),
    (("render", "../good.yaml", "--minutes", "1"), "--minutes, --seconds and --bars are for a prompt; a job file says how long its pieces are"),
    (("render", "../good.yaml", "--steps", "0"), "command line: steps: expected a whole number from 1 to 5000, came 0"),
    (("render", "", "--seconds", "20"), 'prompt: is empty; say what to play, for example "slow piano, melancholic"'),
    (("render", "x" * 5000, "--seconds", "20"), "prompt: has 5002 bytes, the limit is 4000"),
    (("render", "a", "--minutes", "0"), "minutes: expected a number from 0.0166667 to 1440 min, came 0"),
    *((("render", "a", "--seconds", value), f"{SECONDS} {value}") for value in ("0", "-1", "1e+09", "nan", "inf", "0.5")),
    (("render", "a", "--seconds", "long"), "Invalid value for '--seconds' / '-s': Input should be a valid number, unable to parse string as a number"),
    ((*P, "--method", "jont"), "method: expected joint, continuation; came 'jont', did you mean 'joint'?"),
    ((*P, "--format", "mp4"), "unknown format 'mp4': expected wav, flac, ogg, opus, mp3"),
    ((*P, "--out", "song.m4a"), "song.m4a: .m4a cannot be written; use wav, flac, ogg, opus, mp3"),
    ((*P, "--out", "../words.txt"), "../words.txt is a file; name a folder, or a file that ends in .wav, .flac, .ogg, .opus, .mp3"),
    ((*P, "--out", "../words.txt/x"), "cannot write to ../words.txt/x: Not a directory; name another place with --out"),
    ((*P, "--out", "/proc/x"), "cannot write to /proc/x: No such file or directory; name another place with --out"),
    ((*P, "--out", f"{'x' * 250}.wav"), f"{'x' * 250}.wav: the name is too long; 246 bytes before its suffix fit, it has 250"),
    (("render", "../two.yaml", "--out", "x.flac"), "x.flac is one file, there are 2 to be written; name a folder"),
    ((*P, "--loop", "--window", "15"), "window: a loop of 20 s has windows of at most 13.3333 s, two thirds of it; came 15 s"),
    ((*P, "--window", "10", "--overlap", "6"), "overlap: expected at most half of the window, 5 s, came 6"),
    *(((*P, "--loudness", value), f"loudness: expected a number from -70 to 0 LUFS, came {value}") for value in ("nan", "inf", "-inf", "5", "-100")),
    ((*P, "--loudness", "loud"), "--loudness: expected LUFS such as -14, or none; came 'loud'"),
    *(((*P, "--true-peak", value), f"true_peak: expected a number from -60 to 0 dBTP, came {value}") for value in ("1", "nan")),
    ((*P, "--guidance", "1", "--negative", "b"), "negative: works through guidance, and guidance 1 is none; raise it, or leave the negative prompt away"),
    ((*P, "--seed", "-1"), "seed: expected a whole number from 0 to 4294967295, came -1"),
    ((*P, "--device", "banana"), "unknown device 'banana': this machine has cpu"),
    ((*P, "--dtype", "int8"), "unknown dtype 'int8': expected auto, float32, bfloat16, float16"),
    ((*P, "--model", "none"), "no such model folder: none; the shipped models are starter, starter_joint, starter_flow, starter_symbolic"),
    ((*P, "--model", ".."), ".. is not a model folder: it has no config.yaml"),
    ((*P, "--model", "../words.txt"), "../words.txt is a file; a model is a folder with config.yaml and model.safetensors"),
    (("render", "--status", "none"), "no such folder: none; --status takes the folder that pieces are rendered to"),
    (("render", "--status", ".."), "..: nothing was rendered here; --status takes the folder that pieces are rendered to"),
    (("extend", "none.wav", "--seconds", "20"), "no such audio file: none.wav"),
    (("extend", "..", "--seconds", "20"), ".. is a folder, expected an audio file"),
    (("extend", "../take.wav"), "Missing option '--seconds' / '-s'."),
    (("extend", "../short.wav", "--seconds", "20", "--prompt", "a"), "short-extended: extend: {here}/short.wav lasts 0.417 s, a piece goes on from 1 s or more"),
    (("extend", "../take.wav", "--seconds", "nan", "--prompt", "a"), f"{SECONDS} nan"),
    (("extend", "../take.wav", "--seconds", "86400", "--prompt", "a"), "take-extended: {here}/take.wav and what follows last 86401 s, the limit is 86400 s"),
    ((*E, "--guidance", "3"), "guidance: ../take.wav carries no prompt that could be followed; give one with --prompt"),
    ((*E, "--prompt", "a", "--loudness", "inf"), "loudness: expected a number from -70 to 0 LUFS, came inf"),
    (("replay", "none.flac"), "no such audio file: none.flac"),
    (("replay", "../words.wav"), "../words.wav: not audio that libsndfile {sndfile} reads (format not recognised)"),
    (("replay", "../take.wav"), "../take.wav: has no recipe in its metadata; only what mousai made can be replayed"),
    (("replay", "../made.flac"), "../made.flac: was made with the model 'tiny', fingerprint ff; give its folder with --model"),
    (("replay", "../made.flac", "--model", "none"), "no such model folder: none; the shipped models are starter, starter_joint, starter_flow, starter_symbolic"),
    (("replay", "../made.flac", "--model", "..", "--recording", "../take.wav"), "../made.flac: was made from no recording; leave --recording away"),
]  # fmt: skip


def refused(place: Path, model: Path, capsys, monkeypatch, arguments: tuple[str, ...]) -> list[str]:
    """What is said of what cannot be; nothing is written and no weights are read."""
    monkeypatch.setattr(checkpoint, "load_model", lambda *_: pytest.fail("weights were read"))
    model_needed = arguments[0] != "replay" and "--model" not in arguments and "--status" not in arguments
    code, out, err = run(capsys, *arguments, *(("--model", model) if model_needed else ()))
    assert (code, out, os.listdir(place)) == (2, "", [])
    assert all(line.startswith("mousai: ") for line in err.splitlines()), err
    return [line.removeprefix("mousai: ") for line in err.splitlines()]


@pytest.mark.parametrize(("name", "text", "lines"), [
    *(("jobs.yaml", text, lines) for text, lines in JOBS.items()), *(("jobs.jsonl", text, lines) for text, lines in LINES.items())
])  # fmt: skip
def test_a_job_file_that_cannot_be_is_a_line_for_each_thing(name, text, lines, place, tiny_cascade, capsys, monkeypatch) -> None:
    job = place.parent / name
    job.write_text(text)
    assert refused(place, tiny_cascade, capsys, monkeypatch, ("render", str(job))) == [f"{job}: {said(line, place)}" for line in lines]


def said(line: str, place: Path) -> str:
    words = {"{here}": str(place.parent), "{sndfile}": soundfile.__libsndfile_version__}
    return re.sub(r"\{\w+\}", lambda word: words[word.group()], line)


@pytest.mark.parametrize(("arguments", "line"), COMMANDS, ids=lambda value: " ".join(value)[:60] if isinstance(value, tuple) else "")
def test_a_command_that_cannot_be_is_one_line(arguments, line, place, tiny_cascade, capsys, monkeypatch) -> None:
    (place.parent / "good.yaml").write_text(A)
    (place.parent / "two.yaml").write_text("pieces: [{prompt: a, seconds: 20}, {prompt: b, seconds: 20}]")
    recipe = {"prompt": "a", "model": "tiny", "fingerprint": "ff", "seconds": 1}
    with io.AudioWriter(place.parent / "made.flac", metadata=recipe) as writer:
        writer.write(torch.zeros(2, 100))
    assert refused(place, tiny_cascade, capsys, monkeypatch, arguments) == [said(line, place)]


def test_what_is_there_is_not_overwritten(place, tiny_cascade, capsys, quickly) -> None:
    Path("calm-0.flac").write_text("mine")
    code, out, err = run(capsys, "render", "calm", "--seconds", 1, "--model", tiny_cascade)
    assert (code, out, err) == (2, "", "mousai: calm-0.flac is there already; move it, or name another place with --out\n")
    assert Path("calm-0.flac").read_text() == "mine" and os.listdir(place) == ["calm-0.flac"]


# -- what is made ------------------------------------------------------------------------------------------------------

MANY = """
defaults: {steps: 2, codec_steps: 1, window: 1.5, format: wav}
pieces:
- {prompt: calm, seconds: 1}
- {prompt: calm, seconds: 1.0001, seed: 3}
- title: Night train
  sections:
  - {prompt: slow piano, seconds: 1.2345}
  - {prompt: fast, minutes: 0.02, transition: 0.5}
  - {prompt: dance, seconds: 1}
- {prompt: fast, seconds: 2.3333, loop: true}
- {prompt: "", seconds: 1.5, guidance: 1, extend: take.wav}
"""
LENGTHS = {  # samples
    "calm-0": 48_000, "calm-3": 48_005, "night-train": round(3.4345 * RATE), "fast-0": round(2.3333 * RATE), "clip-0": RECORDING + 72_000,
}  # fmt: skip


@pytest.fixture
def many(place: Path, tiny_cascade: Path, capsys, quickly) -> tuple[Path, str, str]:
    """The folder of the pieces of a job file, and what was said."""
    (place.parent / "jobs.yaml").write_text(MANY)
    code, out, err = run(capsys, "render", "../jobs.yaml", "--model", tiny_cascade, "--out", "pieces")
    assert code == 0
    return place / "pieces", out, err


def test_a_file_of_pieces_each_of_its_length_with_chapters_where_its_sections_begin(many) -> None:
    folder, _, _ = many
    assert {path.stem: soundfile.info(path).frames for path in folder.glob("*.wav")} == LENGTHS
    for name, length in LENGTHS.items():
        job = json.loads((folder / f"{name}.job.json").read_text())
        assert (job["num_samples"], job["sample_rate"], job["file"]) == (length, RATE, f"{name}.wav")
        if name != "clip-0":  # a recording keeps its level
            assert job["loudness"]["after"]["integrated_lufs"] == pytest.approx(-14, abs=0.5)
    chapters = [(chapter.sample, chapter.title) for chapter in io.info(folder / "night-train.wav").chapters]
    assert chapters == [(0, "slow piano"), (round(1.2345 * RATE), "fast"), (round(2.4345 * RATE), "dance")]
    assert io.read_metadata(folder / "night-train.wav")["piece"]["title"] == "Night train"
    taken, whole = soundfile.read(folder.parent.parent / "take.wav")[0], soundfile.read(folder / "clip-0.wav")[0]
    assert np.array_equal(whole[: RECORDING - 1440], taken[: RECORDING - 1440]) and np.abs(whole[RECORDING:]).max() > 0.01


def test_what_is_said_of_many_pieces(many, tiny_cascade, capsys) -> None:
    folder, out, err = many
    *made, last = out.splitlines()
    assert [line.split("  ")[0] for line in made] == [f"pieces/{name}.wav" for name in LENGTHS]
    assert all(re.fullmatch(r"pieces/\S+\.wav  0:0\d(, 0:0[12] of it new,)? in \d:\d\d, [\d.]+x real time", line) for line in made)
    assert re.fullmatch(r"5 made; 0:09 in \d:\d\d, [\d.]+x real time", last)
    lines = err.splitlines()
    assert lines[0] == "mousai: 5 pieces to make; each plays while it grows: pieces/NAME.render/audio.wav"
    assert "mousai: night-train: 0:03 to make, piece 3 of 5" in lines and all(line.startswith("mousai: ") for line in lines)
    (folder / "calm-3.wav").unlink()
    (folder / "calm-3.png").unlink()
    (folder / "calm-3.job.json").unlink()
    code, out, err = run(capsys, "render", "../jobs.yaml", "--model", tiny_cascade, "--out", "pieces")
    assert code == 0 and re.match(r"pieces/calm-3\.wav  0:01 in .*\n1 made, 4 there already; ", out)
    assert "mousai: 1 pieces to make, 4 there already; each plays" in err and err.count("already") == 1
    code, out, err = run(capsys, "render", "../jobs.yaml", "--model", tiny_cascade, "--out", "pieces")
    assert (code, out, err) == (0, "5 there already\n", "")
    code, out, err = run(capsys, "render", "--status", "pieces")
    assert (code, err) == (0, "") and out.splitlines()[-1] == "5 of 5 done" and "done     100 %      0:03  night-train  night-train.wav" in out
    again = ("../jobs.yaml", "--model", tiny_cascade, "--out", "pieces")
    for arguments in (("--status", "pieces"), again, (*again, "--dry-run")):
        assert json.loads(run(capsys, "render", *arguments, "--json")[1])


def test_a_piece_is_the_same_until_shortly_before_another_section(place, tiny_cascade, capsys, quickly) -> None:
    made = {}
    for name, last in (("one", "fast"), ("other", "dance")):
        text = {"sections": [{"prompt": "slow piano", "seconds": 3}, {"prompt": last, "seconds": 1, "transition": 0.5}], "method": "continuation", "window": 1.0}
        Path(f"{name}.json").write_text(json.dumps(text))
        assert run(capsys, "render", f"{name}.json", "--out", f"{name}.wav", *QUICK, "--model", tiny_cascade, "--loudness", "none")[0] == 0
        made[name] = soundfile.read(f"{name}.wav")[0]
    off = np.abs(made["one"] - made["other"]).max(1)
    first = int(off.nonzero()[0][0]) / RATE
    assert 1 < first < 3 and off[int(3.25 * RATE) :].max() > 1e-4  # a window, and what decoding hears, before the transition
    assert json.loads(Path("one.job.json").read_text())["loudness"]["gain"] == 1.0


def test_a_prompt_and_the_same_again(place, tiny_cascade, capsys, quickly) -> None:
    command = ("render", "slow piano", "--minutes", 0.03, *QUICK, "--model", tiny_cascade, "--loop", "--window", 1, "--out", "songs/night.flac", "--true-peak", -3)
    code, out, err = run(capsys, *command)
    assert code == 0 and re.fullmatch(r"songs/night\.flac  0:02 in .*x real time\n", out)
    assert err == "mousai: night: 0:02 to make; plays while it grows: songs/night.render/audio.wav\n"
    assert files(place) == ["night.flac", "night.job.json", "night.png"] and soundfile.info("songs/night.flac").frames == 86_400
    made = io.read_metadata("songs/night.flac")
    assert made["piece"]["loop"] and made["fingerprint"] == checkpoint.fingerprint(tiny_cascade)
    assert np.abs(soundfile.read("songs/night.flac")[0]).max() <= 10 ** (-3 / 20)
    assert run(capsys, *command) == (0, "", "mousai: songs/night.flac is there already\n")
    code, out, err = run(capsys, *command, "--seed", 1)
    assert code == 2 and err.startswith("mousai: songs/night.flac is there already, made with ") and "seed 0" in err
    code, out, err = run(capsys, "replay", "songs/night.flac", "--model", tiny_cascade)
    assert (code, out) == (0, "songs/night-replay.flac: the same samples\n") and "night-replay.flac  0:02 in" in err
    code, out, err = run(capsys, "replay", "songs/night.flac", "--model", tiny_cascade, "--dtype", "bf16", "--json")
    found = json.loads(out)
    assert (code, found["same"], found["path"]) == (0, False, "songs/night-replay-2.flac") and found["largest_difference"] > 0
    assert err.startswith("mousai: night.flac was made with another precision: float32, here it is bfloat16\n")


def test_a_recording_is_extended_by_its_own_prompt_and_again(place, tiny_cascade, capsys, quickly) -> None:
    common = ("--seconds", 1, *QUICK, "--model", tiny_cascade)
    sound = soundfile.read("../take.wav")[0] * 0.9
    soundfile.write("../take.wav", sound, RATE, "PCM_24")
    code, out, err = run(capsys, "extend", "../take.wav", *common)
    assert code == 0 and out.startswith("take-extended.flac  0:02, 0:01 of it new, in ")
    assert err.startswith("mousai: ../take.wav carries no prompt, it goes on without one; --prompt says what to play\nmousai: take-extended: 0:02 to make")
    assert io.read_metadata("take-extended.flac")["piece"]["guidance"] == 1
    assert run(capsys, "extend", "../take.wav", *common)[:2] == (0, "")
    before, after = (soundfile.read(name)[0][: RECORDING - 1440] for name in ("../take.wav", "take-extended.flac"))
    assert soundfile.info("take-extended.flac").subtype == "PCM_24" and np.array_equal(before, after)
    soundfile.write("../take.wav", sound[::-1], RATE)
    code, out, err = run(capsys, "extend", "../take.wav", *common)
    assert (code, out) == (2, "") and err.endswith("take-extended.flac is there already, made with another take.wav; move it, or name another place with --out\n")
    assert run(capsys, "extend", "take-extended.flac", *common, "--prompt", "calm", "--out", "more.wav")[0] == 0
    code, out, err = run(capsys, "extend", "more.wav", *common, "--loudness", -20)
    assert code == 0 and err.startswith("mousai: more.wav ends with 'calm', it goes on with that\n")
    made = io.read_metadata("more-extended.flac")["piece"]
    assert (made["sections"][0]["prompt"], made["guidance"], made["loudness"]) == ("calm", 3.0, -20)
    assert soundfile.info("more-extended.flac").frames == RECORDING + 3 * RATE
    assert [round(chapter.sample / RATE, 3) for chapter in io.info("more-extended.flac").chapters] == [0, round(RECORDING / RATE + 2, 3)]


# -- how it is told ----------------------------------------------------------------------------------------------------


class Clock:
    """A clock that goes on by hand."""

    now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def hands(monkeypatch) -> Clock:
    monkeypatch.setattr(cli_progress, "time", found := Clock())
    return found


def targets(*seconds: float) -> list[Target]:
    pieces = [Piece.from_dict({"prompt": "a", "seconds": each, "seed": seed}) for seed, each in enumerate(seconds)]
    return [Target(each, Path("songs"), each.name, "flac") for each in pieces]


def result(target: Target, state: str, **more) -> Result:
    return Result(target.name, state, target.file, target.piece.seconds, **more)


def test_what_an_earlier_run_did_is_no_speed_of_this_one(hands) -> None:
    speed = Speed(100.0)
    assert speed.at(0.5) == (0.0, None) and speed.in_words(0.5) == ""
    hands.now += 1
    assert speed.in_words(0.6) == ""  # too early to say
    hands.now += 9
    assert speed.at(0.7) == (pytest.approx(2.0), pytest.approx(15.0))
    assert speed.in_words(0.7) == "2x real time, 0:15 left" and speed.in_words(1.0) == "5x real time"


def test_lines_of_a_log(hands, monkeypatch) -> None:
    said, made = streams.StringIO(), streams.StringIO()
    one, other, third = targets(600, 30, 10)
    with Lines(said, made) as lines:
        lines.plans([one, other, third])
        lines.ends(result(third, "there"))
        lines.begins(one, 1, 2)
        for share in (0.0, 0.1, 0.5):
            lines.moves(one, share, "rendering")
            hands.now += 40
        lines.moves(one, 1.0, "writing the file")
        hands.now += 61
        lines.moves(one, 1.0, "writing the file")
        lines.ends(result(one, "done", took=150.0))
        monkeypatch.setenv("WORLD_SIZE", "2")
        lines.ends(result(other, "failed", text="no room"))
    assert said.getvalue().splitlines() == [
        "mousai: 2 pieces to make, 1 there already; each plays while it grows: songs/NAME.render/audio.wav",
        "mousai: a-0: 10:00 to make, piece 1 of 2", "mousai: a-0: 50 %, 3.8x real time, 1:20 left",
        "mousai: a-0: 100 %, writing the file, 3.3x real time", "mousai: a-1 failed: no room",
    ]  # fmt: skip
    assert made.getvalue() == "songs/a-0.flac  10:00 in 2:30, 4x real time\n"


def test_lines_of_one_of_several_processes_have_its_number(monkeypatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    said = streams.StringIO()
    (target,) = targets(10)
    lines = Lines(said, None)
    lines.plans([target])
    lines.says("audio.wav is damaged")
    for state in ("stopped", "there", "done"):
        lines.ends(result(target, state, took=5.0))
    assert said.getvalue().splitlines() == [
        "mousai: [1] audio.wav is damaged", "mousai: [1] a-0: stopped and saved, the same command goes on",
        "mousai: [1] songs/a-0.flac is there already", "mousai: [1] songs/a-0.flac  0:10 in 0:05, 2x real time",
    ]  # fmt: skip


def test_bars_of_a_terminal(hands) -> None:
    screen, made = streams.StringIO(), streams.StringIO()
    one, other = targets(30, 10)
    with Bars(Console(file=screen, force_terminal=True, width=100), made) as bars:
        bars.plans([one, other])
        bars.begins(one, 1, 2)
        bars.moves(one, 0.0, "rendering")
        hands.now += 10
        bars.moves(one, 0.5, "rendering")
        job, alone = (next(task for task in bars.progress.tasks if task.id == each) for each in (bars.job, bars.piece))
        assert (job.total, job.completed, job.fields["words"]) == (40, 15, "1.5x real time, 0:17 left")
        assert (alone.completed, alone.fields["words"], alone.description) == (0.5, "1.5x real time, 0:10 left", "a-0")
        bars.moves(one, 1.0, "drawing the picture")
        assert alone.description == "a-0: drawing the picture" and alone.fields["words"] == "3x real time"
        bars.ends(result(one, "done", took=10.0))
        bars.ends(result(other, "failed", text="[red]no room"))
        assert job.completed == 30 and len(bars.progress.tasks) == 1
    assert made.getvalue() == "songs/a-0.flac  0:30 in 0:10, 3x real time\n"
    assert "mousai: a-1 failed: [red]no room" in screen.getvalue() and "songs/NAME.render/audio.wav" in screen.getvalue()


def test_a_clips_steps_have_a_bar() -> None:
    with Bars(Console(file=streams.StringIO(), force_terminal=True, width=100), None) as bars:
        for done in (1, 2):
            bars.steps(done, 4)
        (task,) = bars.progress.tasks
        assert (task.completed, task.total) == (2, 4)
