"""A piece, bar after bar, in memory that does not grow: the prior says chords, acts and latents, the phrase VAE writes the notes.

What always holds is held while notes are drawn: pitches are of the key's scale or the chord's own, within the player's range; a bass has the chord's tones where a
chord begins; a bar has what its metre holds; one player at least plays in it, and
none rests for more than four. A piece that ends does so on its tonic.
"""

from __future__ import annotations

import copy
import math
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from mousai.networks.ssm import State
from mousai.symbolic.harmony import CHORDS, NO_CHORD, chord_class
from mousai.symbolic.limits import allowing, pitches
from mousai.symbolic.material import ACTS, BACK, NEW, REST, Material, metre_class, tempo_class
from mousai.symbolic.phrase_data import Phrase, padded
from mousai.symbolic.phrase_vae import PhraseVAE, drawn
from mousai.symbolic.phrases import GRID, Bar
from mousai.symbolic.plan import Plan, chance, draw_seed
from mousai.symbolic.prior import PhrasePrior
from mousai.symbolic.prior_data import BAR, CELL, NEAR_END, PLACES
from mousai.theory import chord_tones

FLOW_STEPS = 10
TONIC = {"major": 0, "minor": 12 + 9}  # chord classes of the home keys
MOST_HEARD = 64  # bars of what is gone on from
MOST_REST = 4  # bars that a player rests in a row
AT_ONCE = 8  # bars that are written together


@dataclass(frozen=True)
class Written:
    """One bar of a piece in the home key: its chords' classes, and what each player plays."""

    bar: Bar
    chords: tuple[int, int]
    phrases: tuple[np.ndarray, ...]


@dataclass
class Memory:
    """All that a piece is continued from, of one size however long it is."""

    states: list[State] | None = None
    bar: int = 0  # the next one
    since: int = 0  # the first that may come again
    chords: deque = field(default_factory=lambda: deque(maxlen=BACK[-1]))  # (first, second) of the last bars
    latents: deque = field(default_factory=lambda: deque(maxlen=BACK[-1]))  # (tracks, latent) of them, rests are 0
    phrases: deque = field(default_factory=lambda: deque(maxlen=BACK[-1]))  # what was written in them
    act_before: int = ACTS
    latent_before: Tensor | None = None

    def copied(self) -> Memory:
        """Another to go on from, while this one stays."""
        return copy.deepcopy(self)

    def forget_bars(self) -> None:
        """No earlier bar comes again from here on."""
        for kept in (self.chords, self.latents, self.phrases):
            kept.clear()


@dataclass
class Sketch:
    """A bar before its notes: acts and latents of its cells."""

    chords: tuple[int, int]
    acts: list[int]
    latents: Tensor  # (tracks, latent)


