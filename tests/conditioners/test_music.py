"""Numbers from words and metadata, chords as a curve."""

import math

import pytest
import torch

from mousai.conditioners.music import MusicTextConditioner, MusicTextConfig, chord_curve
from mousai.conditioners.text import TextConditioner, TextConfig
from mousai.types import Condition


@pytest.fixture(scope="module")
def conditioner(tiny_t5):
    return MusicTextConditioner(MusicTextConfig(str(tiny_t5), max_length=20))


def test_tokens_are_the_texts_and_numbers_what_they_say(conditioner, tiny_t5):
    texts = ["slow piano, 90 bpm", "a waltz in F# minor"]
    condition, plain = conditioner.encode(texts), TextConditioner(TextConfig(str(tiny_t5), max_length=20)).encode(texts)
    assert torch.equal(condition.tokens, plain.tokens) and torch.equal(condition.mask, plain.mask)
    nan = math.nan
    wanted = {"bpm": [90, nan], "metre": [nan, 1], "root": [nan, 6], "mode": [nan, 1], "downbeat": [nan, nan]}
    for name, values in wanted.items():
        torch.testing.assert_close(condition.numbers[name], torch.tensor(values, dtype=torch.float32), equal_nan=True)
    assert condition.curves["chords"].shape == (2, 12, 1) and condition.curves["chords"].count_nonzero() == 0
    shape = conditioner.gives
    assert set(shape.numbers) == set(condition.numbers) and dict(shape.curves) == {"chords": 12, "beat": 2} and shape.tokens == 32


def test_metadata_say_what_is_known_of_a_segment(conditioner):
    metadata = {"bpm": 120, "key": "E minor", "metre": "3/4", "downbeats": [0.5, 2.0], "chords": [[0.0, "Em"], [2.0, "C/E"]]}
    parts = conditioner.of_recording(metadata, 1.0, 4, 0.5)
    numbers = {name.removeprefix("numbers."): float(value) for name, value in parts.items() if name.startswith("numbers.")}
    assert numbers == {"bpm": 120, "downbeat": -0.5, "metre": 1, "root": 4, "mode": 1}
    assert parts["curves.chords"].T.tolist() == [[0, 0, 0, 0, 1, 0, 0, 1, 0, 0, 0, 1]] * 2 + [[1, 0, 0, 0, 1, 0, 0, 1, 0, 0, 0, 0]] * 2
    assert parts["curves.beat"].count_nonzero() == 0
    unknown = conditioner.of_recording({"key": "atonal", "bpm": 7}, 0.0, 3, 0.5)
    assert unknown.keys() == {"curves.chords", "curves.beat"} and not any(curve.count_nonzero() for curve in unknown.values())


def test_beats_of_a_tempo_that_is_not_constant_are_a_curve(conditioner):
    metadata = {"bpm": 100, "beats": [0.5, 1.0, 1.5, 2.5, 3.5], "downbeats": [1.0, 3.5], "metre": "3/4"}
    parts = conditioner.of_recording(metadata, 0.75, 8, 0.5)
    assert "numbers.downbeat" not in parts and parts["numbers.bpm"] == 100
    assert parts["curves.beat"].tolist() == [[11.5, 0.5, 1.25, 1.75, 2.25, 2.75, 3.25, 3.75], [1.0, 0.75, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5]]
    assert conditioner.of_recording(metadata | {"downbeats": []}, 0.0, 3, 0.5)["curves.beat"].count_nonzero() == 0


def test_a_chord_that_begins_within_a_frame_has_its_share_of_it():
    curve = chord_curve([[0.25, "C"], [1.0, "N.C."]], 0.0, 3, 1.0)
    assert curve[[0, 4, 7]].tolist() == [[0.75, 0, 0]] * 3 and curve.count_nonzero() == 3


def test_conditions_of_texts_and_metadata_join(conditioner):
    told = conditioner.encode(["piano"])
    parts = {name: part[None] for name, part in conditioner.of_recording({"bpm": 90}, 0.0, 5, 0.1).items()}
    assert Condition.from_parts(told.parts() | parts).numbers["bpm"].item() == 90
