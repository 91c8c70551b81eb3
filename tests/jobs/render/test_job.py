"""Many pieces, many processes: who makes what, that it is the same whoever made it, and what a failure leaves."""

from __future__ import annotations

import importlib.util
import json
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import mousai
from mousai.audio import io
from mousai.jobs.render import piece as render_piece
from mousai.jobs.render.job import Listener, dry_run, render
from mousai.jobs.render.piece import Work
from mousai.jobs.render.plan import status
from mousai.pipelines import cascade
from mousai.checks import Problems
from mousai.request.piece import Piece

ROOT = Path(mousai.__file__).parents[1]
SCRIPT = Path(__file__).with_name("run_render.py")
_spec = importlib.util.spec_from_file_location("run_render", SCRIPT)
run_render = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(run_render)

SETTINGS = {"steps": 2, "codec_steps": 1, "window": 1.5, "format": "wav"}
PROMPTS = ("slow piano", "fast guitar", "calm noise", "dance", "melancholic piano")
NAMES = [f"{prompt.replace(' ', '-')}-0" for prompt in PROMPTS]


def without_pictures(patch):
    from mousai.pictures.overview import Overview

    patch.setattr(Overview, "add", lambda *_: None)
    patch.setattr(Overview, "save", lambda _, path: Path(path).write_bytes(run_render.PICTURE))


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch):
    without_pictures(monkeypatch)


def pieces(count=5):
    return [Piece.from_dict({"prompt": prompt, "seconds": 2.5, **SETTINGS}) for prompt in PROMPTS[:count]]


def samples(folder):
    """The bytes of every piece of a folder."""
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.wav"))}


@pytest.fixture(scope="module")
def whole(tiny_cascade, tmp_path_factory):
    """The five pieces as one process makes them."""
    folder = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        without_pictures(patch)
        summary = render(pieces(), tiny_cascade, folder)
    assert (summary.code, [result.state for result in summary.results]) == (0, ["done"] * 5)
    return samples(folder)


def in_processes(environments, model, out, faults=None, each_one=False):
    """(names of the pieces that each process made, its summary's code), of processes with these variables, in which these faults happen.

    With `each_one`, none goes on with its first piece before every other one has a piece of its own.
    """
    context = multiprocessing.get_context("fork")
    queue, start = context.Queue(), context.Barrier(len(environments))
    running = [context.Process(target=child, args=(each, model, out, faults or {}, number, queue, start, each_one)) for number, each in enumerate(environments)]
    for process in running:
        process.start()
    found = dict(queue.get(timeout=300) for _ in running)
    for process in running:
        process.join(60)
    assert [process.exitcode for process in running] == [0] * len(running)
    return [found[number] for number in range(len(running))]


def child(environment, model, out, faults, number, queue, start, each_one):
    def load_together(*arguments, load=cascade.load, **how):
        loaded = load(*arguments, **how)
        start.wait(60)
        return loaded

    def render_together(self, audio, render=Work.render):
        Work.render = render
        start.wait(60)
        render(self, audio)

    os.environ.update(environment)
    cascade.load = load_together
    if each_one:
        Work.render = render_together
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    run_render.with_faults(faults)
    made = []
    Listener.ends = lambda self, result: made.append(result.name) if result.state == "done" else None
    summary = render(pieces(), model, out)
    queue.put((number, (made, summary.code)))


