"""The page to listen to blind: all of it in its folder, nothing that gives an origin away, the clips equally loud."""

from __future__ import annotations

import base64
import json
import re
from html.parser import HTMLParser

import pytest
import torch

from mousai.audio import io
from mousai.audio.loudness import measure
from mousai.evaluation.listen import listening_page

RATE = 48000


def sound(seed: int, level: float) -> torch.Tensor:
    return level * torch.randn(2, RATE, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def page(tmp_path):
    prompts = [(f"words {i} </script><b>", {"old": sound(3 * i, 0.01), "new": sound(3 * i + 1, 0.3), "röal": sound(3 * i + 2, 0.05)}) for i in range(6)]
    return listening_page(tmp_path, "a model", prompts, RATE, seed=1)


def data_of(page) -> dict:
    found = re.search(r'<script id="data" type="application/json">(.*?)</script>', page.read_text(encoding="utf-8"), re.DOTALL)
    return json.loads(found[1])


def test_the_folder_is_whole_and_needs_no_network(page) -> None:
    data = data_of(page)
    files = {clip["file"] for row in data["prompts"] for clip in row["clips"]}
    assert {path.name for path in page.parent.iterdir()} == files | {"listen.html"} and len(files) == 18
    text = page.read_text(encoding="utf-8")
    assert not re.search(r"https?:|//[a-z]|autoplay|@import|url\(", text.replace("URL.", ""))


def test_origins_are_shuffled_and_hidden(page) -> None:
    data, text = data_of(page), page.read_text(encoding="utf-8")
    origins = [[base64.b64decode(clip["source"]).decode() for clip in row["clips"]] for row in data["prompts"]]
    assert all(sorted(row) == ["new", "old", "röal"] for row in origins) and len({tuple(row) for row in origins}) > 1
    assert [row["number"] for row in data["prompts"]] == [1, 2, 3, 4, 5, 6] and data["prompts"][0]["prompt"] != "words 0 </script><b>"
    assert [clip["letter"] for clip in data["prompts"][0]["clips"]] == ["A", "B", "C"] and "röal" not in text


def test_clips_are_equally_loud(page) -> None:
    for file in sorted(page.parent.glob("*.ogg"))[:6]:
        loudness = measure([io.read(file)], RATE, 2)
        assert loudness.integrated_lufs == pytest.approx(-21, abs=0.2) and loudness.true_peak_db < 0  # Vorbis takes a decibel of white noise


def test_the_page_is_sound_html_with_one_of_each_id(page) -> None:
    class Checker(HTMLParser):
        def __init__(self) -> None:
            super().__init__()
            self.open, self.ids = [], []

        def handle_starttag(self, tag, attributes) -> None:
            self.ids += [value for name, value in attributes if name == "id"]
            if tag not in ("meta",):
                self.open.append(tag)

        def handle_endtag(self, tag) -> None:
            assert self.open.pop() == tag

    checker = Checker()
    checker.feed(page.read_text(encoding="utf-8"))
    text = page.read_text(encoding="utf-8")
    assert not checker.open and len(set(checker.ids)) == len(checker.ids)
    assert set(re.findall(r'getElementById\("(\w+)"\)', text)) <= set(checker.ids) and "{{" not in text


def test_a_row_has_no_more_clips_than_letters(tmp_path) -> None:
    with pytest.raises(ValueError, match="at most 26 clips of a prompt, came 27"):
        listening_page(tmp_path, "x", [("words", {str(i): sound(0, 0.1) for i in range(27)})], RATE)
