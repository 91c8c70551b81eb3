"""`mousai generate`: files with their recipes, names, what is said, interruptions, wrong input."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mousai import checkpoint
from mousai.audio import io
from mousai.audio.loudness import measure
from mousai.cli import main as cli
from mousai.jobs import generate as job, places
from mousai.jobs.generate import generate
from mousai.pipelines.cascade import load
from mousai.request.clip import Request

QUICK = {"steps": 2, "codec_steps": 2}


@pytest.fixture(scope="module")
def model(tiny_cascade: Path):
    return load(tiny_cascade, device="cpu")


def run(capsys, *arguments: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a command, run in this process."""
    with pytest.raises(SystemExit) as caught:
        cli.main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return caught.value.code or 0, captured.out, captured.err


def test_a_file_for_each_prompt_with_its_recipe_inside(tiny_cascade, tmp_path, model):
    request = Request(["Slow piano!", "calm"], 0.3, seed=8, negative="noise", **QUICK)
    heard = []
    made = list(generate(request, tiny_cascade, tmp_path / "new" / "songs", "flac", spectrogram=True, progress=lambda *count: heard.append(count)))
    assert sorted(os.listdir(tmp_path / "new" / "songs")) == ["calm-9.flac", "calm-9.png", "slow-piano-8.flac", "slow-piano-8.png"]
    assert [clip.path.name for clip in made] == ["slow-piano-8.flac", "calm-9.flac"] and heard[-1] == (8, 8)
    for index, clip in enumerate(made):
        recipe = io.read_metadata(clip.path)
        assert recipe == clip.recipe == model.recipe_of(request, index, 0.3) | {"batch": 2, "place": index, "read_beside": [request.prompts[1 - index]]}
        assert (recipe["prompt"], recipe["seed"], recipe["negative"], recipe["steps"]) == (request.prompts[index], 8 + index, "noise", 2)
        assert clip.spectrogram.read_bytes().startswith(b"\x89PNG") and clip.num_samples == 14400 and clip.took > 0
        again = model.generate(recipe["prompt"], recipe["seconds"], recipe["seed"], negative="noise", **QUICK)[0]
        torch.testing.assert_close(io.read(clip.path), again * clip.scale, atol=2**-15, rtol=0)


@pytest.mark.parametrize("format", ["wav", "flac", "ogg", "opus", "mp3"])
def test_formats(format, tiny_cascade, tmp_path):
    (made,) = generate(Request("calm", 0.2, **QUICK), tiny_cascade, tmp_path / f"x.{format}")
    found = io.info(made.path)
    assert made.path == tmp_path / f"x.{format}" and found.sample_rate == 48000 and found.channels == 2 and found.num_samples == 9600
    assert io.read_metadata(made.path)["prompt"] == "calm"


def test_a_clip_is_as_loud_as_is_asked_for(tiny_cascade, tmp_path, caplog):
    (made,) = generate(Request("calm", 2.0, seed=2**32 - 1, loudness=-20, **QUICK), tiny_cascade, tmp_path)
    found = measure([io.read(made.path)], 48_000, 2)
    assert abs(found.integrated_lufs + 20) < 0.2 and io.read_metadata(made.path)["loudness"] == -20 and not caplog.records
    list(generate(Request(["calm", "fast"], 0.1, seed=2**32 - 1, **QUICK), tiny_cascade, tmp_path))
    assert caplog.messages == ["seeds go on from 0 after 4294967295: 1 clips have those from 0 on"]


def test_nothing_is_overwritten(tiny_cascade, tmp_path):
    (tmp_path / "calm-0.wav").write_text("mine")
    names = [next(iter(generate(Request("calm", 0.1, **QUICK), tiny_cascade, tmp_path))).path.name for _ in range(2)]
    names += [next(iter(generate(Request("calm", 0.1, **QUICK), tiny_cascade, tmp_path / "calm-0.wav"))).path.name]
    assert names == ["calm-0-2.wav", "calm-0-3.wav", "calm-0-4.wav"] and (tmp_path / "calm-0.wav").read_text() == "mine"


