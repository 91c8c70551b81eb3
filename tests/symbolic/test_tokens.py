"""REMI+ tokens: scores on the grid come back, and what does not is said; the embedding of their numbers."""

from __future__ import annotations

import random

import pytest
import torch

from mousai.symbolic.embedding import FundamentalEmbedding, fundamental
from mousai.symbolic.phrases import GRID
from mousai.symbolic.score import START, Part, Score, notes_of
from mousai.symbolic.tokens import LONGEST_BEATS, Tokenizer


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer()


def on_its_grid(seed: int) -> Score:
    """A score of chance whose parts have programmes of their own, since parts of one programme become one."""
    rng, parts = random.Random(seed), []
    for number in range(3):
        rows = [(rng.randrange(20 * GRID), rng.randrange(1, LONGEST_BEATS * GRID // 2 + 1), rng.randrange(128), rng.randrange(1, 128)) for _ in range(30)]
        parts.append(Part("", 7 * number, False, notes_of(rows)))
    return Score(GRID, tuple(parts), ((0, 90.0),), ((0, 3, 4), (36, 6, 8)))


@pytest.mark.parametrize("seed", range(6))
def test_tokens_are_the_score(tokenizer: Tokenizer, seed: int) -> None:
    score = on_its_grid(seed)
    cost = tokenizer.cost(score)
    assert cost.exact == cost.notes == score.num_notes and cost.furthest == 0
    again = tokenizer.decode(tokenizer.encode(score))
    assert again.metres == score.metres and again.tempos[0][1] == pytest.approx(90, abs=2)
    assert tokenizer.cost(again).exact == score.num_notes


def test_tokens_have_the_names_of_remi(tokenizer: Tokenizer) -> None:
    names = {name.partition("_")[0] for name in tokenizer.vocabulary}
    assert {"Bar", "TimeSig", "Position", "Tempo", "Program", "Pitch", "Velocity", "Duration"} <= names


def test_what_is_off_the_grid_is_said(tokenizer: Tokenizer) -> None:
    off = Score(480, (Part("", 0, False, notes_of([(0, 480, 60, 80), (487, 480, 62, 80)])),))
    cost = tokenizer.cost(off)
    assert (cost.notes, cost.exact) == (2, 1) and cost.furthest == pytest.approx(7 / 480, abs=1e-3) and "1 of 2 notes" in str(cost)
    voices = tuple(Part("", 0, False, notes_of([(0, length, 60, 80)])) for length in (12, 24))
    assert tokenizer.cost(Score(GRID, voices)).exact == 1  # a unison of two parts of one programme is one note


def test_drums_stay_drums(tokenizer: Tokenizer) -> None:
    drums = Score(GRID, (Part("", 0, True, notes_of([(0, 3, 36, 80), (12, 3, 38, 80)])),), ((0, 120.0),), ((0, 4, 4),))
    again = tokenizer.decode(tokenizer.encode(drums))
    assert again.parts[0].drums and again.parts[0].notes[:, START].tolist() == [0, 12]


def test_a_step_is_a_step_wherever_it_is_taken() -> None:
    pitches = torch.arange(128, dtype=torch.float64)
    waves = fundamental(pitches, 32, 997.0)
    distance = torch.cdist(waves, waves, compute_mode="donot_use_mm_for_euclid_dist")
    for step in (1, 7, 12, 40):
        same = distance.diagonal(step)
        assert (same - same[0]).abs().max() < 1e-12 and same[0] > 0
    octave, fifth = (FundamentalEmbedding(128, 32, 997.0)(torch.tensor([60, 60 + step])) for step in (12, 7))
    assert torch.dist(*octave) > torch.dist(*fifth)
    with pytest.raises(ValueError, match="even number"):
        FundamentalEmbedding(128, 5, 10.0)
