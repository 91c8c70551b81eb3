"""Long pieces are killed, stopped and starved at any moment, and come out as if nothing had happened."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

import pytest
import torch

from mousai.audio import io
from mousai.jobs.render.piece import ahead

ROOT = Path(__file__).parents[3]
FORMS = {
    "joint": ["render", "slow piano", "--seconds", "9"],
    "continuation": ["render", "slow piano", "--seconds", "9", "--method", "continuation"],
    "loop": ["render", "slow piano", "--seconds", "15", "--loop"],
    "extend": ["extend", "recording.wav", "--seconds", "6", "--prompt", "fast guitar"],
    "sections": ["render", "sections.yaml"],
}
SECTIONS = """\
title: a
sections:
  - {prompt: slow piano, seconds: 3}
  - {prompt: fast guitar, seconds: 2, transition: 1}
  - {prompt: calm dance, seconds: 4}
"""
SETTINGS = ["--window", "1.5", "--overlap", "0.4"]


class Forks:
    """The process of forks.py, and what is run with it."""

    def __init__(self, model: Path, folder: Path) -> None:
        self.model, self.folder, self.log, self.running = model, folder, folder / "log", 0
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("forks.py")), str(model)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=folder, env=environment,
        )  # fmt: skip

    def arguments(self, form: str, file: Path) -> list[str]:
        return [*FORMS[form], *SETTINGS, "--model", str(self.model), "--out", str(file)]

    def begin(self, form: str, file: Path, more: Sequence[str] = (), **settings) -> int:
        """Begins a run, and gives its process id."""
        if self.running:  # left so by a test that failed
            os.kill(self.running, signal.SIGKILL)
            self.end()
        if "death" in settings:
            settings["death"] |= {"folder": str(file.parent)}
        self.process.stdin.write(json.dumps({"arguments": [*self.arguments(form, file), *more], "log": str(self.log), **settings}) + "\n")
        self.process.stdin.flush()
        self.running = int(self.process.stdout.readline())
        return self.running

    def end(self) -> int:
        """Waits for the run's end, and gives its exit status."""
        code, self.running = int(self.process.stdout.readline()), 0
        return code

    def run(self, form: str, file: Path, **settings) -> int:
        self.begin(form, file, **settings)
        return self.end()

    @property
    def said(self) -> list[str]:
        """What the last run said, but that the piece begins and is there."""
        lines = [line.removeprefix("mousai: ") for line in self.log.read_text().splitlines()]
        return [line for line in lines if not line.startswith("a: ") and not line.endswith(("x real time", " is there already"))]


@pytest.fixture(scope="module")
def forks(tiny_cascade, tmp_path_factory):
    folder = tmp_path_factory.mktemp("forks")
    (folder / "sections.yaml").write_text(SECTIONS)
    noise = 0.1 * torch.randn(2, 3 * 48000, generator=torch.Generator().manual_seed(0))
    io.write(folder / "recording.wav", noise, 48000)
    forks = Forks(tiny_cascade, folder)
    yield forks
    forks.process.kill()
    forks.process.wait()


@pytest.fixture(scope="module")
def whole(forks):
    """The files of uninterrupted runs, by form: name -> bytes."""
    made = {}

    def files(form: str) -> dict[str, bytes]:
        if form not in made:
            file = forks.folder / "whole" / form / "a.flac"
            assert forks.run(form, file) == 0, forks.said
            made[form] = contents(file.parent)
        return made[form]

    return files


