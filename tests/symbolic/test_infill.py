"""Infilling: what stays to the bit, what holds inside, what is refused; and the grid's prior, which learns to fit what stays."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from mousai.cli.main import main
from mousai.jobs.compose import made_of
from mousai.jobs.compose_again import replay
from mousai.pipelines.symbolic import Symbolic, load
from mousai.recipe import load_part, part_from, phrases_fingerprint
from mousai.request.score import Infill, bars_said
from mousai.symbolic import midi
from mousai.symbolic.excerpt import excerpt, put_in, region_of
from mousai.symbolic.grid_data import GridWindows, known_cells
from mousai.symbolic.harmony import chords_of
from mousai.symbolic.prior_data import PriorDataConfig, cached
from mousai.symbolic.score import LENGTH, PITCH, START, Part, Score, notes_of
from mousai.theory import SCALES, chord_tones
from mousai.types import SamplingSettings


@pytest.fixture(scope="module")
def composer(untrained: Path) -> Symbolic:
    return load(untrained)


@pytest.fixture(scope="module")
def song(composer: Symbolic) -> Score:
    """Twelve bars in another grid than ours, with sixteen notes that sound over a bar."""
    score = composer.compose("rock", bars=12, seed=2, key="Eb minor", metre="3/4")
    long = Part("organ", 16, False, notes_of((3 * 480 * bar, 5 * 480, 63 + bar % 2, 80) for bar in range(0, 12, 2)))
    return replace(score, parts=(*score.parts, long), recipe=None)


def rows(part: Part) -> set[tuple]:
    return set(map(tuple, part.notes.tolist()))


@pytest.mark.parametrize("bars, tracks, settings", [((3, 4), ("2",), {}), (None, ("organ", "drums"), {"chords": "Ebm B7 Gb"}), ((2, 11), (), {"density": 2.0, "guidance": 2.0})])
def test_what_is_outside_stays_to_the_bit_and_inside_the_rules_hold(composer: Symbolic, song: Score, bars: tuple | None, tracks: tuple, settings: dict) -> None:
    made = composer.infill(song, bars, tracks, "rock", seed=1, **settings)
    region = region_of(song, Infill(bars, tracks))
    assert (region.start, region.end) == ((0, 12 * 1440) if bars is None else ((bars[0] - 1) * 1440, bars[1] * 1440))
    assert made.ticks == song.ticks and (made.tempos, made.metres, made.keys, made.sections) == (song.tempos, song.metres, song.keys, song.sections)
    allowed = {(3 + step) % 12 for step in SCALES["minor"]}.union(*(chord_tones(symbol) for _, symbol in made.chords))
    for number, (before, after) in enumerate(zip(song.parts, made.parts, strict=True)):
        if number not in region.parts:
            assert before == after
            continue
        outside = {row for row in rows(before) if not region.start <= row[START] < region.end}
        new = np.array(sorted(rows(after) - outside)).reshape(-1, 4)
        assert outside <= rows(after) and rows(after) != rows(before)
        assert ((new[:, START] >= region.start) & (new[:, START] + new[:, LENGTH] <= region.end)).all()
        assert after.drums or set((new[:, PITCH] % 12).tolist()) <= allowed
        assert after == replace(after, notes=notes_of(after.notes))  # nothing sounds on where its pitch begins anew
    starts = np.concatenate([part.notes[:, START] for part in made.parts]) // 1440
    assert set(range(12)) <= set(starts.tolist())  # somebody plays in every bar
    if settings.get("chords"):
        assert [symbol for _, symbol in made.chords][:4] == ["Ebm", "B7", "Gb", "Ebm"]
    again, other = (composer.infill(song, bars, tracks, "rock", seed=seed, **settings) for seed in (1, 2))
    assert midi.encoded(again) == midi.encoded(made) != midi.encoded(other)


def put_in_slowly(part: Part, new: np.ndarray, end: int) -> Part:
    kept = []
    for row in new.tolist():
        own = part.notes[part.notes[:, PITCH] == row[PITCH]]
        if not ((own[:, START] <= row[START]) & (own[:, START] + own[:, LENGTH] > row[START])).any():
            later = own[own[:, START] > row[START], START]
            kept.append((row[START], min(row[LENGTH], end - row[START], int(later.min(initial=end)) - row[START]), *row[PITCH:]))
    return replace(part, notes=notes_of(np.concatenate([part.notes, np.array(kept, np.int64).reshape(-1, 4)])))


def test_notes_are_put_in_as_one_by_one() -> None:
    for seed in range(100):
        rng = np.random.default_rng(seed)
        own, new = (np.stack([rng.integers(*span, n), rng.integers(1, 40, n), rng.integers(60, 66, n), rng.integers(1, 127, n)], axis=1) for n, span in ((rng.integers(0, 40), (0, 300)), (rng.integers(0, 15), (100, 200))))
        part = Part("", 0, False, notes_of(own))
        assert put_in(part, new, 200) == put_in_slowly(part, new, 200)


def test_notes_make_way_for_those_that_stay() -> None:
    own = Part("", 0, False, notes_of([(0, 30, 60, 80), (60, 10, 62, 80), (200, 10, 64, 80)]))
    new = np.array([(10, 10, 60, 90), (40, 50, 62, 90), (50, 200, 67, 90), (40, 5, 60, 90)])
    assert rows(put_in(own, new, 100)) == rows(own) | {(40, 20, 62, 90), (50, 50, 67, 90), (40, 5, 60, 90)}
    found = excerpt(Score(12, (own,), ((0, 90.0), (60, 120.0)), ((0, 4, 4), (48, 3, 4)), chords=((0, "C"), (50, "F"))), 48, 84, (0,))
    assert found.parts[0].notes[:, START].tolist() == [12] and found.tempos == ((0, 90.0), (12, 120.0)) and found.metres == ((0, 3, 4),) and found.chords == ((0, "C"), (2, "F"))


@pytest.mark.parametrize("bars, tracks, said", [
    ((9, 16), (), "the score has bars 1 to 12, came 9-16"), (None, ("9",), "tracks: the score has 1 'drums', 2 'bass'"), ((1, 1), ("orgam",), "did you mean"),
    ((4, 3), (), "the first and the last"), ((0, 3), (), "counted from 1"), (None, (), "what is to be made anew"), (None, (" ,",), "names none"),
])  # fmt: skip
def test_regions_that_are_not_there_are_refused_in_one_line(composer: Symbolic, song: Score, bars: tuple | None, tracks: tuple, said: str) -> None:
    with pytest.raises(ValueError, match=said) as error:
        composer.infill(song, bars, tracks)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("request_, said", [({"key": "C major"}, "key: what is made for a score keeps"), ({"seconds": 9.0}, "as long as what was there"), ({"temperature": 0.5}, "temperature: does nothing"), ({"spread": 0.5}, "spread: does nothing"), ({"instruments": "piano"}, "instruments: ")])
def test_what_the_score_says_cannot_be_asked_for(composer: Symbolic, song: Score, request_: dict, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        composer.infill(song, (1, 2), **request_)


def test_scores_of_all_kinds_are_infilled(composer: Symbolic) -> None:
    one = Score(100, (Part("", 0, False, notes_of([(0, 100, 60, 80)])),), metres=((0, 7, 8),))
    drums = Score(480, (Part("kit", 0, True, notes_of((480 * i, 10, 36, 99) for i in range(20))),))
    many = Score(480, tuple(Part(f"p{i}", i, False, notes_of([(1920 * bar, 480, 40 + i, 80) for bar in range(3)])) for i in range(30)))
    long = Score(12, (Part("", 5, False, notes_of((12 * i, 12, 60 + i % 5, 80) for i in range(300))),), metres=((0, 9, 1),))
    for score, bars, tracks in ((one, (1, 1), ()), (drums, (2, 4), ()), (many, (2, 2), ("29", "p3")), (long, (2, 2), ())):
        made = composer.infill(score, bars, tracks, seed=1)
        assert len(made.bars()) <= len(score.bars()) and made.num_notes > 0
    with pytest.raises(ValueError, match="at most 8 are made at once"):
        composer.infill(many, (1, 2))


def test_windows_hear_no_more_than_they_may_and_chords_keep_their_order(composer: Symbolic, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bars of the grid count where those of the score are longer; the whole score is gridded once for each key; chords are one a bar of the score."""
    from mousai.symbolic import infill

    heard, grids = [], []
    hear, gridded = infill.hear, infill.gridded
    monkeypatch.setattr(infill, "hear", lambda *given: heard.append((hear(*given), given[4].chords)) or heard[-1][0])
    monkeypatch.setattr(infill, "gridded", lambda score, *end: grids.append(end) or gridded(score, *end))
    parts = tuple(Part(name, 0, False, notes_of((12 * i, 12, 60 + i % 5, 80) for i in range(36 * 4))) for name in ("piano, right hand", "piano, left hand", "bass"))
    long = Score(12, parts, ((0, 120.0),), ((0, 9, 1),))
    made = composer.infill(long, (2, 3), ("Piano, right hand",), seed=1, chords="C F")
    assert made.parts[1:] == long.parts[1:] and made.parts[0] != long.parts[0]
    assert all(len(each.bars) * len(each.players) <= composer.grid.config.cells for each, _ in heard) and len(heard) == 3
    assert [[bar.length for bar in each.bars] for each, _ in heard] == [[96, 48, 96, 96, 96, 96, 48, 96], [96, 96, 48, 96, 96, 96, 96, 48], [96, 96, 96, 96, 48, 96, 96, 96]]
    assert [chords for _, chords in heard] == [("C",) * 5 + ("F",), ("C", *("F",) * 5), ("F",) * 2]
    assert grids.count(()) == len({each.up for each, _ in heard})
    heard.clear()
    short = replace(long, metres=((0, 4, 4),))
    made = composer.infill(short, (5, 18), ("piano, left hand", "3"), seed=1, chords="C F G")
    asked = ("C", "F", "G") * 5
    assert [chords[0] for _, chords in heard] == [asked[4 * window % 3] for window in range(4)] and [symbol for tick, symbol in made.chords if 4 * 48 <= tick < 18 * 48] == list(asked[:14])
    outside = [(start, length) for start, length in short.bars() if not 4 * 48 <= start < 18 * 48]
    assert (chords_of(made, outside) == chords_of(short, outside)).all()  # which has no chord track
    assert region_of(short, Infill(None, ("bass, 1",))).parts == (0, 2)


