"""A composer of scores: a phrase VAE and the priors that were trained for it, from one model folder.

Everything in a score follows from what is asked, its seed and the model: the same again is the same to the byte.
"""

from __future__ import annotations

import math
import os
import platform
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import mousai
from mousai import checkpoint
from mousai.conditioners.contrastive import TEXT, PooledText
from mousai.recipe import SYMBOLIC, part_with_weights, phrases_fingerprint
from mousai.request.score import Infill, ScoreRequest
from mousai.request.score_piece import ScorePiece
from mousai.symbolic import midi
from mousai.symbolic.composer import Composer, Memory, Written
from mousai.symbolic.excerpt import region_of
from mousai.symbolic.grid import GridPrior
from mousai.symbolic.harmony import chord_symbol, moved, signature
from mousai.symbolic.infill import infilled
from mousai.symbolic.material import Material
from mousai.symbolic.phrase_vae import PhraseVAE
from mousai.symbolic.phrases import GRID, ungridded
from mousai.symbolic.plan import Plan, plan_going_on, plan_of, wishes_of
from mousai.symbolic.practice import TICKS
from mousai.symbolic.prior import PhrasePrior
from mousai.symbolic.score import LENGTH, START, Part, Score, notes_of
from mousai.symbolic.sections import goes_on, joined, plans_of

KINDS = ("phrases", "prior")
MOST_TICKS = 2**15 - 1  # a quarter, of a MIDI file


