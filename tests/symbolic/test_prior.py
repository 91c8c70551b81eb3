"""The prior: what a piece is to it, that it is told all that it should be, that its head keeps modes apart, and that it learns."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from mousai.conditioners.contrastive import PooledText
from mousai.conditioners.text import TextConfig
from mousai.data.loader import SourceConfig
from mousai.networks.ssm import Mamba2Config
from mousai.recipe import load_part, phrases_fingerprint
from mousai.symbolic.material import BACK, NEW, POLYPHONIES, REST, acts_of, halves, material_of, polyphony_class, tempo_class, voices_of
from mousai.symbolic.phrases import Bar
from mousai.symbolic.prior import TRACK, FlowHead, PhrasePrior, PhrasePriorConfig
from mousai.symbolic.prior_data import BAR, CELL, PriorDataConfig, PriorWindows, cached, texts_of
from mousai.symbolic.score import DRUMS, Part, Score, notes_of
from mousai.symbolic.sources import Piece, open_scores

STYLES = ("piano", "rock")
SMALL = PhrasePriorConfig(latent=16, styles=STYLES, head_features=32, head_layers=2, mamba=Mamba2Config(features=32, layers=2, state=4, head_features=16))


@pytest.fixture(scope="module")
def told_words(tiny_encoder: Path) -> PhrasePriorConfig:
    """A prior that is told a prompt's words, and how many voices a track has."""
    return replace(SMALL, text=TextConfig(str(tiny_encoder), 16), text_features=32, polyphony=True, dropout=0.1)


@pytest.fixture(scope="module")
def windows(practice: Path, untrained: Path, told_words: PhrasePriorConfig, tmp_path_factory: pytest.TempPathFactory) -> PriorWindows:
    config = PriorDataConfig(sources=(str(practice),), cache=str(tmp_path_factory.mktemp("cache") / "latents.safetensors"), elements=48)
    vae, said = load_part("phrases", untrained), []
    first = cached(config, vae, phrases_fingerprint(untrained), said.append)
    again = cached(config, vae, phrases_fingerprint(untrained), said.append)
    assert len(said) == 1 and all(torch.equal(first[name], again[name]) for name in first)  # kept
    cached(config, vae, "another", said.append)
    assert len(said) == 2  # of another phrase VAE it is made anew
    words = PooledText(told_words.text)
    tensors = cached(config, vae, "another", said.append, words)
    assert len(said) == 3 and tensors["texts"].shape == (20, 3, 32)  # and where words are to be in it
    cached(config, vae, "another", said.append, words)
    cached(config, vae, "another", said.append)
    assert len(said) == 3  # who asks for none may have it
    cached(config, vae, "another", said.append, PooledText(replace(told_words.text, max_length=12)))
    assert len(said) == 4
    first = open_scores(str(practice))[0]
    torch.testing.assert_close(tensors["texts"][0], words.encode(list(texts_of(first))).vectors["text"])
    assert not any(first.metadata["key"] in text for text in texts_of(first)) and texts_of(Piece("a.mid", Path("a.mid"), {})) == ()
    return PriorWindows(tensors, config, STYLES, "train", seed=0)