def test_a_part_without_notes_is_left_alone_or_named(composer: Symbolic, song: Score) -> None:
    quiet = replace(song, parts=(*song.parts, Part("tuba", 58, False, notes_of(()))))
    assert composer.infill(quiet, (2, 3), seed=1).parts[-1] == quiet.parts[-1]
    for score, tracks, said in ((quiet, ("tuba",), "'tuba' has no notes"), (Score(480, ()), (), "the score has no notes")):
        with pytest.raises(ValueError, match=said) as error:
            composer.infill(score, None if tracks else (1, 1), tracks)
        assert "\n" not in str(error.value)


def test_the_command_line_infills_and_replays(composer: Symbolic, song: Score, untrained: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    midi.write(tmp_path / "in.mid", song)

    def run(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main([*map(str, arguments), "--model", str(untrained)])
        return ended.value.code or 0, *capsys.readouterr()

    code, out, _ = run("compose", "--infill", tmp_path / "in.mid", "--bars", "3-4", "--tracks", "2", "--out", tmp_path / "out.mid", "--no-picture", "--json")
    assert code == 0 and json.loads(out)["scores"][0]["bars"] == len(song.bars())
    made = midi.read(tmp_path / "out.mid")
    assert made.recipe["infills"]["bars"] == [3, 4] and made.parts[0] == song.parts[0] != made.parts[1]
    assert made_of(made) == "in.mid with bars 3 to 4, tracks 2 made anew" and made_of(song) == ""
    again = replay(tmp_path / "out.mid", untrained)
    assert again.same and again.path.read_bytes() == (tmp_path / "out.mid").read_bytes()
    midi.write(tmp_path / "odd.mid", replace(made, recipe={**made.recipe, "infills": {**made.recipe["infills"], "bars": "x"}}))
    for wrong, said in (
        (["replay", tmp_path / "odd.mid"], "does not say what was made anew"), (["compose", "x", "--bars", "3-4"], "are for --infill"), (["compose", "x", "--bars", "many"], "expected a whole number"), (["compose", "--infill", tmp_path / "in.mid", "--bars", "10-9"], "came 10-9"),
        (["compose", "--infill", tmp_path / "in.mid", "--bars", "1-2", "--instruments", "piano, flute"], "(came piano, flute)"),
        (["compose", "--infill", tmp_path / "in.mid", "--bars", "30"], "bars 1 to"), (["compose", "--infill", tmp_path / "in.mid", "--continue", tmp_path / "in.mid", "--bars", "3"], "give one"),
    ):  # fmt: skip
        code, _, error = run(*wrong)
        assert code == 2 and said in error and len(error.strip().splitlines()) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.mid", "odd.mid", "out-replay.mid", "out.mid"]
    assert bars_said("9-16") == (9, 16) and bars_said(" 7 ") == 7


def test_the_prior_of_the_grid_learns_and_hears_what_stays(practice: Path, untrained: Path, tiny: tuple, tmp_path: Path) -> None:
    data = PriorDataConfig(sources=(str(practice),), cache=str(tmp_path / "latents.safetensors"), elements=24)
    tensors = cached(data, load_part("phrases", untrained), phrases_fingerprint(untrained), lambda _: None)
    part = part_from("grid", {**tiny[2], "dit": {**tiny[2]["dit"], "features": 32}})
    windows, prior = GridWindows(tensors, data, part.config.styles, "train", 0), part.build(0)
    items = [windows[i] for i in range(12)]
    assert all(torch.equal(items[5][name], windows[5][name]) for name in items[5]) and not all(item["keep"].all() for item in items)
    for item in items:
        real, tracks = item["real"], int(item["track"].max()) + 1
        assert not (~item["keep"] & ~real).any() and torch.equal(item["bar"][real] * tracks + item["track"][real], torch.arange(int(real.sum())))
    prior.prepare(tensors["latents"])
    batch = {name: torch.stack([item[name] for item in items]) for name in items[0]}
    latents, plays = prior.latents(prior.cells(batch["latents"]))
    rests = ~(batch["latents"] != 0).any(-1)
    torch.testing.assert_close(latents[~rests], batch["latents"][~rests])
    assert torch.equal(plays > 0, ~rests)
    optimizer, losses = torch.optim.Adam(prior.parameters(), lr=5e-3), []
    for step in range(80):
        loss, _ = prior.loss(batch, torch.Generator().manual_seed(step))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert np.mean(losses[-8:]) < 0.6 * losses[0] and all(weight.grad is not None for weight in prior.parameters())
    prior.eval()
    told = {name: value[:1] for name, value in batch.items()}
    cells, keep = prior.cells(told["latents"]), told["keep"]
    condition = prior.condition(told, cells)
    drawn, other = (prior.sample(condition, cells.shape[-1], seeds=[seed], settings=SamplingSettings(guidance=1.5), init=cells, keep=keep[:, None]) for seed in (0, 1))
    assert torch.equal(torch.where(keep[:, None], drawn, 0), torch.where(keep[:, None], cells, 0)) and not torch.equal(drawn, other)
    order = torch.randperm(cells.shape[-1])  # cells are told where they are, in whatever order they come
    x, t = torch.randn(cells.shape), torch.tensor([0.5])
    moved = prior.condition({name: value[:, order] for name, value in told.items()}, cells[..., order])
    predicted = [prior.dit(torch.cat([noisy, prior.beside(each)], 1), t, angles=prior.angles(each)) for noisy, each in ((x, condition), (x[..., order], moved))]
    torch.testing.assert_close(predicted[0][..., order], predicted[1], atol=1e-4, rtol=1e-4)


def test_a_region_is_as_it_is_asked_for() -> None:
    real = torch.arange(24) < 21
    item = {"bar": torch.where(real, torch.arange(24) // 3, 0), "track": torch.where(real, torch.arange(24) % 3, 0), "real": real}
    regions = [~known_cells(item, random.Random(seed)) for seed in range(60)]
    assert not any((region & ~real).any() for region in regions) and any(torch.equal(region, real) for region in regions)
    assert any(len(set(item["track"][region].tolist())) == 1 for region in regions) and any(len(set(item["bar"][region].tolist())) == 1 for region in regions)