class Symbolic:
    """A system that composes: `compose` a score, `stream` bars without end, and with a `grid` `infill` a part of one."""

    def __init__(self, phrases: PhraseVAE, prior: PhrasePrior, grid: GridPrior | None = None, *, name: str = "", fingerprint: str = "") -> None:
        for each in (prior, *([grid] if grid else [])):
            if phrases.config.latent != each.config.latent:
                raise ValueError(f"the prior makes latents of {each.config.latent}, the phrase VAE has {phrases.config.latent}")
        self.phrases, self.prior, self.grid = phrases.eval(), prior.eval(), grid.eval() if grid else None
        self.name, self.fingerprint = name, fingerprint
        self._text: PooledText | None = None  # loaded when a prompt is first read

    @property
    def facts(self) -> dict[str, str]:
        """What a score follows from beside what was asked for: the model, versions and the kind of machine."""
        return {
            "model": self.name, "fingerprint": self.fingerprint, "mousai": mousai.__version__, "torch": torch.__version__,
            "symusic": getattr(midi.symusic(), "__version__", ""), "machine": platform.machine(),
        }  # fmt: skip

    def compose(
        self, prompt: str | ScoreRequest | ScorePiece, bars: int | None = None, seed: int = 0, *, going_on: Score | None = None,
        progress: Callable[[int, int], None] | None = None, **settings: Any,
    ) -> Score:  # fmt: skip
        """The score for a prompt; `settings` are the other fields of `request.score.ScoreRequest`, such as key="F minor", metre="3/4", instruments="cello, piano".

        With `going_on` it is that score, as it is, and so many bars after it. `progress(done, total)` counts bars. ValueError in one line for what cannot be.
        A `ScorePiece` says all itself.
        """
        if isinstance(prompt, ScorePiece):
            return self.compose_sections(prompt, progress)
        request = prompt if isinstance(prompt, ScoreRequest) else ScoreRequest(prompt=prompt, bars=bars, seed=seed, **settings)
        plan, material = (plan_of(request), None) if going_on is None else plan_going_on(request, going_on)
        composer, written = Composer(self.phrases, self.prior, plan, text=self.text_of(request.prompt)), []
        if material is not None:
            composer.hear(material)
            composer.memory.since = composer.memory.bar if plan.wanted else 0
        first = composer.memory.bar
        for bar in composer.bars():
            written.append(replace(bar, bar=replace(bar.bar, start=len(written) * plan.bar_length)))
            if progress:
                progress(len(written), plan.bars - first)
        recipe = {"compose": request.to_dict(), **self.facts}
        new = self.score_of(plan, written, recipe)
        return new if going_on is None else followed(going_on, material, new)

    def compose_sections(self, piece: ScorePiece, progress: Callable[[int, int], None] | None = None) -> Score:
        """The score of a piece in sections: one memory goes through them all."""
        plans, scores, lengths, memory = plans_of(piece), [], [], Memory()
        total, before, text = plans[-1].bars, None, None
        for plan, section in zip(plans, piece.sections, strict=True):
            text = self.text_of(section.prompt) if section.prompt else text
            if before is not None and not goes_on(before, plan):
                memory.forget_bars()
            if before is not None and before.wanted != plan.wanted:
                memory.since = memory.bar
            composer, written = Composer(self.phrases, self.prior, replace(plan, bars=total), memory, text), []
            for bar in composer.bars(plan.bars):
                written.append(replace(bar, bar=replace(bar.bar, start=len(written) * plan.bar_length)))
                if progress:
                    progress(memory.bar, total)
            scores.append(self.score_of(plan, written, None))
            lengths.append(len(written) * plan.bar_length * TICKS // GRID)
            before = plan
        return replace(joined(scores, lengths, piece.names), recipe={"compose": piece.to_dict(), **self.facts})

    def infill(
        self, score: Score, bars: tuple[int, int] | None = None, tracks: str | Sequence[str | int] = (), prompt: str | ScoreRequest = "", seed: int = 0, *,
        progress: Callable[[int, int], None] | None = None, **settings: Any,
    ) -> Score:  # fmt: skip
        """A score with some of its bars (from the first to the last, counted from 1), some of its tracks (by number or name), or these tracks in these bars made anew.

        Every note that begins elsewhere stays as it is. `prompt` says the style and how busy it is, `settings` are density, guidance and chords, one a bar. ValueError in
        one line for what cannot be.
        """
        check_infills(self)
        asked = Infill(bars, tracks)
        request = prompt if isinstance(prompt, ScoreRequest) else ScoreRequest(prompt=prompt, seed=seed, **settings)
        made = infilled(self.phrases, self.grid, score, region_of(score, asked), wishes_of(request), progress)
        said = {name: value for name, value in request.to_dict().items() if name != "candidates"}  # there are no drafts
        return replace(made, recipe={"compose": said, "infills": asked.to_dict(), **self.facts})

    def stream(self, prompt: str, seed: int = 0, **settings: Any) -> Iterator[Score]:
        """A piece without end, a score of one bar at a time; what is kept of it does not grow."""
        plan = plan_of(ScoreRequest(prompt=prompt, seed=seed, **settings), endless=True)
        for bar in Composer(self.phrases, self.prior, plan, text=self.text_of(prompt)).bars():
            yield self.score_of(plan, [replace(bar, bar=replace(bar.bar, start=0))], None)

    def text_of(self, prompt: str) -> Tensor | None:
        """A prompt's embedding, where the prior has learned of texts and there are words."""
        if self.prior.config.text is None or not prompt.strip():
            return None
        if self._text is None:
            self._text = PooledText(self.prior.config.text)
        return self._text.encode([prompt]).vectors[TEXT][0]

    @staticmethod
    def score_of(plan: Plan, written: Sequence[Written], recipe: dict[str, Any] | None) -> Score:
        """The bars of a plan as a score that sounds in its key; no note sounds on after the last bar."""
        players = [Part(player.name, player.program, player.drums, notes_of(())) for player in plan.players]
        parts = ungridded([bar.bar for bar in written], players, [bar.phrases for bar in written])
        end, scale = len(written) * plan.bar_length, TICKS // GRID
        ended = []
        for part in parts:
            notes = part.notes.copy()
            notes[:, LENGTH] = scale * (notes[:, START] + notes[:, LENGTH]).clip(max=end) - scale * notes[:, START]
            notes[:, START] *= scale
            ended.append(Part(part.name, part.program, part.drums, notes))
        chords: list[tuple[int, str]] = []
        for bar in written:
            for half, chord in enumerate(bar.chords):
                symbol = chord_symbol(chord)
                if not chords or chords[-1][1] != symbol:
                    chords.append((scale * (bar.bar.start + half * plan.half), symbol))
        home = Score(TICKS, tuple(ended), ((0, plan.quarters),), ((0, *plan.metre),), chords=tuple(chords))
        there = moved(home, plan.up)
        return Score(there.ticks, there.parts, there.tempos, there.metres, ((0, signature(plan.root, plan.mode), plan.mode == "minor"),), (), there.chords, recipe)


def followed(score: Score, material: Material, new: Score) -> Score:
    """A score as it is, and after its last bar what was composed to go on from it; ticks so fine that both are exact."""
    ticks = math.lcm(score.ticks, GRID)
    if ticks > MOST_TICKS:
        raise ValueError(f"the score has {score.ticks} ticks a quarter, with which nothing can be put on a grid of {GRID} exactly; save it with 480")
    own, scale = ticks // score.ticks, ticks // GRID
    end = scale * (material.bars[-1].start + material.bars[-1].length)
    parts = []
    for index, part in enumerate(score.parts):
        rows = part.notes * np.array([own, own, 1, 1])
        if index in material.order:
            later = new.parts[material.order.index(index)].notes.copy()
            later[:, START], later[:, LENGTH] = later[:, START] * scale * GRID // TICKS + end, later[:, LENGTH] * scale * GRID // TICKS
            rows = np.concatenate([rows, later])
        parts.append(Part(part.name, part.program, part.drums, notes_of(rows)))
    moved_events = {name: tuple((own * each[0], *each[1:]) for each in getattr(score, name)) for name in ("tempos", "metres", "keys", "sections", "chords")}
    moved_events["chords"] += tuple((tick * scale * GRID // TICKS + end, symbol) for tick, symbol in new.chords)
    return Score(ticks, tuple(parts), **moved_events, recipe=new.recipe)


def load(path_or_name: str | Path) -> Symbolic:
    """The composer of a model folder or of a shipped model's name; FileNotFoundError or ValueError says what is wrong.

    A phrase VAE and a prior that do not belong together are refused, both named.
    """
    folder = checkpoint.model_folder(path_or_name)
    check_composer(path_or_name)
    settings, state = checkpoint.load_model(folder)
    own, wanted = phrases_fingerprint(folder), settings.get("trained_for")
    if own != wanted:
        raise ValueError(f"{path_or_name}: its prior was trained for the phrase VAE {wanted}, the one in the folder is {own}; export the prior again beside its own")
    parts = (part_with_weights(kind, settings, state, str(path_or_name)).requires_grad_(False) for kind in SYMBOLIC if kind in settings)
    return Symbolic(*parts, name=Path(os.path.abspath(path_or_name)).name.replace("starter-", "starter_"), fingerprint=checkpoint.fingerprint(folder))


def check_composer(path_or_name: str | Path) -> None:
    """FileNotFoundError or ValueError for what is no model folder of a composer, before any weights are read."""
    settings = checkpoint.load_config(checkpoint.model_folder(path_or_name))
    if lacks := [kind for kind in KINDS if kind not in settings]:
        raise ValueError(f"{path_or_name}: this model composes no scores, it has no {' and no '.join(lacks)}; the shipped one that does is starter-symbolic")


def check_infills(composer: Symbolic) -> None:
    """ValueError for a composer without a prior of the grid."""
    if composer.grid is None:
        raise ValueError(f"{composer.name or 'this model'} cannot infill: it has no prior of the grid (recipes/symbolic/grid.yaml); the shipped one that does is starter-symbolic")