def test_a_piece_is_bars_chords_tracks_and_acts() -> None:
    piano = notes_of([(48 * bar + at, 12, pitch, 80) for bar in range(5) for at, pitch in ((0, 65), (12, 69), (24, 72 if bar % 2 else 77))])
    score = Score(12, (Part("p", 0, False, piano), Part("d", 0, True, notes_of((48 * bar, 3, 36, 80) for bar in (0, 1, 2, 4)))), ((0, 80.0),), keys=((0, -1, False),))
    chords = Part("c", 0, False, notes_of([(0, 12, pitch, 80) for pitch in (60, 64, 67)] + [(24, 12, pitch, 80) for pitch in (60, 64, 67)]))
    found = material_of(score, "piano")
    assert [track.family for track in found.tracks] == [DRUMS, 0] and found.up == -5 and not found.minor and found.tempo == tempo_class(80) == 6
    assert found.acts.tolist() == [[NEW, NEW], [2, NEW], [2, 3], [REST, 3], [3, 3]]
    assert [track.polyphony for track in found.tracks] == [POLYPHONIES, 0] and polyphony_class(voices_of(chords)) == 3
    assert found.phrases[0][1][:, 1].tolist() == [60, 64, 72] and set(found.chords[:, 0].tolist()) == {0}  # F major, moved to C
    assert halves([Bar(0, 36, (3, 4)), Bar(36, 36, (6, 8)), Bar(72, 48, (4, 4))]) == [(0, 24), (24, 36), (36, 54), (54, 72), (72, 96), (96, 120)]
    repeated = acts_of([[np.ones((1, 4))]] * 10, [Bar(0, 48, (4, 4))] * 10)
    assert repeated[:, 0].tolist() == [NEW] + [2] * 9


def test_windows_follow_from_their_number_and_say_what_was_before(windows: PriorWindows) -> None:
    one, other, next_one = windows[5], windows[5], windows[6]
    assert all(torch.equal(one[name], other[name]) for name in one) and one["kind"].shape == (48,) and not torch.equal(one["latent"], next_one["latent"])
    piece = windows.pieces[0]
    tracks = len(piece["tracks"])
    window = windows.window(piece, 2, 3)
    rows = torch.arange(3 * (1 + tracks)).view(3, -1)
    assert (window["kind"][rows[:, 0]] == BAR).all() and (window["kind"][rows[:, 1:]] == CELL).all() and int(window["real"].sum()) == rows.numel()
    assert torch.equal(window["back"][rows[1, 1:], 0], window["latent"][rows[0, 1:]]) and not window["back"][rows[0]].any()
    assert torch.equal(window["past"][rows[2, 0], 1], piece["bars"][2, 2:]) and (window["act"][rows[0, 1:]] < 2).all()
    for i in range(20):
        window = windows[i]
        far = torch.tensor([0, 0, *BACK])[window["act"][window["real"]]]
        assert bool((window["back"][window["real"]][far > 0].abs().sum((1, 2)) > 0).all())


def batch_of(windows: PriorWindows, count: int = 3) -> dict:
    items = [windows[i] for i in range(count)]
    return {name: torch.stack([item[name] for item in items]) for name in items[0]}


def test_everything_that_is_told_has_a_say_and_it_learns(windows: PriorWindows, told_words: PhrasePriorConfig) -> None:
    torch.manual_seed(0)
    prior, batch = PhrasePrior(told_words), batch_of(windows)
    prior.prepare(windows.latents)
    optimizer, losses = torch.optim.Adam(prior.parameters(), lr=5e-3), []
    for step in range(60):
        loss, logs = prior.loss(batch, torch.Generator().manual_seed(step))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert np.mean(losses[-5:]) < 0.5 * losses[0] and set(logs) == {"chord", "act", "flow"}
    assert all(weight.grad is not None for weight in prior.parameters())
    prior.eval()
    told = prior.told(batch, torch.Generator().manual_seed(0))
    x = prior.embed(told)
    for name in ("style", "minor", "tempo", "register", "density", "polyphony", "text", "family", "metre", "place", "near", "act_before"):
        changed = told[name].clone()
        changed[:, 4] = (changed[:, 4] + 1) % 2
        moved = (prior.embed(told | {name: changed}) != x).any(-1)
        assert moved[:, 4].any() or (name in TRACK and not (told["kind"][:, 4] == CELL).any()), name
        assert not moved[:, :4].any() and not moved[:, 5:].any()


