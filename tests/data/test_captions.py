"""Captions: every field can come and can be missing, in any order, reproducibly."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from mousai.data.captions import caption

METADATA = {
    "title": "Nightfall", "artist": "Ada", "album": "Evenings", "genre": ["ambient", "drone"], "year": 2019,
    "mood": ["calm"], "instruments": ["piano", "strings"], "key": "D minor", "bpm": 70,
}  # fmt: skip
SINGLE = ["Nightfall", "Ada", "Evenings", "2019", "calm", "D minor", "2 of 4"]


def captions(count: int, metadata: dict = METADATA, **settings) -> list[str]:
    return [caption(metadata, random.Random(seed), **settings) for seed in range(count)]


def test_the_same_seed_gives_the_same_caption_and_another_another() -> None:
    made = captions(50, segment=(2, 4))
    assert made == captions(50, segment=(2, 4))
    assert len(set(made)) == 50


def test_every_field_is_dropped_with_its_probability() -> None:
    made = captions(2000, segment=(2, 4), drop=0.1)
    for text in SINGLE:
        assert 0.08 < sum(text not in one for one in made) / 2000 < 0.12, text
    assert 0.08 < sum("ambient" not in one for one in made) / 2000 < 0.12
    assert all(("ambient" in one) == ("drone" in one) for one in made)
    assert set(captions(20, drop=1.0)) == {""}


def test_nothing_is_dropped_at_zero_and_the_order_changes() -> None:
    made = captions(400, segment=(2, 4), drop=0.0)
    assert all(text in one for one in made for text in (*SINGLE, "piano", "strings"))
    assert all(("70 BPM" in one) != ("slow" in one) for one in made)
    assert 150 < sum("70 BPM" in one for one in made) < 250
    assert len(Counter(next(text for text in (*SINGLE, "piano", "ambient", "slow", "70 BPM", "strings", "drone") if one.startswith(text)) for one in made)) > 8


def test_joined_by_spaces_or_by_commas_throughout() -> None:
    made = captions(400, {"title": "One", "artist": "Two", "mood": ["three", "four"]}, drop=0.0)
    commas = [one for one in made if "," in one]
    assert 150 < len(commas) < 250
    assert all(sorted(one.split(", ")) == ["One", "Two", "four", "three"] for one in commas)
    assert all(sorted(one.split(" ")) == ["One", "Two", "four", "three"] for one in made if "," not in one)


def test_a_caption_of_its_own_is_half_of_them() -> None:
    made = captions(400, {**METADATA, "caption": "A night piece."}, segment=(1, 3))
    assert 150 < made.count("A night piece.") < 250
    assert not any("night piece" in one for one in made if one != "A night piece.")
    assert set(captions(20, {"caption": "A night piece.", "split": "train", "license": "CC0"})) == {"A night piece."}


@pytest.mark.parametrize(("bpm", "word"), [(79, "slow"), (80, "medium tempo"), (119, "medium tempo"), (120, "fast")])
def test_tempo_as_a_word(bpm: int, word: str) -> None:
    assert set(captions(40, {"bpm": bpm}, drop=0.0)) == {f"{bpm} BPM", word}
    assert set(captions(40, {"bpm": bpm, "tempo": "Largo"}, drop=0.0)) == {f"{bpm} BPM", "Largo"}


def test_nothing_known_is_an_empty_caption() -> None:
    assert set(captions(5, {})) == {""}
    assert set(captions(5, {"style": "waltz"}, drop=0.0)) == {"waltz"}


@pytest.mark.parametrize("segment", [(0, 4), (5, 4)])
def test_a_segment_outside_the_piece_is_an_error(segment: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="segment"):
        caption(METADATA, random.Random(0), segment)