class Composer:
    """Goes through one plan; `memory` may be that of a piece that was begun before, `text` is the prompt's embedding `(features,)`."""

    def __init__(self, vae: PhraseVAE, prior: PhrasePrior, plan: Plan, memory: Memory | None = None, text: Tensor | None = None) -> None:
        self.vae, self.prior, self.plan, self.text = vae, prior, plan, text
        self.memory = memory or Memory()
        self.given, self.first = [given_chords(symbol) for symbol in plan.home_chords], self.memory.bar

    def bars(self, last: int | None = None) -> Iterator[Written]:
        """The bars that are left, to before number `last` where that is said, without end if the plan has none."""
        last = self.plan.bars if last is None else last
        while last is None or self.memory.bar < last:
            count = AT_ONCE if last is None else min(AT_ONCE, last - self.memory.bar)
            first = self.memory.bar
            sketches = [self.sketch() for _ in range(count)]
            yield from self.written(sketches, first)

    def hear(self, material: Material) -> None:
        """Goes through the last bars of what is there already, so that what comes goes on from it."""
        first = max(0, len(material.bars) - MOST_HEARD)
        found: list[Phrase] = []
        for bar, row in zip(material.bars[first:], material.phrases[first:], strict=True):
            found += [(phrase, part.drums, bar.length) for phrase, part in zip(row, material.parts, strict=True)]
        latents = self.vae.encode(padded(found)).view(len(material.bars) - first, len(material.parts), -1)
        self.memory.bar = first
        for number, row in enumerate(material.phrases[first:], first):
            played = torch.tensor([len(phrase) > 0 for phrase in row])
            known = Sketch(tuple(material.chords[number].tolist()), material.acts[number].tolist(), latents[number - first] * played[:, None])
            self.sketch(known, material.bars[number].metre)
            self.memory.phrases.append(row)

    # What comes

    def sketch(self, known: Sketch | None = None, metre: tuple[int, int] | None = None) -> Sketch:
        """The next bar's chords, acts and latents: those that are known, else drawn."""
        plan, memory = self.plan, self.memory
        near = NEAR_END if plan.bars is None else min(plan.bars - 1 - memory.bar, NEAR_END)
        past = [memory.chords[-far] if far <= len(memory.chords) else (CHORDS, CHORDS) for far in BACK]
        common = {"metre": metre_class(metre or plan.metre), "place": memory.bar % PLACES, "near": near, "past": past}
        told = self.element(kind=BAR, family=0, register=0, density=0, polyphony=0, chords=(CHORDS, CHORDS), back=None, **common)
        chords = known.chords if known else self.draw_chords(told, near)
        memory.act_before, memory.latent_before = ACTS, None
        acts, latents = [], torch.zeros(len(plan.players), self.vae.config.latent)
        for number, player in enumerate(plan.players):
            back = torch.stack([memory.latents[-far][number] if far <= len(memory.latents) else torch.zeros(self.vae.config.latent) for far in BACK])
            track = player.track
            told = self.element(kind=CELL, family=track.family, register=track.register, density=track.density, polyphony=track.polyphony, chords=chords, back=back, **common)
            act = known.acts[number] if known else self.draw_act(told, number, chords, acts, back)
            if known:
                latents[number] = known.latents[number]
            elif act == NEW:
                latents[number] = self.draw_latent(told, number, chords)
            elif act != REST:
                latents[number] = back[act - 2]
            acts.append(act)
            memory.act_before, memory.latent_before = act, latents[number]
        memory.chords.append(chords)
        memory.latents.append(latents)
        memory.bar += 1
        return Sketch(chords, acts, latents)

    def element(self, *, past: Sequence[tuple[int, int]], back: Tensor | None, **fields: object) -> Tensor:
        """What is known `(2, features)` after an element, with what was asked for and without."""
        memory, size = self.memory, self.vae.config.latent
        styles = self.prior.config.styles
        asked = {"style": styles.index(self.plan.style) if self.plan.style in styles else self.prior.unsaid["style"], "minor": int(self.plan.mode == "minor"), "tempo": tempo_class(self.plan.quarters)}
        elements = {name: torch.tensor([value, value]) for name, value in (fields | asked).items()}
        for name, unsaid in self.prior.unsaid.items():
            elements[name][1] = unsaid
        if self.prior.config.text is not None:
            elements["text"] = torch.zeros(2, self.prior.config.text_features)
            if self.text is not None:
                elements["text"][0] = self.text
        elements["past"] = torch.tensor([past, past])
        elements["back"] = (torch.zeros(len(BACK), size) if back is None else back).expand(2, -1, -1)
        elements["act_before"] = torch.tensor([memory.act_before] * 2)
        elements["latent_before"] = (torch.zeros(size) if memory.latent_before is None else memory.latent_before).expand(2, -1)
        told, memory.states = self.prior.step(elements, memory.states)
        return told

    def chord_given(self, bar: int) -> tuple[int, tuple[int, ...]]:
        """The chord that is asked for in a bar; they come one a bar from the plan's first on, again and again."""
        return self.given[(bar - self.first) % len(self.given)]

    def draw_chords(self, told: Tensor, near: int) -> tuple[int, int]:
        """The chords of the bar's halves: those that are given, the tonic at the very end, else drawn."""
        plan, bar = self.plan, self.memory.bar
        if self.given:
            chord = self.chord_given(bar)[0]
            return chord, chord
        if near == 0 and plan.bars is not None:
            return TONIC[plan.mode], TONIC[plan.mode]
        first = self.draw(self.prior.to_first(told), NO_CHORD, "first")
        return first, self.draw(self.prior.second(told, torch.tensor([first, first])), NO_CHORD, "second")

    def draw_act(self, told: Tensor, number: int, chords: tuple[int, int], before: Sequence[int], back: Tensor) -> int:
        """Rest, new, or back: only to where there is something, and for what has pitches only to the same chords."""
        memory, player = self.memory, self.plan.players[number]
        logits = self.prior.to_act(told)
        for k, far in enumerate(BACK):
            there = far <= min(len(memory.latents), memory.bar - memory.since) and bool(back[k].any())
            if not there or (not player.drums and memory.chords[-far] != chords):
                logits[:, 2 + k] = -torch.inf
        alone = number == len(self.plan.players) - 1 and all(act == REST for act in before)
        if alone or (len(memory.latents) >= MOST_REST and not any(bool(each[number].any()) for each in list(memory.latents)[-MOST_REST:])):
            logits[:, REST] = -torch.inf
        return self.draw(logits, None, "act", number)

    def draw_latent(self, told: Tensor, number: int, chords: tuple[int, int]) -> Tensor:
        """The latent `(latent,)` of a new phrase: where so many notes are wanted, of several the one whose phrase has about as many."""
        plan, bar, player = self.plan, self.memory.bar, self.plan.players[number]
        generator = torch.Generator().manual_seed(draw_seed(plan, bar, number))
        if player.wanted is None:
            return self.prior.draw(told, plan.guidance, FLOW_STEPS, generator, [plan.spread])[0]
        spreads = [plan.spread, *[max(plan.spread, 1.0)] * (plan.candidates - 1)]  # all but the first as wide as in training, so that they differ
        found = self.prior.draw(told, plan.guidance, FLOW_STEPS, generator, spreads)
        notes = [len(phrase) for phrase in self.decoded(found, [(bar, chords, number)] * len(found))]
        wanted = player.wanted * plan.bar_length / GRID
        return found[min(range(len(found)), key=lambda i: abs(math.log(notes[i] / wanted)) if notes[i] else math.inf)]

    def draw(self, logits: Tensor, never: int | None, *place: int | str) -> int:
        """A class of guided logits `(2, classes)`."""
        said, unsaid = torch.log_softmax(logits, dim=-1).unbind(0)
        guided = torch.where(unsaid.isfinite(), unsaid + self.plan.guidance * (said - unsaid), -torch.inf)
        if never is not None:
            guided[never] = -torch.inf
        return int(drawn(guided[None], self.plan.temperature, torch.tensor([chance(self.plan, self.memory.bar, *place)])))

    # What is written

    def written(self, sketches: Sequence[Sketch], first: int) -> Iterator[Written]:
        """The notes of bars: all their new phrases at once, then what goes back to earlier ones."""
        cells = [(row, track) for row, sketch in enumerate(sketches) for track, act in enumerate(sketch.acts) if act == NEW]
        notes: dict[tuple[int, int], np.ndarray] = {}
        if cells:
            latents = torch.stack([sketches[row].latents[track] for row, track in cells])
            decoded = self.decoded(latents, [(first + row, sketches[row].chords, track) for row, track in cells])
            notes = {cell: phrase.numpy() for cell, phrase in zip(cells, decoded, strict=True)}
        for row, sketch in enumerate(sketches):
            phrases = []
            for track, act in enumerate(sketch.acts):
                empty = np.zeros((0, 4), np.int64)
                phrases.append(empty if act == REST else notes[row, track] if act == NEW else self.memory.phrases[-BACK[act - 2]][track])
            self.memory.phrases.append(tuple(phrases))
            yield Written(Bar((first + row) * self.plan.bar_length, self.plan.bar_length, self.plan.metre), sketch.chords, tuple(phrases))

    def decoded(self, latents: Tensor, cells: Sequence[tuple[int, tuple[int, int], int]]) -> list[Tensor]:
        """The phrases `(n, 4)` of latents `(cells, latent)`, each in a bar with its chords by a track."""
        plan = self.plan
        masks = torch.stack([self.pitches(*cell) for cell in cells])  # (cells, 2, 2, 128)
        drums = torch.tensor([int(plan.players[track].drums) for _, _, track in cells])
        length, half = (torch.full((len(cells),), places) for places in (plan.bar_length, plan.half))
        return self.vae.decode(latents, drums, length, allowed=allowing(masks, half))

    def pitches(self, bar: int, chords: tuple[int, int], track: int) -> Tensor:
        """Which pitches `(2, 2, 128)` a player may play in each half of a bar: within it, and where it begins."""
        given = self.chord_given(bar)[1] if self.given else ()
        return pitches(self.plan.players[track], chords, given, self.plan.mode, self.plan.up)


def given_chords(symbol: str) -> tuple[int, tuple[int, ...]]:
    """The class of a chord that is given, and all of its tones."""
    return chord_class(symbol), chord_tones(symbol)