def test_two_at_once_never_lose_a_clip(tiny_cascade, tmp_path, monkeypatch):
    """Another process takes the name between the look for a free one and the end of the writing."""

    def contested(folder, name, format, beside=()):
        path = places.free(folder, name, format, beside)
        if path.name == "calm-0.wav":
            path.write_text("another's")
        return path

    monkeypatch.setattr(job, "free", contested)
    (made,) = generate(Request("calm", 0.1, **QUICK), tiny_cascade, tmp_path)
    assert made.path.name == "calm-0-2.wav" and (tmp_path / "calm-0.wav").read_text() == "another's"
    assert io.read_metadata(made.path)["prompt"] == "calm"


def test_a_loud_clip_is_scaled_and_says_so(tiny_cascade, tmp_path, monkeypatch, model, caplog):
    request = Request("calm", 0.2, **QUICK)
    monkeypatch.setattr("mousai.pipelines.cascade.Cascade.clips", lambda self, *request: (clip for clip in [torch.full((1, 2, 9600), 2.0)]))
    (made,) = generate(request, tiny_cascade, tmp_path)
    assert made.peak == 2.0 and made.scale == 0.5 and io.read(made.path).max() <= 1 and "above full scale" in caplog.text


def test_what_the_command_says(tiny_cascade, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "prompts.txt").write_text("calm\n# not this\nfast\n")
    code, out, err = run(capsys, "generate", "slow piano", "--prompts", "prompts.txt", "-s", "0.2", "--seed", "3", "-m", tiny_cascade, "--steps", "1", "--codec-steps", "1")
    lines = out.splitlines()
    assert code == 0 and lines[:3] == ["slow-piano-3.wav", "calm-4.wav", "fast-5.wav"] and len(lines) == 4 and err == ""
    assert lines[3].startswith("made 0.6 s in ") and "x real time; " in lines[3]
    assert all(Path(line).is_file() for line in lines[:3])


def test_the_summary_says_key_metre_and_tempo():
    music, other = {"key": "F minor", "metre": "3/4", "bpm": 66.0}, {"bpm": 90.5}
    rows = [{"path": f"out/{name}.wav", **said} for name, said in (("a", music), ("b", music), ("c", other))]
    summary = {"seconds": 20.0, "took": 10.0, "times_real_time": 2.0, "wall": 11.0}
    assert job.in_words(summary | {"files": rows[:2]}) == "made 20.0 s in 10.0 s, 2x real time; 11.0 s in all; in F minor, 3/4, 66 bpm"
    assert job.in_words(summary | {"files": rows[1:]}).splitlines()[:-1] == ["b.wav: F minor, 3/4, 66 bpm", "c.wav: 90.5 bpm"]
    assert job.in_words(summary | {"files": [{"path": "a.wav"}]}).endswith("s in all")


def test_json_is_all_that_stands_on_stdout(tiny_cascade, tmp_path, capsys):
    code, out, err = run(capsys, "generate", "calm", "-s", "0.2", "-m", tiny_cascade, "-o", tmp_path / "a.flac", "--spectrogram", "--json", "--steps", "1", "--interval", "0.1", "0.9")
    said = json.loads(out)
    assert code == 0 and err == "" and said["wanted"] == 1 and said["seconds"] == 0.2
    (file,) = said["files"]
    assert file["path"] == str(tmp_path / "a.flac") and file["spectrogram"] == str(tmp_path / "a.png") and file["scale"] == 1.0
    assert file["interval"] == [0.1, 0.9] and file["fingerprint"] == checkpoint.fingerprint(tiny_cascade) and file["num_samples"] == 9600
    assert said["times_real_time"] == pytest.approx(0.2 / said["took"]) and said["wall"] >= said["took"]


