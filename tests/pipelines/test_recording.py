"""The level to which recordings are brought before they are encoded."""

from __future__ import annotations

import pytest

from mousai.pipelines.recording import level_gain


def test_music_is_brought_to_the_level_and_what_is_next_to_silent_is_left_alone() -> None:
    assert level_gain(0.02, 0.1) == pytest.approx(5.0)
    assert level_gain(0.02, None) == level_gain(0.0, 0.1) == level_gain(1e-5, 0.1) == 1.0
