"""Files made again from the recipes in them: to the same samples, and what is said where something is another than it was."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from contextlib import closing
from pathlib import Path

import pytest
import torch

import mousai
from mousai import checkpoint
from mousai.audio import io
from mousai.jobs import generate as clips
from mousai.jobs.render.job import Listener, render
from mousai.jobs.replay import prompt_of, replay
from mousai.pictures.overview import Overview
from mousai.request import piece
from mousai.request.clip import Request
from mousai.request.piece import Piece

QUICK = {"steps": 2, "codec_steps": 1}
PIECES = {
    "joint": {"sections": [{"prompt": "slow piano", "seconds": 1.2}, {"prompt": "fast", "seconds": 1.0001, "negative": "noise"}], "window": 1.5},
    "continuation": {"prompt": "calm", "seconds": 2, "window": 1.5, "method": "continuation", "seed": 9, "format": "wav", "loudness": None},
    "loop": {"prompt": "dance", "seconds": 2.5, "loop": True, "window": 1.5, "format": "opus"},
    "take extended": {"prompt": "", "guidance": 1.0, "seconds": 1, "extend": "take.wav", "loudness": None},
}
CLIPS = {
    "plain.wav": {"seconds": 0.7}, "negative.flac": {"seconds": 0.5, "negative": "noise", "guidance": 2.0, "seed": 5},
    "interval.ogg": {"seconds": 0.5, "interval": (0.2, 0.9), "schedule": "cosine", "eta": 0.5}, "init.opus": {"init": "take.wav", "strength": 0.5},
    "inpaint.wav": {"inpaint": "take.wav", "span": (0.3, 0.6)},
}  # fmt: skip


def quickly(patch: pytest.MonkeyPatch) -> None:
    """Without pictures, which take longer than everything else, and with loops of a second."""
    patch.setattr(Overview, "add", lambda *_: None)
    patch.setattr(Overview, "save", lambda _, path: Path(path).write_bytes(b"\x89PNG"))


@pytest.fixture(autouse=True)
def _quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    quickly(monkeypatch)


@pytest.fixture(scope="module")
def files(tiny_cascade, tmp_path_factory) -> Path:
    """A folder with a file of every kind, made in another one, and the recording that some were made from."""
    folder = tmp_path_factory.mktemp("files")
    with pytest.MonkeyPatch.context() as patch:
        quickly(patch)
        patch.chdir(folder)
        io.write(Path("take.wav"), 0.05 * torch.randn(2, 50_001, generator=torch.Generator().manual_seed(3)), 48_000)
        render([Piece.from_dict({"title": title, **QUICK, **values}) for title, values in PIECES.items()], tiny_cascade)
        for name, values in CLIPS.items():
            with closing(clips.generate(Request("calm piano", **QUICK | values), tiny_cascade, name)) as running:
                list(running)
    return folder


@pytest.fixture
def place(files: Path, tmp_path: Path) -> Path:
    """A copy of the folder, to write to."""
    return Path(shutil.copytree(files, tmp_path / "files"))


class Heard(Listener):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def says(self, line: str) -> None:
        self.lines.append(line)


def tampered(file: Path, **values) -> Path:
    """A file of noise with another one's recipe but for these values; ... is none."""
    made = {key: value for key, value in (io.read_metadata(file) | values).items() if value is not ...}
    io.write(file.with_name("tampered.wav"), 0.01 * torch.randn(2, 4_800), 48_000, made)
    return file.with_name("tampered.wav")


# -- the same ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["joint.flac", "continuation.wav", "loop.opus", "take-extended.flac", *CLIPS])
def test_the_same_samples(name, place, tiny_cascade):
    listener, file = Heard(), place / name
    done = replay(file, tiny_cascade, listener=listener)
    assert (done.same, done.differs, done.first_difference, done.largest_difference, listener.lines) == (True, (), None, 0.0, [])
    assert done.path == place / f"{file.stem}-replay{file.suffix}" and done.to_dict()["path"] == str(done.path)
    assert torch.equal(io.read(file, 48_000, 2), io.read(done.path, 48_000, 2)) and io.info(file).chapters == io.info(done.path).chapters
    named = {"recording", "recording_at", "piece"}  # the path of a recording, and the format where the file's name said it
    before, after = (io.read_metadata(each) for each in (file, done.path))
    assert {key: value for key, value in before.items() if key not in named} == {key: value for key, value in after.items() if key not in named}