def test_recordings_on_the_command_line(tiny_cascade, tmp_path, capsys):
    recording = 0.1 * torch.randn(2, 40_000, generator=torch.Generator().manual_seed(0))
    io.write(tmp_path / "r.wav", recording, subtype="FLOAT")
    quick = ("-m", tiny_cascade, "--steps", "1", "--codec-steps", "1", "-f", "wav", "-o", tmp_path)
    assert run(capsys, "generate", "calm", "--init", tmp_path / "r.wav", "--strength", "0.4", *quick)[0] == 0
    assert run(capsys, "generate", "fast", "--inpaint", tmp_path / "r.wav", "--from", "0.2", "--to", "0.4", *quick)[0] == 0
    assert io.read_metadata(tmp_path / "calm-0.wav")["strength"] == 0.4
    assert {"inpaint": "r.wav", "from": 0.2, "to": 0.4}.items() <= io.read_metadata(tmp_path / "fast-0.wav").items()
    varied, filled = io.read(tmp_path / "calm-0.wav"), io.read(tmp_path / "fast-0.wav")
    assert varied.shape == filled.shape == recording.shape
    scale = filled[0, 0] / recording[0, 0]
    torch.testing.assert_close(filled[:, :9600], recording[:, :9600] * scale, atol=2**-14, rtol=1e-3)


