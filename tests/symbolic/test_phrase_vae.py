"""The phrase VAE: what it reads and writes, what it may not write, its stages, and that it learns."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from mousai.data.loader import SourceConfig
from mousai.symbolic.phrase_data import AUTOENCODING, INFILLING, VARIATIONAL, PhraseDataConfig, PhrasePacks, padded
from mousai.symbolic.phrase_vae import PITCH, PhraseVAE, PhraseVAEConfig, drawn
from mousai.symbolic.phrases import FIELDS, MOST_NOTES

SMALL = PhraseVAEConfig(features=32, encoder_layers=1, decoder_layers=1, heads=2, latent=16)


def phrases(count: int, seed: int = 0) -> list:
    """Phrases of chance, in order."""
    rng, made = np.random.default_rng(seed), []
    for _ in range(count):
        rows = {(int(rng.integers(48)), int(rng.integers(40, 80))) for _ in range(rng.integers(1, 9))}
        made.append((np.array([(at, pitch, rng.integers(57), rng.integers(8)) for at, pitch in sorted(rows)], dtype=np.int64), bool(rng.random() < 0.2), 48))
    return made


def model() -> PhraseVAE:
    torch.manual_seed(0)
    return PhraseVAE(SMALL)


def test_padding_is_not_heard() -> None:
    made, some = model().eval(), phrases(6)
    together = made.encode(padded(some))
    alone = torch.cat([made.encode(padded([phrase])) for phrase in some])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)


def test_notes_one_by_one_are_what_training_scores() -> None:
    made, some = model().eval(), phrases(5)
    batch, latents = padded(some), torch.randn(5, 16)
    with torch.no_grad():
        known = made.known(latents, batch)
        for row, (phrase, _, _) in enumerate(some):  # the likeliest note that decoding takes first is the one that training's logits say
            logits = made.fields.logits(0, known[row, :1])
            first = made.decode(latents[row : row + 1], batch["drums"][row : row + 1], batch["length"][row : row + 1])[0]
            wanted = int(logits[0, torch.cat([torch.arange(48), torch.tensor([FIELDS[0]])])].argmax())
            assert (len(first) == 0) == (wanted == 48) and (wanted == 48 or int(first[0, 0]) == wanted)


def test_what_is_written_is_in_order_and_allowed() -> None:
    made, latents = model().eval(), 3 * torch.randn(24, 16)
    length = torch.tensor([12, 36, 48, 96] * 6)
    even = torch.arange(128) % 2 == 0
    drums = torch.zeros(24, dtype=torch.long)
    written = made.decode(latents, drums, length, temperature=1.5, seeds=list(range(24)), allowed=lambda field, notes, rows: even.expand(len(rows), -1) if field == PITCH else None)
    assert sum(map(len, written)) > 20 and max(map(len, written)) <= MOST_NOTES
    for notes, bar in zip(written, length.tolist()):
        rows = [tuple(note[:2]) for note in notes.tolist()]
        assert rows == sorted(set(rows)) and all(at < bar and pitch % 2 == 0 for at, pitch in rows)
    again = made.decode(latents[5:6], drums[5:6], length[5:6], temperature=1.5, seeds=[5], allowed=lambda field, notes, rows: even.expand(len(rows), -1) if field == PITCH else None)
    assert torch.equal(again[0], written[5])  # alone as among others


def test_it_learns_phrases_and_its_latents_say_them() -> None:
    made, some = model(), phrases(12)
    batch = padded(some) | {"stage": torch.full((12,), VARIATIONAL)}
    optimizer = torch.optim.Adam(made.parameters(), lr=5e-3)
    for step in range(220):
        loss, logs = made.loss(batch, torch.Generator().manual_seed(step))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert all(weight.grad is not None for name, weight in made.named_parameters() if name != "hidden")
    made.eval()
    _, logs = made.loss(batch, torch.Generator().manual_seed(0))
    assert logs["accuracy"] > 0.95 and logs["shuffled"] > 5 * logs["nll"]
    back = made.decode(made.encode(batch), batch["drums"], batch["length"])
    assert sum(np.array_equal(one.numpy(), phrase) for one, (phrase, _, _) in zip(back, some, strict=True)) >= 9


def test_stages_follow_from_an_items_number() -> None:
    config = PhraseDataConfig(sources=("x",), pack=128, infilling=2, autoencoding=3)
    packs = PhrasePacks(phrases(80), config, seed=4)
    assert [int(packs[i]["stage"][0]) for i in range(7)] == [INFILLING] * 2 + [AUTOENCODING] * 3 + [VARIATIONAL] * 2
    assert int(PhrasePacks(phrases(80), config, 4, staged=False)[0]["stage"][0]) == VARIATIONAL
    one, other = packs[3], PhrasePacks(phrases(80), config, seed=4)[3]
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert sum(last - first for first, last in packs.packs) == 80 and max(int(packs[i]["count"].max() - packs[i]["count"].min()) for i in range(9)) <= 4

    plain, moved = (PhrasePacks(phrases(80), replace(config, transpose=far), seed=4, staged=staged)[3] for far, staged in ((5, False), (5, True)))
    assert torch.equal(plain["notes"], one["notes"])
    ways, pitched, there = (moved["notes"] - one["notes"])[..., 1], one["drums"] == 0, torch.arange(one["notes"].shape[1]) < one["count"][:, None]
    assert torch.equal((moved["notes"] - one["notes"])[..., [0, 2, 3]], torch.zeros_like(one["notes"][..., [0, 2, 3]])) and not ways[~pitched].any()
    assert 3 < len(set(ways[pitched, 0].tolist())) <= 11 and torch.equal(ways[pitched], ways[pitched, :1] * there[pitched])

    made, batch = model(), PhrasePacks.collate([packs[0], packs[5]])
    assert batch["notes"].shape[0] == len(packs[0]["count"]) + len(packs[5]["count"])
    plain = {**batch, "stage": torch.full_like(batch["stage"], AUTOENCODING)}
    seeds = [made.loss(plain, torch.Generator().manual_seed(seed))[0] for seed in (1, 2)]
    assert torch.equal(*seeds)  # an autoencoder draws nothing
    hiding = {**batch, "stage": torch.full_like(batch["stage"], INFILLING)}
    assert not torch.equal(*[made.loss(hiding, torch.Generator().manual_seed(seed))[0] for seed in (1, 2)])
    share = made.spans((400, 30), torch.Generator().manual_seed(0)).float().mean()
    assert 0.2 < share < 0.35


def test_drawing_follows_the_shares() -> None:
    logits = torch.tensor([0.5, 0.25, 0.25, 1e-30]).log().expand(4000, -1).clone()
    logits[:, 2] = -torch.inf
    uniform = torch.rand(4000, generator=torch.Generator().manual_seed(0))
    shares = torch.bincount(drawn(logits, 1.0, uniform), minlength=4) / 4000
    torch.testing.assert_close(shares, torch.tensor([2 / 3, 1 / 3, 0, 0]), atol=0.03, rtol=0)
    assert drawn(logits[:1], 1.0, torch.tensor([1.0])).item() in (1, 3) and drawn(logits[:1], 0.0, None).item() == 0


@pytest.mark.parametrize("wrong", [{"features": 30}, {"latent": 0}, {"beta": -1.0}])
def test_what_cannot_be_is_refused(wrong: dict) -> None:
    with pytest.raises(ValueError, match="weight and index_beside do nothing here"):
        PhraseDataConfig(sources=(SourceConfig("a", weight=0.5),))
    with pytest.raises(ValueError, match="expected"):
        PhraseVAEConfig(**wrong)