def launch_of(count):
    """The variables of processes that were launched together on this machine."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = {"WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "LOCAL_WORLD_SIZE": str(count)}
    return [common | {"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(count)]


def test_an_accelerate_launch_shares_the_pieces_and_one_that_fails_is_named(tiny_cascade, tmp_path, whole):
    (tmp_path / "jobs.json").write_text(json.dumps({"defaults": SETTINGS, "pieces": [{"prompt": prompt, "seconds": 2.5} for prompt in PROMPTS]}))
    launch = ["-m", "accelerate.commands.launch", "--config_file", str(ROOT / "recipes/accelerate/cpu.yaml"), "--num_processes", "2"]
    job = ["render", str(tmp_path / "jobs.json"), "--model", str(tiny_cascade), "--out", str(tmp_path / "out"), "--json"]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    arguments = [sys.executable, *launch, str(SCRIPT), json.dumps({"calm-noise-0": "no such sound"}), *job]
    done = subprocess.run(arguments, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 1, done.stderr[-2000:]
    said = json.loads(done.stdout)  # one value, of one process, of all pieces
    assert said["code"] == 1 and [each["name"] for each in said["pieces"]] == NAMES
    assert [each["state"] for each in said["pieces"]] == ["done", "done", "failed", "done", "done"]
    assert said["pieces"][2]["text"] == "no such sound"
    lines = [line for line in done.stderr.splitlines() if line.startswith("mousai: [")]
    began = [{name for name in NAMES if any(f"[{rank}] {name}: " in line and ", piece " in line for line in lines)} for rank in (0, 1)]
    assert all(began) and began[0] | began[1] == set(NAMES)
    assert samples(tmp_path / "out") == {name: data for name, data in whole.items() if "noise" not in name}
    states = {each.name: (each.state, each.text) for each in status(tmp_path / "out")}
    assert states.pop("calm-noise-0") == ("failed", "no such sound") and {state for state, _ in states.values()} == {"done"}

    again = render(pieces(), tiny_cascade, tmp_path / "out")  # another number of processes does what is left
    assert again.code == 0 and [result.state for result in again.results] == ["there", "there", "done", "there", "there"]
    assert samples(tmp_path / "out") == whole


def test_one_process_goes_on_where_two_were_stopped(tiny_cascade, tmp_path, whole):
    found = in_processes(launch_of(2), tiny_cascade, tmp_path / "out", {name: "SIGTERM" for name in NAMES[:2]})
    assert found == [([], 130), ([], 130)]
    states = [(each.name, each.state) for each in status(tmp_path / "out")]
    assert states == [*zip(NAMES[:2], ["stopped"] * 2), *zip(NAMES[2:], ["waiting"] * 3)]
    assert render(pieces(), tiny_cascade, tmp_path / "out").code == 0
    assert samples(tmp_path / "out") == whole


def test_a_process_that_a_signal_stops_waits_for_the_others_and_nobody_fails(tiny_cascade, tmp_path, whole):
    (made, code), (nothing, other) = in_processes(launch_of(2), tiny_cascade, tmp_path / "out", {NAMES[3]: "SIGTERM"})
    assert sorted(made + nothing) == sorted(set(NAMES) - {NAMES[3]}) and made and code == other == 130
    found = in_processes(launch_of(2), tiny_cascade, tmp_path / "out")  # it also goes on with two
    assert sum((made for made, _ in found), []) == [NAMES[3]] and [code for _, code in found] == [0, 0]
    assert samples(tmp_path / "out") == whole


def test_one_piece_for_two_processes(tiny_cascade, tmp_path, whole, monkeypatch):
    """The one that finds nothing to do neither fails nor ends before the other."""
    monkeypatch.setitem(globals(), "pieces", lambda of=pieces: of(1))
    assert sorted(in_processes(launch_of(2), tiny_cascade, tmp_path / "out")) == [([], 0), (NAMES[:1], 0)]
    found = in_processes(launch_of(2), tiny_cascade, tmp_path / "other", {NAMES[0]: "no such sound"})
    assert found == [([], 1), ([], 1)]


@pytest.mark.parametrize("array", [False, True], ids=["independent", "slurm array"])
def test_processes_without_a_launcher_share_the_folder(array, tiny_cascade, tmp_path, whole):
    tasks = {"SLURM_ARRAY_TASK_MIN": "1", "SLURM_ARRAY_TASK_MAX": "3", "SLURM_ARRAY_TASK_STEP": "1"}
    environments = [tasks | {"SLURM_ARRAY_TASK_ID": str(number)} if array else {} for number in (1, 2, 3)]
    found = in_processes(environments, tiny_cascade, tmp_path / "out", each_one=True)
    assert sorted(sum((made for made, _ in found), [])) == sorted(NAMES)  # each once
    assert all(made for made, _ in found) and {code for _, code in found} == {0}
    assert samples(tmp_path / "out") == whole
    assert not list((tmp_path / "out").glob("*.render"))
    assert {each.state for each in status(tmp_path / "out")} == {"done"}


def test_a_piece_that_gives_no_numbers_does_not_stop_the_others(tiny_cascade, tmp_path, whole, monkeypatch):
    class Told(Listener):
        def __init__(self):
            self.heard = []

        def begins(self, target, number, count):
            self.heard.append(f"begins {target.name} {number} {count}")

        def ends(self, result):
            self.heard.append(f"{result.state} {result.name}")

    audio = render_piece.Rendering.audio

    def broken(self, *arguments):
        for block in audio(self, *arguments):
            yield block * torch.nan if self.piece.sections[0].prompt == "fast guitar" else block

    monkeypatch.setattr(render_piece.Rendering, "audio", broken)
    listener = Told()
    summary = render(pieces(3), tiny_cascade, tmp_path, listener=listener)
    assert summary.code == 1 and [result.state for result in summary.results] == ["done", "failed", "done"]
    assert "NaN" in summary.results[1].text
    assert listener.heard[-2:] == [f"begins {NAMES[2]} 3 3", f"done {NAMES[2]}"] and f"failed {NAMES[1]}" in listener.heard
    assert [(each.state, each.name) for each in status(tmp_path)][1] == ("failed", NAMES[1])
    with pytest.raises(ValueError, match="NaN"):  # a piece alone raises what is wrong
        render(pieces(2)[1:], tiny_cascade, tmp_path)
    monkeypatch.undo()
    no_picture = render(pieces(3), tiny_cascade, tmp_path)
    assert no_picture.code == 0 and samples(tmp_path) == {f"{name}.wav": whole[f"{name}.wav"] for name in NAMES[:3]}


def test_something_that_comes_in_the_way_later_fails_that_piece_alone(tiny_cascade, tmp_path, whole):
    class InTheWay(Listener):
        def begins(self, target, number, count):
            if number == 1:
                (tmp_path / f"{NAMES[0]}.wav").mkdir()

    summary = render(pieces(2), tiny_cascade, tmp_path, listener=InTheWay())
    assert [result.state for result in summary.results] == ["failed", "done"]
    assert NAMES[0] in summary.results[0].text and "\n" not in summary.results[0].text
    (tmp_path / f"{NAMES[0]}.wav").rmdir()
    assert render(pieces(2), tiny_cascade, tmp_path).code == 0
    assert samples(tmp_path) == {f"{name}.wav": whole[f"{name}.wav"] for name in NAMES[:2]}


def test_a_piece_in_other_hands_is_left_to_them(tiny_cascade, tmp_path):
    import fcntl

    (tmp_path / f"{NAMES[0]}.render").mkdir()
    with open(tmp_path / f"{NAMES[0]}.render" / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        summary = render(pieces(2), tiny_cascade, tmp_path)
        assert [result.state for result in summary.results] == ["busy", "done"] and summary.code == 0
        with pytest.raises(ValueError, match="another process .*at work on this piece"):
            render(pieces(1), tiny_cascade, tmp_path)


def test_whoever_looks_at_a_lock_keeps_nobody_from_the_piece(tiny_cascade, tmp_path):
    import fcntl
    import threading

    (tmp_path / f"{NAMES[0]}.render").mkdir()
    with open(tmp_path / f"{NAMES[0]}.render" / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)  # as --status does, for a moment

        class Goes(Listener):
            def plans(self, targets):
                threading.Timer(0.05, fcntl.flock, (lock, fcntl.LOCK_UN)).start()

        assert [result.state for result in render(pieces(1), tiny_cascade, tmp_path, listener=Goes()).results] == ["done"]


def test_latents_that_are_no_numbers_are_not_kept(tiny_cascade, tmp_path, whole, monkeypatch):
    predictor, passes = render_piece.Rendering.predictor, []

    def broken(self, times):
        predict = predictor(self, times)

        def once(x, *where):
            passes.append(1)
            return predict(x, *where) * (torch.nan if len(passes) == 2 else 1)

        return once

    monkeypatch.setattr(render_piece.Rendering, "predictor", broken)
    with pytest.raises(ValueError, match="the model gave NaN or infinite latents; the same command goes on from before them"):
        render(pieces(1), tiny_cascade, tmp_path)
    assert render(pieces(1), tiny_cascade, tmp_path).code == 0
    assert samples(tmp_path) == {f"{NAMES[0]}.wav": whole[f"{NAMES[0]}.wav"]}


def test_a_signal_stops_between_blocks_and_the_rest_is_left(tiny_cascade, tmp_path, whole):
    class Stop(Listener):
        def begins(self, target, number, count):
            if number == 2:
                os.kill(os.getpid(), signal.SIGINT)

    summary = render(pieces(3), tiny_cascade, tmp_path, listener=Stop())
    assert [result.state for result in summary.results] == ["done", "stopped", "stopped"] and summary.code == 130
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert render(pieces(3), tiny_cascade, tmp_path).code == 0
    assert samples(tmp_path) == {f"{name}.wav": whole[f"{name}.wav"] for name in NAMES[:3]}


def test_settings_that_the_model_cannot_take_are_listed_before_anything_is_made(tiny_cascade, tmp_path, monkeypatch):
    def refuse(cascade, settings, own):
        raise ValueError("negative prompt: has no effect")

    monkeypatch.setattr("mousai.pipelines.cascade.Cascade.resolved", refuse)
    for run in (render, dry_run):
        with pytest.raises(Problems) as error:
            run(pieces(2), tiny_cascade, tmp_path / "out")
        assert error.value.problems == tuple(f"{name}: negative prompt: has no effect" for name in NAMES[:2])
    assert not (tmp_path / "out").exists()


def test_the_job_file_of_a_piece_makes_its_samples_again(tiny_cascade, tmp_path, whole):
    from mousai.request.job_file import read_jobs

    sections = [{"prompt": "slow", "seconds": 1.5}, {"prompt": "dance", "seconds": 1.25, "transition": 0.5}]
    piece = Piece.from_dict({"title": "A day", "sections": sections, "seed": 3, "interval": [0.1, 0.9], **SETTINGS})
    assert render([piece], tiny_cascade, tmp_path).code == 0
    (again,) = read_jobs(tmp_path / "a-day.job.json")
    assert [result.state for result in render([again], tiny_cascade, tmp_path).results] == ["there"]
    assert [result.state for result in render([piece], tiny_cascade, tmp_path).results] == ["there"]
    assert render([again], tiny_cascade, tmp_path / "again").code == 0
    assert torch.equal(io.read(tmp_path / "a-day.wav", 48000, 2), io.read(tmp_path / "again/a-day.wav", 48000, 2))
    with pytest.raises(Problems, match="is there already, made with seed 3, now 4"):
        render([Piece.from_dict(piece.to_dict() | {"seed": 4})], tiny_cascade, tmp_path)