@pytest.mark.parametrize("name", ["plain.wav", "joint.flac"])
def test_a_file_of_compiled_networks_is_made_again_by_compiled_ones(name, place, tiny_cascade, tmp_path, monkeypatch):
    monkeypatch.setenv("CXX", sys.executable)  # a program that is there
    monkeypatch.setattr(torch, "compile", lambda function, **options: function)
    made = replay(place / name, tiny_cascade, tmp_path / name, compile=True)
    assert made.same and made.differs == ("another precision: float32, here it is float32 compiled",)
    again = replay(made.path, tiny_cascade, compile=True)
    assert again.same and again.differs == () and io.read_metadata(again.path)["dtype"] == "float32 compiled"


def test_nothing_is_overwritten_and_every_replay_has_a_name_of_its_own(place, tiny_cascade, tmp_path):
    before = (place / "plain.wav").read_bytes()
    paths = [replay(place / "plain.wav", tiny_cascade).path for _ in range(2)]
    paths.append(replay(paths[0], tiny_cascade).path)
    assert [path.name for path in paths] == ["plain-replay.wav", "plain-replay-2.wav", "plain-replay-replay.wav"]
    paths = [replay(place / "plain.wav", tiny_cascade, out).path for out in (tmp_path / "a", tmp_path / "a", tmp_path / "a" / "b.wav")]
    assert [str(path.relative_to(tmp_path)) for path in paths] == ["a/plain-replay.wav", "a/plain-replay-2.wav", "a/b.wav"]
    for name in ("plain.wav", "joint.flac"):
        with pytest.raises(ValueError, match="is there already; name another place with --out"):
            replay(place / name, tiny_cascade, place / name)
    with pytest.raises(ValueError, match="the format is to be wav, the name says flac"):
        replay(place / "plain.wav", tiny_cascade, place / "other.flac")
    assert (place / "plain.wav").read_bytes() == before


def test_what_was_stopped_is_gone_on_with(place, tiny_cascade):
    class Stopping(Heard):
        def moves(self, target, share, doing):
            if share < 1:
                os.kill(os.getpid(), signal.SIGTERM)

    assert replay(place / "joint.flac", tiny_cascade, listener=Stopping()) is None
    assert (place / "joint-replay.render").is_dir() and not (place / "joint-replay.flac").exists()
    (place / "joint-replay.flac").write_bytes(b"")  # as if it had been killed between the file and the end
    done = replay(place / "joint.flac", tiny_cascade)
    assert done.same and done.path.name == "joint-replay.flac" and not (place / "joint-replay.render").exists()


# -- another -----------------------------------------------------------------------------------------------------------


def test_another_model_is_named_and_compared(place, tiny_cascade, tmp_path):
    config, state = checkpoint.load_model(tiny_cascade)
    state = {key: value * 1.5 if key.startswith("generator.") and value.is_floating_point() else value for key, value in state.items()}
    checkpoint.save_model(tmp_path / "other", config, state, "")
    for name in ("joint.flac", "plain.wav"):
        listener = Heard()
        done = replay(place / name, tmp_path / "other", listener=listener)
        old, new = (checkpoint.fingerprint(folder) for folder in (tiny_cascade, tmp_path / "other"))
        assert done.differs == (f"another model: tiny {old}, here it is other {new}",) and listener.lines == [f"{name} was made with {done.differs[0]}"]
        assert not done.same and done.largest_difference > 1e-3 and 0 <= done.first_difference < 0.1


def test_another_version_precision_and_machine_are_named(place, tiny_cascade, monkeypatch):
    monkeypatch.setattr(mousai, "__version__", "9.9")
    monkeypatch.setattr("platform.machine", lambda: "abacus")
    done = replay(place / "plain.wav", tiny_cascade, dtype="bfloat16")
    made = io.read_metadata(place / "plain.wav")
    assert done.differs == (
        f"another version of mousai: {made['mousai']}, here it is 9.9", "another precision: float32, here it is bfloat16",
        f"another kind of machine: {made['machine']}, here it is abacus",
    )  # fmt: skip
    assert not done.same and done.largest_difference < 0.1


def test_another_version_may_make_the_same_samples(place, tiny_cascade, monkeypatch):
    monkeypatch.setattr(mousai, "__version__", "9.9")
    done = replay(place / "continuation.wav", tiny_cascade)
    assert done.same and len(done.differs) == 1