def contents(folder: Path) -> dict[str, bytes]:
    """What the files of a folder hold, but for a lock, which says who holds it."""
    return {str(path.relative_to(folder)): b"" if path.name == "lock" else path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def standing(file: Path) -> tuple[int, int, int]:
    """Steps that the newest state has seen, segments, and blocks of audio that are there; all of them once the state is gone."""
    state = file.with_suffix(".render")
    if file.with_suffix(".job.json").exists():
        return 10**9, 10**9, 10**9
    steps = [int(path.stem.split("-")[1]) for path in state.glob("state-*.safetensors")]
    sums = state / "audio.sums"
    return max(steps, default=0), len(list(state.glob("latents/*.safetensors"))), sums.read_bytes().count(b"\n") if sums.exists() else 0


def half(forks: Forks, form: str, folder: Path) -> Path:
    """The file that is being made, of a run that was killed in the middle, with five segments and a sixth about to get its name."""
    file = folder / "a.flac"
    assert forks.run(form, file, death={"at": ["os.rename", "00005.safetensors"]}) == -signal.SIGKILL
    return file


def wait_for(condition, seconds: float = 300.0) -> None:
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, "it never happened"
        time.sleep(0.01)


def quickly(names: Iterable[str], *fast: str) -> list[object]:
    """Names as parameters of a test, all but `fast` marked as slow."""
    return [name if name in fast else pytest.param(name, marks=pytest.mark.slow) for name in names]


# -- killed --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", quickly(FORMS, "joint", "sections"))
def test_killed_at_random_moments_it_equals_an_uninterrupted_run(forks, whole, tmp_path, form):
    chance, file, before, kills = random.Random(form), tmp_path / "a.flac", (0, 0, 0), 0
    often = 12 if form == "joint" else 4
    while code := forks.run(form, file, death={"after": chance.randint(5, 40 if kills < often else 250)}, save_seconds=chance.choice([0.0, 5.0])):
        assert code == -signal.SIGKILL, forks.said
        after = standing(file)
        assert all(now >= then for now, then in zip(after, before)), "what was finished is lost"
        before, kills = after, kills + 1
    assert kills >= often
    assert contents(tmp_path) == whole(form)


def test_killed_by_the_clock(forks, whole, tmp_path):
    chance, file = random.Random(0), tmp_path / "a.flac"
    for _ in range(5):
        process = forks.begin("joint", file, save_seconds=0.0, step_seconds=0.02)
        time.sleep(chance.uniform(0.1, 1.0))
        with suppress(ProcessLookupError):  # it was faster
            os.kill(process, signal.SIGKILL)
        forks.end()
    assert forks.run("joint", file) == 0
    assert contents(tmp_path) == whole("joint")


MOMENTS = [
    *((("os.rename", name), behind) for name in ("begun.json", "state-*", "a.flac", "a.job.json") for behind in (False, True)),
    (("os.rename", "00001.safetensors"), True), (("open", "audio.sums"), False), (("open", "a.png"), False),
]  # fmt: skip


@pytest.mark.parametrize("at, behind", MOMENTS, ids=[f"{'behind' if behind else 'before'} {' '.join(at)}" for at, behind in MOMENTS])
def test_killed_at_a_delicate_moment(forks, whole, tmp_path, at, behind):
    file = tmp_path / "a.flac"
    assert forks.run("continuation", file, death={"at": at, "behind": behind}, save_seconds=0.0) == -signal.SIGKILL
    assert forks.run("continuation", file) == 0 and not forks.said
    assert contents(tmp_path) == whole("continuation")


@pytest.mark.parametrize("at", [("os.remove", "begun.json"), ("os.remove", "audio.wav"), ("os.remove", "lock"), ("os.rmdir", "a.render")], ids=" ".join)
def test_killed_while_its_state_is_removed_nothing_is_made_again(forks, whole, tmp_path, at):
    file = tmp_path / "a.flac"
    assert forks.run("continuation", file, death={"at": at}) == -signal.SIGKILL
    made = {path: path.stat().st_mtime_ns for path in tmp_path.glob("a.*") if path.is_file()}
    assert len(made) == 3 and (tmp_path / "a.render").is_dir()
    assert forks.run("continuation", file) == 0
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == made
    assert contents(tmp_path) == whole("continuation")


@pytest.mark.slow
def test_the_command_line_itself_is_killed(forks, whole, tmp_path):
    file, log = tmp_path / "out" / "a.flac", tmp_path / "log"
    command = [sys.executable, "-m", "mousai", *forks.arguments("continuation", file)]
    settings = {"cwd": forks.folder, "env": {**os.environ, "PYTHONPATH": str(ROOT)}, "stdout": subprocess.DEVNULL}
    with log.open("w") as output, subprocess.Popen(command, stderr=output, **settings) as process:
        wait_for(lambda: standing(file)[1] > 0)
        process.kill()
    assert standing(file)[1] > 0 and process.returncode == -signal.SIGKILL
    assert subprocess.run(command, stderr=subprocess.PIPE, timeout=300, **settings).returncode == 0
    made = contents(file.parent)
    assert made.pop("a.png").startswith(b"\x89PNG") and len(made) == 2
    assert made.items() <= whole("continuation").items()


# -- stopped -------------------------------------------------------------------------------------------------------


def test_stopped_at_random_moments_everything_is_saved(forks, whole, tmp_path):
    chance, file, before, stops = random.Random(1), tmp_path / "a.flac", (0, 0, 0), 0
    while code := forks.run("joint", file, death={"after": chance.randint(5, 70), "signal": chance.choice([signal.SIGINT, signal.SIGTERM])}):
        assert code == 130 and forks.said[-1] == "interrupted; what was finished is kept"
        after, names = standing(file), set(contents(tmp_path))
        assert all(now >= then for now, then in zip(after, before)) and not [name for name in names if "tmp" in name]
        before, stops = after, stops + 1
    assert stops >= 3
    assert contents(tmp_path) == whole("joint")


def test_a_second_signal_ends_it_at_once(forks, whole, tmp_path):
    file = half(forks, "joint", tmp_path)
    begun = tmp_path / "a.render" / "begun.json"
    before = begun.stat().st_ino
    process = forks.begin("joint", file, step_seconds=100.0)
    wait_for(lambda: begun.stat().st_ino != before)
    began = time.monotonic()
    for _ in range(2):
        time.sleep(0.5)
        os.kill(process, signal.SIGINT)
    assert forks.end() == 130 and time.monotonic() - began < 30
    assert forks.run("joint", file) == 0
    assert contents(tmp_path) == whole("joint")


# -- starved, robbed, damaged --------------------------------------------------------------------------------------


@pytest.mark.parametrize("file_bytes, place", [(7000, "state-"), (1_000_000, "audio.wav")])
def test_a_full_disk_is_one_line_and_what_is_finished_stays(forks, whole, tmp_path, file_bytes, place):
    file = tmp_path / "a.flac"
    assert forks.run("joint", file, file_bytes=file_bytes) == 2
    assert len(forks.said) == 1 and forks.said[0].startswith("cannot write ") and place in forks.said[0] and forks.said[0].endswith(": File too large")
    assert standing(file)[1] > 0 and not [name for name in contents(tmp_path) if "tmp" in name]
    assert forks.run("joint", file) == 0
    assert contents(tmp_path) == whole("joint")


def test_a_disk_that_the_finished_file_does_not_fit_on(forks, whole, tmp_path):
    file = tmp_path / "a.flac"
    assert forks.run("joint", file, death={"at": ["os.rename", "a.flac"]}) == -signal.SIGKILL
    assert forks.run("joint", file, file_bytes=100_000) == 2
    assert len(forks.said) == 1 and str(file) in forks.said[0] and standing(file)[1] == 8
    assert not [name for name in contents(tmp_path) if "tmp" in name]
    assert forks.run("joint", file) == 0
    assert contents(tmp_path) == whole("joint")


def test_a_recording_that_is_gone_or_another_is_one_line(forks, whole, tmp_path):
    file, recording = half(forks, "extend", tmp_path), forks.folder / "recording.wav"
    content = recording.read_bytes()
    try:
        recording.unlink()
        assert forks.run("extend", file) == 2
        assert len(forks.said) == 1 and "recording.wav" in forks.said[0]
        recording.write_bytes(content[:-4] + b"abcd")
        assert forks.run("extend", file) == 2
        assert len(forks.said) == 1 and "was begun with recording hash " in forks.said[0] and "remove it to begin anew" in forks.said[0]
    finally:
        recording.write_bytes(content)
    assert forks.run("extend", file) == 0
    assert contents(tmp_path) == whole("extend")


def test_another_piece_in_its_place_is_one_line(forks, whole, tmp_path):
    file = half(forks, "joint", tmp_path)
    before = contents(tmp_path)
    assert forks.run("joint", file, more=["--seed", "3"]) == 2
    assert len(forks.said) == 1 and "was begun with seed 0, now 3; remove it to begin anew" in forks.said[0]
    before.pop("a.render/progress.json"), (after := contents(tmp_path)).pop("a.render/progress.json")
    assert after == before
    assert forks.run("joint", file) == 0
    assert contents(tmp_path) == whole("joint")


def flipped(path: Path, where: float = 0.5) -> None:
    content = bytearray(path.read_bytes())
    content[int(where * len(content))] ^= 16
    path.write_bytes(content)


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


LAST, BEFORE = "latents/00004.safetensors", "latents/00000.safetensors"  # of the segments that the newest state has seen
DAMAGE = {
    "a segment": ([(flipped, LAST)], [f"{LAST} is damaged; generating it again"]),
    "a segment's end": ([(cut, LAST)], [f"{LAST} is damaged; generating it again"]),
    "a segment is gone": ([(Path.unlink, LAST)], [f"{LAST} is missing; generating it again"]),
    "a segment that is decoded": ([(flipped, BEFORE)], []),
    "the newest state": ([(flipped, -1)], ["is damaged; going on from an earlier one"]),
    "both states": ([(flipped, -1), (cut, -2)], ["is damaged; going on from an earlier one"] * 2),
    "audio": ([(flipped, "audio.wav")], ["audio.wav is damaged or cut after"]),
    "the audio's end": ([(cut, "audio.wav")], ["audio.wav is damaged or cut after"]),
    "the audio's header": ([(lambda path: flipped(path, 0.0), "audio.wav")], ["audio.wav is damaged; writing it again"]),
    "the audio is gone": ([(Path.unlink, "audio.wav")], ["audio.wav is damaged or cut after 0.0 s"]),
    "a sum": ([(flipped, "audio.sums")], ["is damaged or cut after"]),
    "the sums' bytes": ([(lambda path: path.write_bytes(b"\xff \xfe\n \n"), "audio.sums")], ["audio.sums is damaged or cut after 0.0 s"]),
    "the sums are gone": ([(Path.unlink, "audio.sums")], ["audio.sums is missing; decoding from the beginning again"]),
    "audio and a segment": ([(flipped, "audio.wav"), (flipped, BEFORE)], ["audio.wav is damaged", f"{BEFORE} is damaged; generating it again"]),
    "the progress": ([(cut, "progress.json")], []),
}  # fmt: skip


@pytest.fixture(scope="module")
def begun(forks, tmp_path_factory):
    """A folder with a piece that was killed in the middle."""
    return half(forks, "continuation", tmp_path_factory.mktemp("begun")).parent


@pytest.mark.parametrize("name", quickly(DAMAGE, "a segment", "both states", "audio", "the sums are gone", "the progress"))
def test_what_is_damaged_is_said_and_made_again(forks, whole, begun, tmp_path, name):
    state = Path(shutil.copytree(begun, tmp_path / "out")) / "a.render"
    states = sorted(state.glob("state-*"))
    damage, said = DAMAGE[name]
    for harm, place in damage:
        harm(states[place] if isinstance(place, int) else state / place)
    assert forks.run("continuation", tmp_path / "out" / "a.flac") == 0
    assert len(forks.said) == len(said) and all(text in line for text, line in zip(said, forks.said))
    assert contents(tmp_path / "out") == whole("continuation")


def test_a_segment_that_a_loop_ends_with_is_made_again(forks, whole, tmp_path):
    file = half(forks, "loop", tmp_path)
    flipped(file.with_suffix(".render") / BEFORE)
    assert forks.run("loop", file) == 0
    assert len(forks.said) == 1 and f"{BEFORE} is damaged; generating it again" in forks.said[0]
    assert contents(tmp_path) == whole("loop")


@pytest.mark.parametrize("harm", [cut, Path.unlink])
def test_without_word_of_what_was_begun_nothing_is_touched(forks, begun, tmp_path, harm):
    state = Path(shutil.copytree(begun, tmp_path / "out")) / "a.render"
    harm(state / "begun.json")
    before = contents(state)
    assert forks.run("continuation", tmp_path / "out" / "a.flac") == 2
    assert len(forks.said) == 1 and f"remove {state} to begin anew" in forks.said[0]
    assert {name: content for name, content in contents(state).items() if name != "progress.json"} == {
        name: content for name, content in before.items() if name != "progress.json"
    }


# -- what it takes -------------------------------------------------------------------------------------------------


def test_the_disk_holds_nothing_twice(forks, tmp_path):
    file = tmp_path / "a.flac"
    assert forks.run("joint", file, more=["--seconds", "30"], weigh=str(tmp_path), save_seconds=0.0) == 0
    most, seconds = int(forks.said[-1]), 30
    half(forks, "joint", tmp_path / "half")
    state = max(path.stat().st_size for path in (tmp_path / "half").rglob("state-*"))
    raw, latents = seconds * 48000 * 2 * 4, seconds * 48000 / 1024 * 8 * 4
    assert raw < most < raw + 1.2 * latents + 3 * state + file.stat().st_size + 20_000  # a third state is written beside the two


@pytest.mark.parametrize("count", [0, 1, 5])
def test_ahead_gives_the_same_items(count):
    assert list(ahead(iter(range(count)), torch.device("cpu"))) == list(range(count))


def test_ahead_passes_errors_on_behind_what_came_before_them():
    def items():
        yield 1
        raise OSError("the disk is full")

    running = ahead(items(), torch.device("cpu"))
    assert next(running) == 1
    with pytest.raises(OSError, match="the disk is full"):
        next(running)


def test_ahead_makes_one_more_and_leaves_no_thread():
    made, threads = [], threading.active_count()

    def items():
        for index in range(9):
            made.append(index)
            yield index

    running = ahead(items(), torch.device("cpu"))
    assert next(running) == 0
    running.close()
    assert made == [0, 1] and threading.active_count() == threads
