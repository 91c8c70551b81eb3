"""Files of scores in sections: whatever stands in one, it is read or refused in words."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import pytest

from mousai.request.score_piece import OF_PIECE, OF_SECTION, read_pieces

ANYTHING = (None, True, -1, 1e308, 10**25, float("nan"), "", "x", [], {}, ["3/4"], [[]], {"a": 1}, [1, "a", None])


@pytest.mark.parametrize("key", [*OF_PIECE, *OF_SECTION, "sections", "pieces", "defaults"])
def test_anything_in_any_place_is_read_or_refused(key: str, tmp_path: Path) -> None:
    file = tmp_path / "pieces.json"
    for value in ANYTHING:
        for place in (0, 1, 2):
            piece = {"title": "two", "sections": [{"prompt": "piano", "bars": 1}, {"key": "C major", "bars": 1}]}
            [piece, *piece["sections"]][place][key] = value
            file.write_text(json.dumps(piece))
            with contextlib.suppress(ValueError):
                read_pieces(file)