def test_an_interruption_leaves_what_is_finished(tiny_cascade, tmp_path, capsys, monkeypatch):
    def stop(done: int, total: int) -> None:
        if done > total // 2:
            raise KeyboardInterrupt

    made = []
    with pytest.raises(KeyboardInterrupt):
        made.extend(generate(Request(["calm", "fast"], 0.2, batch=1, **QUICK), tiny_cascade, tmp_path / "a", progress=stop))
    assert os.listdir(tmp_path / "a") == ["calm-0.wav"] and io.read(tmp_path / "a" / "calm-0.wav").shape == (2, 9600)

    def stop_writing(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("mousai.audio.write.AudioWriter.encode", stop_writing)
    code, out, err = run(capsys, "generate", "calm", "-s", "0.2", "-m", tiny_cascade, "-o", tmp_path / "b", "--steps", "1")
    assert code == 130 and out == "" and "interrupted" in err and not (tmp_path / "b").exists()


def test_a_real_interruption_of_a_real_process(tiny_cascade, tmp_path):
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("calm\n" * 500)
    command = [sys.executable, "-m", "mousai", "generate", "--prompts", prompts, "-s", "1", "-b", "1", "-m", tiny_cascade, "-o", tmp_path / "out", "--json"]
    with subprocess.Popen([str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        while process.poll() is None and len(list(tmp_path.glob("out/*.wav"))) < 2:
            pass
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    files = sorted(tmp_path.glob("out/*"))
    assert process.returncode == 130 and len(err.splitlines()) == 1 and "interrupted" in err
    said = json.loads(out)
    named = {file["path"] for file in said["files"]}
    assert named <= {str(file) for file in files} and len(files) - len(named) <= 1  # one may be whole and not yet noted
    assert 2 <= len(files) < 500 and said["wanted"] == 500
    assert all(io.info(file).num_samples == 48000 for file in files)


def test_a_full_disk_leaves_the_finished_ones_and_no_half_one(tiny_cascade, tmp_path, monkeypatch, capsys):
    whole = io.AudioWriter.encode

    def full(self, part, scale):
        if self.path.name.startswith("fast"):
            part.write_bytes(b"RIFF")
            raise OSError(28, "No space left on device")
        whole(self, part, scale)

    monkeypatch.setattr("mousai.audio.write.AudioWriter.encode", full)
    code, out, err = run(capsys, "generate", "calm", "fast", "-s", "0.1", "-m", tiny_cascade, "-o", tmp_path, "--steps", "1")
    assert code == 2 and len(err.splitlines()) == 1 and "No space left on device" in err
    assert os.listdir(tmp_path) == ["calm-0.wav"] and out.splitlines()[0] == str(tmp_path / "calm-0.wav")


WRONG = [
    (["generate"], "no prompt"),
    (["generate", " "], "prompt: is empty"),
    (["generate", "x", "--prompts", "none.txt"], "none.txt"),
    (["generate", "--prompts", "empty.txt"], "has no prompt"),
    (["generate", "--prompts", "."], "."),
    (["generate", "x", "--seconds", "0"], "seconds: expected a number from 0.001 to 600 s"),
    (["generate", "x", "--seconds", "-1"], "seconds"),
    (["generate", "x", "--seconds", "nan"], "seconds"),
    (["generate", "x", "--seconds", "1e9"], "600 s"),
    (["generate", "x", "--seconds", "ten"], "--seconds"),
    (["generate", "x", "--steps", "0"], "steps: expected a whole number from 1 to 5000"),
    (["generate", "x", "--steps", "1.5"], "--steps"),
    (["generate", "x", "--batch", "0"], "batch"),
    (["generate", "x", "--guidance", "-1"], "guidance"),
    (["generate", "x", "--seed", "-1"], "seed"),
    (["generate", "x", "--format", "m4a"], "unknown format 'm4a'"),
    (["generate", "x", "--out", "a.m4a"], ".m4a cannot be written"),
    (["generate", "x", "--loudness", "3"], "loudness: expected a number from -70 to 0 LUFS"),
    (["generate", "x", "--inpaint", "short.wav", "--from", "0", "--to", "0.5", "--loudness", "-9"], "loudness: leave it away with inpaint"),
    (["generate", "-dark ambient"], "goes behind --: mousai generate … -- '-dark ambient'"),
    (["generate", "x" * 250 + "y", "--out", "z" * 253 + ".wav"], "the name has 257 bytes, a file's may have 255 there"),
    (["generate", "x", "y", "--out", "a.wav"], "name a folder"),
    (["generate", "x", "--out", "empty.txt"], "empty.txt is a file"),
    (["generate", "x", "--out", "empty.txt/sub", "-m", "TINY"], "cannot write to"),
    (["generate", "x", "--model", "none"], "no such model folder: none"),
    (["generate", "x", "--model", "empty.txt"], "empty.txt is a file"),
    (["generate", "x", "--device", "cuda:42"], "no device 'cuda:42'"),
    (["generate", "x", "--dtype", "int8"], "unknown dtype 'int8'"),
    (["generate", "x", "--init", "none.wav"], "no such audio file: none.wav"),
    (["generate", "x", "--init", "empty.txt"], "empty.txt"),
    (["generate", "x", "--init", "."], "is a folder"),
    (["generate", "x", "--strength", "0.5"], "strength"),
    (["generate", "x", "--init", "short.wav", "--seconds", "3"], "lasts 1.000 s, 3 s were asked for"),
    (["generate", "x", "--inpaint", "short.wav"], "belong together"),
    (["generate", "x", "--from", "1"], "--from and --to belong together"),
    (["generate", "x", "--inpaint", "short.wav", "--from", "0.5", "--to", "1.5"], "outside the recording, which lasts 1.000 s"),
    (["generate", "x", "--inpaint", "short.wav", "--from", "0.5", "--to", "0.5"], "0 <= from < to"),
    (["generate", "x", "--inpaint", "short.wav", "--from", "0", "--to", "1"], "the whole recording"),
    (["generate", "x", "--inpaint", "short.wav", "--from", "0", "--to", "0.5", "--init", "short.wav"], "init and inpaint"),
    (["generate", "x", "--negative", "y", "--guidance", "1", "-m", "TINY"], "guidance above 1"),
]


@pytest.mark.parametrize(("arguments", "words"), WRONG, ids=[" ".join(arguments[1:]) for arguments, _ in WRONG])
def test_wrong_input_is_one_line_code_2_and_leaves_nothing(arguments, words, tiny_cascade, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty.txt").write_text("# nothing\n")
    io.write(tmp_path / "short.wav", torch.zeros(2, 48000))
    before = sorted(os.listdir(tmp_path))
    code, out, err = run(capsys, *(str(tiny_cascade) if word == "TINY" else word for word in arguments))
    assert code == 2 and out == "" and len(err.splitlines()) == 1 and err.startswith("mousai: ") and words in err
    assert sorted(os.listdir(tmp_path)) == before