def test_another_length_is_said(place, tiny_cascade):
    file = tampered(place / "plain.wav", seconds=0.2)
    done = replay(file, tiny_cascade)
    assert not done.same and done.first_difference is None and done.lengths == ("4800 samples at 48000 Hz in 2 channels", "9600 samples at 48000 Hz in 2 channels")


# -- recordings --------------------------------------------------------------------------------------------------------


@pytest.fixture
def nothing_where_it_was(files: Path, tmp_path: Path):
    (files / "take.wav").rename(tmp_path / "hidden.wav")
    yield
    (tmp_path / "hidden.wav").rename(files / "take.wav")


@pytest.mark.parametrize("name", ["take-extended.flac", "init.opus"])
def test_a_recording_is_looked_for_and_another_one_is_not_taken(name, place, nothing_where_it_was, tiny_cascade, tmp_path):
    moved = tmp_path / "elsewhere.wav"
    (place / "take.wav").rename(moved)
    with pytest.raises(FileNotFoundError, match=r"was made from take\.wav, which is not at .*take\.wav; say where it is with --recording"):
        replay(place / name, tiny_cascade)
    with pytest.raises(FileNotFoundError, match=r"not at none\.wav"):
        replay(place / name, tiny_cascade, recording="none.wav")
    io.write(place / "take.wav", torch.zeros(2, 50_001), 48_000)
    with pytest.raises(ValueError, match=rf"take\.wav: is not the recording that {name} was made from; give that one with --recording"):
        replay(place / name, tiny_cascade)
    assert replay(place / name, tiny_cascade, recording=moved).same


def test_a_recording_is_found_where_it_was(place, tiny_cascade):
    (place / "take.wav").unlink()
    assert replay(place / "take-extended.flac", tiny_cascade).same


@pytest.mark.parametrize("name", ["joint.flac", "plain.wav"])
def test_a_recording_that_nothing_was_made_from_is_refused(name, place, tiny_cascade):
    with pytest.raises(ValueError, match="was made from no recording; leave --recording away"):
        replay(place / name, tiny_cascade, recording=place / "take.wav")


# -- no recipe ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"model": ...}, "has no recipe in its metadata; only what mousai made can be replayed"),
        ({"fingerprint": 3}, "has no recipe"),
        ({"piece": ...}, "has no recipe"),
        ({"piece": 3}, r"is none that this version of mousai reads \(expected a mapping"),
        ({"piece": {"prompt": "a", "seconds": 0, "seed": -1}}, r"mousai reads \(seconds: expected a number from 1"),
        ({"piece": {"prompt": "a", "seconds": 2, "later": 1}}, r"mousai reads \(unknown key 'later'"),
        ({"piece": {"prompt": "a", "seconds": 2, "extend": "take.wav"}, "recording": None}, r"mousai reads \('NoneType'"),
        ({"piece": ..., "prompt": "a", "seconds": ...}, r"mousai reads \('seconds' is missing\)"),
        ({"piece": ..., "prompt": "a", "seconds": "long"}, r"mousai reads \(seconds: expected a number"),
        ({"piece": ..., "prompt": "a", "seconds": 1, "interval": 3}, "mousai reads"),
    ],
)
def test_what_is_no_recipe_is_one_line(values, words, place, tiny_cascade):
    file = tampered(place / "joint.flac", **values)
    with pytest.raises(ValueError, match=words) as caught:
        replay(file, tiny_cascade)
    assert str(caught.value).startswith(f"{file}: ") and "\n" not in str(caught.value) and len(list(place.glob("*replay*"))) == 0


def test_a_model_that_is_not_known_here_has_to_be_given(place):
    with pytest.raises(ValueError, match=r"was made with the model 'tiny', fingerprint \w+; give its folder with --model"):
        replay(place / "joint.flac")


def test_what_a_file_says_is_played_at_its_end(place):
    assert [prompt_of(place / name) for name in ("joint.flac", "plain.wav", "take-extended.flac", "take.wav")] == ["fast", "calm piano", "", ""]
    for values in ({"piece": 3}, {"piece": {"sections": []}}, {"piece": {"sections": [3]}}, {"piece": {"sections": [{"prompt": 3}]}}, {"piece": None}):
        assert prompt_of(tampered(place / "joint.flac", **values)) == ""
