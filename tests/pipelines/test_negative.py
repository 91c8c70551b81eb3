"""A negative prompt beside a model that is told music: only the words differ."""

import pytest
import torch

from mousai.pipelines.system import System
from mousai.types import Condition

nan = float("nan")


class Told(System):
    """A system that only says whether it is told music."""

    hears_music = True

    def __init__(self, hears_music=True):
        self.hears_music = hears_music


def condition(b=1, chords=None, **numbers):
    curves = {} if chords is None else {"chords": chords}
    return Condition(torch.ones(b, 3, 2), torch.ones(b, 3, dtype=torch.bool), numbers={name: torch.tensor(values) for name, values in numbers.items()}, curves=curves)


@pytest.fixture
def music():
    return condition(2, torch.eye(12)[None, :, :4].repeat(2, 1, 1), bpm=[120.0, nan], downbeat=[0.5, nan], root=[2.0, 4.0], start=[-1.0, -1.0])


def test_what_a_negative_prompt_does_not_say_is_as_beside_it(music):
    words = condition(2, torch.zeros(2, 12, 1), bpm=[nan, nan], downbeat=[nan, nan], root=[nan, nan])
    found = Told().against(words, music)
    assert torch.equal(found.tokens, words.tokens)
    for name, value in music.numbers.items():
        torch.testing.assert_close(found.numbers[name], value, equal_nan=True)
    assert torch.equal(found.curves["chords"], music.curves["chords"])


def test_what_its_own_words_say_is_led_away_from(music):
    found = Told().against(condition(2, bpm=[140.0, 140.0], downbeat=[nan, nan], root=[nan, 9.0]), music)
    assert found.numbers["bpm"].tolist() == [140, 140] and found.numbers["root"].tolist() == [2, 9] and found.numbers["downbeat"][0] == 0.5


def test_a_model_that_is_told_words_alone_gets_them_alone(music):
    words = condition(2)
    assert Told(hears_music=False).against(words, music) is words
