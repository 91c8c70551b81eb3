"""How bands play: rock, metal, soul, jazz, bossa nova."""

from __future__ import annotations

from mousai.data.synth.drumming import BOSSA, JAZZ_WALTZ, METAL, ROCK, SLOW_TWELVE, SOUL, SWING, drum
from mousai.data.synth.melody import counterpoint, melody
from mousai.data.synth.players import Rng, arpeggiate, bass_line, choose, hold_chords, level, play, span_at, strike_chords, strum, voiced, walking_bass
from mousai.data.synth.score import Score
from mousai.data.synth.theory import above


def power_chords(score: Score, parts: tuple[str, ...], pattern: str, low: int, velocity: float, muted: float) -> None:
    """Root, fifth and octave in the rhythm of a text: "X" rings, "x" is damped after `muted` of a step, "o" is the root."""
    unit = score.metre.beats / len(pattern)
    for bar in score.bars:
        for i, letter in enumerate(pattern):
            if letter not in "Xxo":
                continue
            start = bar.start + i * unit
            chord = span_at(bar, start).chord
            root = above(chord.root, low)
            held = next((j for j in range(i + 1, len(pattern)) if pattern[j] != "-"), len(pattern)) - i
            length = held * unit * (0.96 if letter == "X" else muted)
            for part in parts:
                for interval in (0, 7, 12) if letter != "o" else (0,):
                    fifth = chord.fifth - chord.root
                    pitch = root + (fifth % 12 if interval == 7 else interval)
                    score.add(part, start, length, pitch, velocity * (1.0 if letter == "X" else 0.85) * level(bar))


def rock(score: Score, rng: Rng) -> None:
    """Two distorted guitars, bass and drums; quiet sections are clean and picked; sometimes a lead guitar or an organ."""
    sides = (score.part("guitar left", "distorted guitar"), score.part("guitar right", "distorted guitar"))
    riff = choose(rng, ("X---x-x-X---x-x-", "X-x-x-x-X-x-x-x-", "X--X--X-X--X--X-", "X-----x-X-x-x---", "X-------X---x-x-", "x.x.x.x.X---X---"))
    power_chords(score, sides, riff, 40, 0.85, float(rng.uniform(0.5, 0.9)))
    bass_line(score, score.part("bass", "bass guitar"), choose(rng, ("R-r-r-r-r-r-r-r-", "R---r-r-R---r-r-", "R--R--R-R--R--a-", "R-r-r-r-r-r-5-a-")), 28, 0.85)
    drum(score, score.part("drums", "drums"), choose(rng, ROCK), rng)
    if rng.random() < 0.6:
        lead = score.part("lead", choose(rng, ("lead guitar", "lead guitar", "rock organ")))
        play(score, lead, melody(score, rng, choose(rng, ("lively", "lyric", "syncopated")), 71), hold=0.98)
    elif rng.random() < 0.5:
        hold_chords(score, score.part("organ", "rock organ"), voiced(score, 57, 3), 0.6, least=0.6)


def metal(score: Score, rng: Rng) -> None:
    """Palm-muted riffs on low strings, double bass drum, and a lead in sixteenths or a tune in octaves."""
    sides = (score.part("guitar left", "metal guitar"), score.part("guitar right", "metal guitar"))
    riff = choose(rng, ("Xooxooxooxooxoxo", "XoooXoooXoooXoxo", "X-ooX-ooX-ooXxXx", "oooXoooXoooXooXX", "XooXooXoXooXooXo", "X---oooXX---oooX"))
    power_chords(score, sides, riff, 36, 0.9, 0.5)
    bass_line(score, score.part("bass", "picked bass"), choose(rng, ("rrrrrrrrrrrrrrrr", "R-rrR-rrR-rrR-rr", "R---r-r-R---r-r-")), 26, 0.85, hold=0.8)
    drum(score, score.part("drums", "heavy drums"), choose(rng, METAL), rng)
    if rng.random() < 0.65:
        lead = score.part("lead", "lead guitar")
        if rng.random() < 0.5:
            rungs = voiced(score, 64, 3)
            arpeggiate(score, lead, lambda span: [*rungs[span.start], rungs[span.start][0] + 12], choose(rng, ((0, 1, 2, 3, 2, 1, 2, 1) * 2, (3, 2, 1, 0) * 4)), 0.7, least=0.8)
        else:
            tune = melody(score, rng, "lively", 74)
            play(score, lead, tune)
            play(score, lead, counterpoint(score, tune, 59), gain=0.9)


