"""Scores as MIDI files and on the grid: what goes in comes out, odd files are read, damaged ones refused in one line."""

from __future__ import annotations

import random
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mousai.symbolic import midi
from mousai.symbolic.harmony import chord_class, chord_moved, chord_symbol, chords_of, key_of_score, moved, signature, tonic
from mousai.symbolic.phrases import DURATIONS, GRID, MOST_NOTES, bars_of, gridded, on_grid, ungridded
from mousai.symbolic.score import LENGTH, PITCH, START, VELOCITY, Part, Score, notes_of
from mousai.symbolic.sources import holds_scores, open_scores
from mousai.theory import key_name, key_of

HEADER = b"MThd" + struct.pack(">IHHH", 6, 0, 1, 96)


def anything(seed: int, ticks: int = GRID, parts: int = 4) -> Score:
    """A score of chance whose notes lie on the grid."""
    rng = random.Random(seed)
    step, made = ticks // GRID, []
    for number in range(parts):
        rows = [
            (rng.randrange(24 * GRID) * step, rng.choice(DURATIONS) * step, rng.randrange(128), 16 * rng.randrange(8) + 8)
            for _ in range(rng.randrange(1, 40))
        ]
        made.append(Part(f"part {number} é", rng.randrange(128), rng.random() < 0.2, notes_of(rows)))
    metres = ((0, 3, 4), (9 * GRID * step, 6, 8), (18 * GRID * step, 4, 4))
    return Score(ticks, tuple(made), ((0, 90.0), (24 * step, 100.5)), metres, ((0, -3, True),), ((0, "verse ü"),), ((0, "Am7"), (12 * step, "C/E")))


@pytest.mark.parametrize("seed", range(8))
def test_a_midi_file_is_the_score(seed: int, tmp_path: Path) -> None:
    score = replace(anything(seed, ticks=480), recipe={"prompt": "é 🎵", "seed": seed})
    midi.write(tmp_path / "a.mid", score)
    again = midi.read(tmp_path / "a.mid")
    assert again == score and again.recipe == score.recipe
    midi.write(tmp_path / "b.mid", again)
    assert (tmp_path / "b.mid").read_bytes() == (tmp_path / "a.mid").read_bytes()
    assert midi.encoded(replace(score, recipe=None)) != midi.encoded(score)
    with pytest.raises(FileExistsError):
        midi.write(tmp_path / "a.mid", score, new=True)


def track(events: bytes) -> bytes:
    return b"MTrk" + struct.pack(">I", len(events)) + events


NOTE = b"\x00\x90\x3c\x40\x60\x3c\x00"  # on, and off by running status
ODD = {
    "type 0, running status, no end of track": HEADER + track(NOTE),
    "type 1": b"MThd" + struct.pack(">IHHH", 6, 1, 2, 96) + track(b"\x00\xff\x2f\x00") + track(NOTE + b"\x00\xff\x2f\x00"),
    "a system-exclusive message": HEADER + track(b"\x00\xf0\x03\x01\x02\xf7" + NOTE),
    "drums alone": HEADER + track(b"\x00\x99\x24\x40\x60\x24\x00"),
}


@pytest.mark.parametrize("name", ODD)
def test_odd_files_are_read(name: str) -> None:
    score = midi.decoded(ODD[name])
    assert score.num_notes == 1 and score.end == 96 and len(gridded(score).bars) == 1


def test_hundreds_of_tracks_and_an_hour() -> None:
    many = replace(anything(0, 480), parts=anything(1, 480, parts=500).parts)
    assert len(midi.decoded(midi.encoded(many)).parts) == 500
    long = Score(96, (Part("", 0, False, notes_of((96 * beat, 90, 60, 80) for beat in range(7200))),))
    grid = gridded(midi.decoded(midi.encoded(long)))
    assert len(grid.bars) == 1800 and long.seconds == pytest.approx(3600, abs=0.1)


@pytest.mark.parametrize("data, said", [
    (b"", "is empty"), (b"RIFF1234", "expected a MIDI file"), (HEADER, "no notes"), (HEADER[:9], "cut or damaged"),
    (HEADER + track(b"\x00\xff\x2f\x00"), "no notes"), (HEADER + track(NOTE)[:-9], "cut or damaged"),
    (HEADER[:12] + b"\xe2\x50" + track(NOTE), "cut or damaged"), (HEADER[:12] + b"\x00\x00" + track(NOTE), "damaged"),
])  # fmt: skip
def test_what_is_no_score_is_refused_in_one_line(data: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / "a.mid").write_bytes(data)
    with pytest.raises(ValueError, match=said) as error:
        midi.read(tmp_path / "a.mid")
    assert str(error.value).startswith(f"{tmp_path / 'a.mid'}: ") and "\n" not in str(error.value)


def test_a_few_bytes_ask_for_no_more_than_is_there() -> None:
    deep = HEADER + track(b"\x00\xff\x01\x8f\x50mousai " + b'{"a":' + b"[" * 100_000 + NOTE)
    assert midi.recipe_in(deep) is None
    assert midi.recipe_in(HEADER + track(b'\x00\xff\x01\x10mousai {"a": 1}' + NOTE)) == {"a": 1}
    assert midi.recipe_in(HEADER + track(b'\x00\xff\x01\x12mousai {"a": NaN}' + NOTE)) is None
    at_once = midi.decoded(HEADER + track(b"\x00\xff\x51\x03\x00\x00\x00" + NOTE))  # no time a quarter
    assert at_once.tempos == () and np.isfinite(at_once.seconds)
    one_tick = b"MThd" + struct.pack(">IHHH", 6, 0, 1, 1)
    for metre in (b"", b"\x00\xff\x58\x04\xff\x00\x18\x08"):  # 4/4, 255/1
        with pytest.raises(ValueError, match="too long to be read: it has .* bars of 1 parts"):
            midi.decoded(one_tick + track(metre + b"\x00\x90\x3c\x40\xff\xff\xff\x7f\x3c\x00"))