def test_what_came_later_begins_as_nothing_and_unsaid_is_as_without(windows: PriorWindows, told_words: PhrasePriorConfig) -> None:
    torch.manual_seed(0)
    old, batch = PhrasePrior(SMALL).eval(), batch_of(windows)
    new = PhrasePrior(told_words).eval()
    lacks = set(new.state_dict()) - set(old.state_dict())
    assert lacks == {"tables.polyphony.weight", "text.0.weight", "text.1.weight"} and all(any(re.fullmatch(each, name) for each in new.BEGIN_AS_NOTHING) for name in lacks)
    new.load_state_dict(old.state_dict(), strict=False)
    told = [prior.told(batch, torch.Generator().manual_seed(0)) for prior in (old, new)]
    torch.testing.assert_close(new.embed(told[1]), old.embed(told[0]))
    nn.init.normal_(new.text[1].weight)
    assert not torch.equal(new.embed(told[1]), old.embed(told[0]))
    torch.testing.assert_close(new.embed(told[1] | {"text": torch.zeros_like(told[1]["text"])}), old.embed(told[0]))


def test_steps_are_the_sequence(windows: PriorWindows, told_words: PhrasePriorConfig) -> None:
    torch.manual_seed(0)
    prior, batch = PhrasePrior(told_words).eval(), batch_of(windows, 2)
    told = prior.told(batch, torch.Generator().manual_seed(0))
    with torch.no_grad():
        whole, _ = prior.mamba(prior.embed(told))
        state = None
        for place in range(9):
            hidden, state = prior.step({name: value[:, place] for name, value in told.items()}, state)
            torch.testing.assert_close(hidden, whole[:, place], atol=1e-5, rtol=1e-4)


def test_a_flow_keeps_modes_apart_where_a_regression_averages_them() -> None:
    g = torch.Generator().manual_seed(0)
    data = torch.where(torch.rand(512, 1, generator=g) < 0.5, -1.0, 1.0) + 0.05 * torch.randn(512, 1, generator=g)
    prior = PhrasePrior(PhrasePriorConfig(latent=1, head_features=32, head_layers=2, times=1, mamba=SMALL.mamba))
    torch.manual_seed(0)
    prior.head, mean = FlowHead(1, 32, 32, 2), nn.Parameter(torch.zeros(1))
    optimizer, told = torch.optim.Adam([*prior.head.parameters(), mean], lr=5e-3), torch.zeros(512, 32)
    for step in range(250):
        loss = prior.flow_loss(told, data, torch.Generator().manual_seed(step)) + (mean - data).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    drawn = torch.cat([prior.draw(torch.zeros(2, 32), 1.0, 20, torch.Generator().manual_seed(seed)) for seed in range(60)])
    assert float(mean.detach().abs()) < 0.2  # what no data is like
    assert float(((drawn.abs() - 1).abs() < 0.35).float().mean()) > 0.85 and 0.25 < float((drawn > 0).float().mean()) < 0.75


def test_a_cache_is_a_file_of_tensors(practice: Path) -> None:
    with pytest.raises(ValueError, match=".safetensors"):
        PriorDataConfig(sources=(str(practice),), cache="latents")


def test_a_cache_is_made_again_where_anything_is_another(practice: Path, untrained: Path, tmp_path: Path) -> None:
    vae, manifest, said = load_part("phrases", untrained), tmp_path / "few.jsonl", []
    rows = [json.loads(line) for line in practice.read_text().splitlines()[:2]]

    def names(split: str, weight: float = 1.0) -> str:
        manifest.write_text("".join(json.dumps({**row, "file": str(practice.parent / row["file"]), "split": split}) + "\n" for row in rows))
        config = PriorDataConfig(sources=(SourceConfig(str(manifest), weight),), cache=str(tmp_path / "latents.safetensors"))
        tensors = cached(config, vae, "fingerprint", said.append)
        assert set(tensors["weights"].tolist()) == {weight}
        return bytes(tensors["names"].tolist()).decode()

    assert names("train") == names("train") and len(said) == 1
    assert "train" not in names("valid") and len(said) == 2
    assert names("valid", 0.5) and len(said) == 3
    cut = (tmp_path / "latents.safetensors").read_bytes()[:-9]
    (tmp_path / "latents.safetensors").write_bytes(cut)
    assert names("valid", 0.5) and len(said) == 5 and "is damaged" in said[3]