def soul(score: Score, rng: Rng) -> None:
    """Electric piano or organ, guitar on two and four, a bass that syncopates, horns or strings that answer."""
    twelve = score.metre.division == 3
    keys = score.part("keys", choose(rng, ("electric piano", "electric piano", "organ", "piano")))
    chords = voiced(score, 52, 4)
    strike_chords(score, keys, chords, "x-----x-----" if twelve else choose(rng, ("x-----x---x---x-", "x---x---x---x---", "x--x--x---x-x---", "x-------x--x----")), 0.6)
    if not twelve:
        strum(score, score.part("guitar", "clean guitar"), voiced(score, 60, 3), choose(rng, ("....d.......d...", "....x..u....x.u.", "..u...u...u...u.")), 0.5, spread=0.01, hold=0.5)
    lines = ("R--r--r-R--5--a-", "R-----rr..5-r-a-", "R..r..8-.5-.r.a.", "R---..r-R---5-8-")
    bass_line(score, score.part("bass", "bass guitar"), "R----rr--5-a" if twelve else choose(rng, lines), 28, 0.85)
    drum(score, score.part("drums", "drums"), choose(rng, SLOW_TWELVE if twelve else SOUL), rng)
    lead = score.part("lead", choose(rng, ("saxophone", "trumpet", "organ", "electric piano", "flute", "choir")))
    play(score, lead, melody(score, rng, "lyric" if twelve else choose(rng, ("syncopated", "lyric")), 70, rest=0.12))
    extra = choose(rng, ("brass section", "strings", "none"))
    if extra == "brass section":
        strike_chords(score, score.part("brass", extra), voiced(score, 58, 3), choose(rng, ("..........x.x-..", "X-............x.", "......xx......X-")) if not twelve else "X-..........", 0.75, hold=0.8, least=0.6)
    elif extra == "strings":
        hold_chords(score, score.part("strings", extra), voiced(score, 62, 3), 0.5)


def jazz(score: Score, rng: Rng) -> None:
    """A trio or quartet: walking bass, ride cymbal, comping on rootless chords, a theme and a solo that swings."""
    comp_voice = choose(rng, ("piano", "piano", "electric piano", "jazz guitar", "vibraphone"))
    comp = score.part("comp", comp_voice)
    chords = voiced(score, 54, 4, rootless=True)
    rhythms = ("x.....x.", "..x-....", "x-...x..", "...x..x-", "x..x....", ".x-...x.") if score.metre.beats == 4 else ("x--..x", "..x-..", "x..x..")
    strike_chords(score, comp, chords, lambda bar: choose(rng, rhythms), 0.55, hold=0.85)
    walking_bass(score, score.part("bass", "double bass"), rng)
    drum(score, score.part("drums", choose(rng, ("jazz drums", "brush drums"))), choose(rng, SWING if score.metre.beats == 4 else JAZZ_WALTZ), rng)
    lead_voice = choose(rng, ("saxophone", "trumpet", "muted trumpet", "clarinet", "vibraphone", comp_voice, "flute"))
    lead = score.part("lead", lead_voice)
    play(score, lead, melody(score, rng, "lively", 72, rest=0.15, sections=("theme",)), hold=0.9)
    play(score, lead, melody(score, rng, "solo", 74, span=12, rest=0.12, sections=("solo",)), hold=0.92)


def bossa_nova(score: Score, rng: Rng) -> None:
    """Nylon guitar in the clave's rhythm, root and fifth below, soft drums, and a flute, sax or piano on top."""
    guitar = score.part("guitar", "nylon guitar")
    chords = voiced(score, 52, 4)
    strike_chords(score, guitar, chords, choose(rng, ("x..x..x.|..x.x...", "x-.x-.x-|..x-x-..", ".x.x..x.|.x..x.x.", "x.x..x..|x..x..x.")), 0.7, hold=1.1)
    bass_line(score, score.part("bass", choose(rng, ("double bass", "fretless bass"))), choose(rng, ("r--55--r", "r--r5--5", "r---5---", "r--5r--5")), 28, 0.75)
    drum(score, score.part("drums", choose(rng, ("brush drums", "jazz drums"))), choose(rng, BOSSA), rng)
    lead = score.part("lead", choose(rng, ("flute", "saxophone", "piano", "nylon guitar", "vibraphone", "trombone")))
    play(score, lead, melody(score, rng, choose(rng, ("syncopated", "lyric")), 72, rest=0.1), hold=0.95)
    if rng.random() < 0.35:
        hold_chords(score, score.part("strings", "strings"), voiced(score, 60, 3), 0.45, least=0.6)