def test_a_score_of_another_kind_in_a_manifest_of_audio(tmp_path: Path) -> None:
    manifest = tmp_path / "rated.jsonl"
    manifest.write_text('{"file": "a.flac", "score": 0.9}\n')
    assert not holds_scores(manifest)
    with pytest.raises(ValueError, match="line 1: expected the path of a MIDI file as score, came 0.9"):
        open_scores(manifest)


def test_damage_of_any_kind_is_a_score_or_one_line() -> None:
    rng, whole = random.Random(0), midi.encoded(replace(anything(3, 480), recipe={"seed": 1}))
    read = refused = 0
    for _ in range(400):
        data = bytearray(whole[: rng.randrange(len(whole))] if rng.random() < 0.3 else whole)
        for _ in range(rng.randrange(1, 6)):
            if data:
                data[rng.randrange(len(data))] = rng.randrange(256)
        try:
            midi.decoded(bytes(data))
            read += 1
        except ValueError as error:
            assert "\n" not in str(error)
            refused += 1
    assert read > 20 and refused > 50


@pytest.mark.parametrize("ticks", [GRID, 2 * GRID, 8 * GRID, 40 * GRID])
def test_what_lies_on_the_grid_comes_back_from_it(ticks: int) -> None:
    score = anything(ticks, ticks)
    grid, there = gridded(score), on_grid(score)
    lengths = np.concatenate([part.notes[:, LENGTH] for part in there.parts])
    assert grid.cost.moved == grid.cost.lost == 0 and grid.cost.furthest == 0
    assert grid.cost.stretched == int((~np.isin(lengths, DURATIONS)).sum())  # where a note was cut short by its own pitch
    back = ungridded(grid.bars, grid.parts, grid.phrases)
    for part, wanted in zip(back, there.parts, strict=True):
        exact = np.isin(wanted.notes[:, LENGTH], DURATIONS)
        assert np.array_equal(part.notes[:, [START, PITCH, VELOCITY]], wanted.notes[:, [START, PITCH, VELOCITY]])
        assert np.array_equal(part.notes[exact], wanted.notes[exact])
    again = gridded(Score(GRID, back, metres=there.metres))
    assert all(np.array_equal(a, b) for one, two in zip(again.phrases, grid.phrases) for a, b in zip(one, two, strict=True))


def test_the_grid_says_what_it_cost() -> None:
    off = Score(480, (Part("", 0, False, notes_of([(0, 480, 60, 80), (7, 473, 62, 80), (480, 479, 64, 80), (960, 101, 65, 80)])),))
    cost = gridded(off).cost
    assert (cost.notes, cost.moved, cost.stretched, cost.lost) == (4, 1, 2, 0) and cost.furthest == pytest.approx(7 / 480)
    crowd = Score(GRID, (Part("", 0, False, notes_of((position, 1, pitch, 80) for position in range(2) for pitch in range(40))),))
    assert gridded(crowd).cost.lost == 80 - MOST_NOTES
    assert [bar.length for bar in bars_of(Score(GRID, (Part("", 0, False, notes_of([(0, 150, 60, 80)])),), metres=((0, 12, 4),)))] == [96, 48, 96, 48]


def test_unisons_and_overlaps_are_settled() -> None:
    notes = notes_of([(0, 30, 60, 1), (0, 10, 60, 2), (12, 5, 60, 3), (3, 1, 50, 4)])
    assert notes.tolist() == [[0, 12, 60, 1], [3, 1, 50, 4], [12, 5, 60, 3]]


def test_seconds_follow_tempo_changes() -> None:
    score = Score(12, (Part("", 0, False, notes_of([(0, 72, 60, 80)])),), ((0, 60.0), (24, 120.0), (48, 30.0)))
    assert score.seconds_at(np.array([0, 12, 24, 36, 48, 72])).tolist() == [0, 1, 2, 2.5, 3, 7]


@pytest.mark.parametrize("root", range(12))
def test_keys_and_chords(root: int) -> None:
    for mode in ("major", "minor"):
        assert tonic(signature(root, mode), mode == "minor") == root and -6 < signature(root, mode) <= 6
    scale = Score(GRID, (Part("", 0, False, notes_of((12 * i, 12 + 24 * (step % 12 in (0, 7)), 60 + root + step, 80) for i, step in enumerate((0, 2, 4, 5, 7, 9, 11, 12)))),))
    assert key_name(*key_of_score(scale)) == key_name(root, "major")
    assert key_of_score(moved(scale, 3))[0] == (root + 3) % 12
    triad = Score(GRID, (Part("", 0, False, notes_of((0, 48, 48 + root + step, 80) for step in (0, 3, 7))),))
    symbol = chord_symbol(int(chords_of(triad, [(0, 48)])[0]))
    assert chord_class(symbol) == 12 + root and key_of(symbol) == (root, "minor")
    assert chord_class(chord_moved("Am7/G", root)) == 12 + (9 + root) % 12 and chord_moved("N.C.", root) == "N.C."
