"""`mousai evaluate seams` on short pieces of noise: where boundaries are taken from, what is written, and wrong input."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from mousai.audio import io
from mousai.cli import main as cli
from mousai.jobs.evaluate_seams import evaluate_seams

RATE, EVERY, SECONDS = 16000, 4.0, 30.0
SAID = {"first": 4.0, "every": EVERY, "count": 7, "overlap": 0.0}


def piece(path: Path, step_db: float, boundaries: object = SAID, seconds: float = SECONDS) -> Path:
    """Noise whose level steps by so much every 4 s, to and fro, and which says so."""
    audio = 0.1 * torch.randn(2, round(seconds * RATE), generator=torch.Generator().manual_seed(0))
    window = (torch.arange(audio.shape[-1]) / RATE / EVERY).floor()
    metadata = {"seed": 7} | ({} if boundaries is None else {"boundaries": boundaries})
    io.write(path, audio * 10 ** (step_db / 20 * (window % 2)), RATE, metadata=metadata)
    return path


def test_boundaries_come_from_the_piece(tmp_path) -> None:
    plain, stepped = piece(tmp_path / "plain.flac", 0.0), piece(tmp_path / "stepped.wav", 2.0)
    steps = []
    report = evaluate_seams([plain, stepped], tmp_path / "out", progress=lambda done, total: steps.append((done, total)))
    assert json.loads((tmp_path / "out/seams.json").read_text()) == report
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["seams.json", "seams.md"]
    first, second = report["files"]
    assert (first["file"], first["seconds"], first["every"], first["boundaries"]) == (str(plain), SECONDS, EVERY, 7)
    assert first["loudness"] < 3 and second["loudness"] > 10 and second["p"] < 0.05
    assert report["median"]["score"] == pytest.approx((first["score"] + second["score"]) / 2)
    text = (tmp_path / "out/seams.md").read_text()
    assert f"| stepped.wav | {second['score']:.2f} |" in text and "| median |" in text
    assert steps[-1] == (60, 60) and [done for done, _ in steps] == sorted(done for done, _ in steps)


def test_boundaries_said_hold_for_any_audio(tmp_path) -> None:
    silent, told = piece(tmp_path / "a.wav", 2.0, None), piece(tmp_path / "b.wav", 2.0, {**SAID, "first": 2.0})
    one, other = evaluate_seams([silent, told], tmp_path / "out", every=EVERY)["files"]
    assert one["loudness"] == other["loudness"] > 10 and one["overlap"] == 0
    aside = evaluate_seams([silent], tmp_path / "out", every=EVERY, first=6.0, overlap=0.4)["files"][0]
    assert aside["loudness"] < 1 and (aside["first"], aside["count"], aside["overlap"]) == (6.0, 6, 0.4)


def test_a_job_file_stands_for_the_piece_beside_it(tmp_path) -> None:
    piece(tmp_path / "a.b.flac", 2.0)
    (tmp_path / "a.b.job.json").write_text("{}")
    report = evaluate_seams([tmp_path / "a.b.job.json"], tmp_path / "out")
    assert report["files"][0]["file"] == str(tmp_path / "a.b.flac")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere.wav"], "nowhere.wav"),
        (["untold.wav"], "untold.wav: nothing in it says where windows meet; say it with --every"),
        (["one.wav"], "one.wav: the piece is of one window and has no boundary"),
        (["odd.wav"], "odd.wav: expected boundaries as first"),
        (["beyond.wav"], "beyond.wav: boundaries from 4 to 44 s do not lie in a piece of 6 s"),
        (["alone.job.json"], "alone.job.json: expected its piece beside it, as one of alone.wav, alone.flac"),
        (["untold.wav", "--every", "7"], "untold.wav: a piece of 6 s has no boundary at 7 s or later"),
        (["untold.wav", "--every", "5.5"], "untold.wav: no boundary has 1.55 s of the piece on both sides; it lasts 6 s"),
        (["untold.wav", "--every", "1"], "at least 1.25 s"),
        (["untold.wav", "--every", "0"], "above 0"),
        (["untold.wav", "--every", "nan"], "above 0"),
        (["untold.wav", "--overlap", "2"], "without it they have no meaning"),
        (["untold.wav", "--first", "2"], "without it they have no meaning"),
        (["noise.txt"], "noise.txt"),
        (["untold.wav", "--every", "3", "--out", "noise.txt"], "is a file"),
        ([], "FILE"),
    ],
)
def test_wrong_input_is_one_line_and_leaves_nothing(arguments, words, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    for name, boundaries in {"untold": None, "one": {**SAID, "count": 0}, "odd": {**SAID, "every": "x"}, "beyond": {**SAID, "count": 11}}.items():
        piece(tmp_path / f"{name}.wav", 0.0, boundaries, 6.0)
    (tmp_path / "noise.txt").write_text("no audio at all " * 100)
    (tmp_path / "alone.job.json").write_text("{}")
    before = sorted(tmp_path.iterdir())
    with pytest.raises(SystemExit) as caught:
        cli.main(["evaluate", "seams", *arguments, *([] if "--out" in arguments else ["--out", "out"])])
    captured = capsys.readouterr()
    assert caught.value.code == 2 and words in captured.err, captured.err
    assert [line for line in captured.err.splitlines() if line.startswith("mousai: ")] == captured.err.splitlines()[-1:]
    assert sorted(tmp_path.iterdir()) == before


def test_the_command_prints_its_table(tmp_path, capsys) -> None:
    arguments = ["evaluate", "seams", str(piece(tmp_path / "a.ogg", 0.0)), "--out", str(tmp_path / "out")]
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    assert not ended.value.code and "| a.ogg |" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        cli.main([*arguments, "--json"])
    assert json.loads(capsys.readouterr().out)["evaluates"] == "seams"
