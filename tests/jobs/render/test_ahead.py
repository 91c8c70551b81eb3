"""Generating ahead of the decoder, as on a CUDA device, makes the same piece and loses nothing."""

import errno

import pytest

import mousai
from mousai.audio import io
from mousai.jobs.render.piece import Work, ahead, make
from mousai.jobs.render.plan import Target
from mousai.jobs.render.state import RenderState
from mousai.request.piece import Piece, Section

SILENT = lambda *_: None  # noqa: E731
GO_ON = lambda: False  # noqa: E731


@pytest.fixture(scope="module")
def cascade(tiny_cascade):
    return mousai.load(tiny_cascade)


@pytest.fixture
def target(tmp_path):
    return lambda name: Target(Piece([Section("piano", 16.0)], loop=True, window=4.0, steps=3, loudness=None), tmp_path, name, "wav")


@pytest.fixture
def always_ahead(monkeypatch):
    generate = Work.generated
    monkeypatch.setattr(Work, "generated", lambda self, *place: ahead(generate(self, *place), self.cascade.device))


def test_a_piece_made_ahead_is_the_same(cascade, target, request):
    make(target("plain"), cascade, SILENT, SILENT, GO_ON)
    request.getfixturevalue("always_ahead")
    make(target("ahead"), cascade, SILENT, SILENT, GO_ON)
    assert io.read(target("plain").file).equal(io.read(target("ahead").file))


def test_a_failure_ahead_of_an_opening_that_was_enough_is_not_lost(cascade, target, request, monkeypatch):
    """The opening of a loop stops reading while a segment is being made that nobody waits for."""
    make(target("plain"), cascade, SILENT, SILENT, GO_ON)
    request.getfixturevalue("always_ahead")
    add, calls = RenderState.add, []

    def full(self, frames, *rest):
        calls.append(frames is not None)
        if sum(calls) > 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        return add(self, frames, *rest)

    monkeypatch.setattr(RenderState, "add", full)
    with pytest.raises(OSError, match="No space"):
        make(target("ahead"), cascade, SILENT, SILENT, GO_ON)
    monkeypatch.setattr(RenderState, "add", add)
    make(target("ahead"), cascade, SILENT, SILENT, GO_ON)
    assert io.read(target("plain").file).equal(io.read(target("ahead").file))
