"""How electronic music is played: ambient, techno, house, drum and bass, lo-fi hip hop, chiptune."""

from __future__ import annotations

from mousai.data.synth.drumming import CHIP, DRUM_AND_BASS, HIP_HOP, HOUSE, TECHNO, drum
from mousai.data.synth.melody import melody
from mousai.data.synth.players import Rng, arpeggiate, bass_line, choose, hold_chords, level, play, strike_chords, voiced
from mousai.data.synth.score import Score
from mousai.data.synth.theory import above


def ambient(score: Score, rng: Rng) -> None:
    """Slow chords on pads over a drone, with air, and often sparse bells or a soft arpeggio in time."""
    bright = score.mode == "major"  # higher, with shimmer; minor is lower and darker
    pad = score.part("pad", choose(rng, ("synth pad", "warm pad", "choir pad", "strings")))
    hold_chords(score, pad, voiced(score, 55 if bright else 48, 4), 0.65, overlap=0.6)
    drone = score.part("drone", "drone")
    for bar in score.bars:
        for span in bar.spans:
            score.add(drone, span.start, span.length + 0.3, above(span.chord.bass, 34), 0.7 * level(bar))
    score.add(score.part("air", "air"), 0.0, score.beats, 96 if bright else 84, 0.8)
    sparkle = choose(rng, ("bells", "arpeggio", "arpeggio", "tune", "none"))
    if sparkle == "bells":
        bells = score.part("bells", choose(rng, ("glass bells", "celesta", "vibraphone")))
        chords = voiced(score, 72, 4)
        for bar in score.bars:
            for beat in range(score.metre.beats):
                if rng.random() < 0.4:
                    span = next(s for s in reversed(bar.spans) if s.start <= bar.start + beat)
                    score.add(bells, bar.start + beat + float(choose(rng, (0, 0, 0.5))), 2.0, choose(rng, chords[span.start]), 0.45)
    elif sparkle == "arpeggio":
        chords = voiced(score, 60, 4)
        order = choose(rng, ((0, 1, 2, 3, 2, 1), (0, 2, 1, 3), (0, 1, 2, 3, 4, 3, 2, 1)))
        steps = tuple(order[i % len(order)] for i in range(8))
        arpeggiate(score, score.part("arpeggio", choose(rng, ("soft pluck", "electric piano", "harp"))), lambda span: [*chords[span.start], chords[span.start][0] + 12], steps, 0.5, ring=1.5)
    elif sparkle == "tune":
        play(score, score.part("lead", choose(rng, ("soft lead", "flute", "piano"))), melody(score, rng, "broad", 74, rest=0.2), hold=1.1)


def techno(score: Score, rng: Rng) -> None:
    """Four on the floor, an off-beat or rolling bass, stabs or a sequence of sixteenths that a filter sweeps."""
    drum(score, score.part("drums", "drum machine"), choose(rng, TECHNO), rng)
    bass = score.part("bass", choose(rng, ("synth bass", "acid bass")))
    bass_line(score, bass, choose(rng, ("..r...r...r...r.", ".rrr.rrr.rrr.rrr", "..rr..r8..rr..8r", "R.rr.r.8R.rr.8.r", "..R...R...R.r.R.")), 33, 0.85, hold=0.85, least=0.4)
    if rng.random() < 0.7:
        chords = voiced(score, 57, 3)
        strike_chords(score, score.part("stabs", "synth stab"), chords, choose(rng, ("...x..x....x....", "..x.....x.x.....", "x..x..x..x..x...", "......x......x..")), 0.65, hold=0.8)
    if rng.random() < 0.65:
        chords = voiced(score, 60, 3)
        order = choose(rng, ((0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1, 2, 1), (0, 0, 2, 0, 1, 0, 2, 3) * 2, (3, 2, 1, 0) * 4))
        arpeggiate(score, score.part("sequence", "pluck"), lambda span: [*chords[span.start], chords[span.start][0] + 12], order, 0.6, ring=0.2, least=0.5)
    if rng.random() < 0.4:
        hold_chords(score, score.part("pad", "warm pad"), voiced(score, 55, 3), 0.5)


def house(score: Score, rng: Rng) -> None:
    """Four on the floor with off-beat hats, piano or organ chords between the beats, a round bass, a hook."""
    drum(score, score.part("drums", choose(rng, ("drum machine", "house drums"))), choose(rng, HOUSE), rng)
    keys = score.part("keys", choose(rng, ("house piano", "organ", "electric piano", "synth stab")))
    strike_chords(score, keys, voiced(score, 55, 4), choose(rng, ("x..x..x...x..x..", "..x...x..x....x.", "x--x--x-.x-.x-..", "...x..x....x..x.")), 0.72, hold=0.8)
    bass_line(score, score.part("bass", choose(rng, ("synth bass", "deep bass"))), choose(rng, ("..r...r...r...r.", "R..r..8...r..8..", "r..r..r...r.r.8.", "R-..r-..R-.r..a.")), 31, 0.85, hold=0.85)
    if rng.random() < 0.6:
        hold_chords(score, score.part("pad", choose(rng, ("warm pad", "strings"))), voiced(score, 60, 3), 0.45)
    if rng.random() < 0.7:
        play(score, score.part("lead", choose(rng, ("pluck", "synth lead", "vibraphone", "saxophone"))), melody(score, rng, "syncopated", 74, rest=0.15), hold=0.8)


def drum_and_bass(score: Score, rng: Rng) -> None:
    """Fast broken beats, a long low bass at half the speed, wide pads, and a plucked or sung line on top."""
    drum(score, score.part("drums", choose(rng, ("breakbeat drums", "breakbeat drums", "drum machine"))), choose(rng, DRUM_AND_BASS), rng)
    bass = score.part("bass", choose(rng, ("reese bass", "deep bass", "reese bass")))
    bass_line(score, bass, choose(rng, ("R---------r-----", "R-----r---8-----", "R-------..r-r---", "R---.-r-..r-8-r-")), 29, 0.9, least=0.5)
    hold_chords(score, score.part("pad", choose(rng, ("warm pad", "synth pad", "strings", "choir pad"))), voiced(score, 57, 4), 0.6)
    top = choose(rng, ("pluck", "piano", "soft lead", "electric piano"))
    if rng.random() < 0.5:
        chords = voiced(score, 67, 3)
        arpeggiate(score, score.part("arpeggio", top), lambda span: [*chords[span.start], chords[span.start][0] + 12], choose(rng, ((0, 1, 2, 3, 2, 1, 0, 2), (0, 2, 1, 3, 0, 2, 1, 2))), 0.55, ring=0.8)
    else:
        play(score, score.part("lead", top), melody(score, rng, "lyric", 74, rest=0.1), hold=1.0)


def lofi(score: Score, rng: Rng) -> None:
    """Seventh chords on a mellow piano, a lazy swung beat that lags, a round bass, crackle, a sleepy tune."""
    keys = score.part("keys", choose(rng, ("electric piano", "electric piano", "mellow piano", "jazz guitar")))
    chords = voiced(score, 53, 4, rootless=rng.random() < 0.5)
    if rng.random() < 0.7:
        strike_chords(score, keys, chords, choose(rng, ("x-------x-------", "x-----x---------", "x---------x--x--", "x--x------x-----")), 0.6, hold=1.0)
    else:
        arpeggiate(score, keys, lambda span: chords[span.start], (0, 1, 2, 3, 2, 1, 2, 3), 0.55, ring=2.0)
    bass_line(score, score.part("bass", choose(rng, ("bass guitar", "deep bass", "double bass"))), choose(rng, ("R-----r---5-----", "R---------r---a-", "R--r------r-----", "R-------r-5-..a-")), 28, 0.75)
    drum(score, score.part("drums", "lo-fi drums"), choose(rng, HIP_HOP), rng)
    score.add(score.part("crackle", "vinyl crackle"), 0.0, score.beats, 60, 0.6)
    if rng.random() < 0.75:
        lead = score.part("lead", choose(rng, ("electric piano", "vibraphone", "saxophone", "jazz guitar", "flute", "music box")))
        play(score, lead, melody(score, rng, choose(rng, ("syncopated", "lyric")), 72, rest=0.2), hold=1.0)


def chiptune(score: Score, rng: Rng) -> None:
    """Two pulse waves, a triangle and noise: a quick tune, chords as fast arpeggios, an octave bass."""
    tune = melody(score, rng, choose(rng, ("lively", "lively", "syncopated")), 77)
    play(score, score.part("pulse lead", choose(rng, ("narrow pulse", "thin pulse"))), tune, hold=0.85)
    second = score.part("pulse chords", "square pulse")
    chords = voiced(score, 60, 3)
    if rng.random() < 0.75:
        order = choose(rng, ((0, 1, 2, 1), (0, 1, 2, 3), (2, 1, 0, 1)))
        arpeggiate(score, second, lambda span: [*chords[span.start], chords[span.start][0] + 12], order * 4, 0.5, ring=0.23)
    else:
        echo = [note for note in tune if note.length <= 2]
        for note in echo:  # the tune again, three sixteenths later and softer
            score.add(second, note.start + 0.75, note.length * 0.8, int(note.pitch), note.velocity * 0.45)
    bass_line(score, score.part("triangle bass", "triangle"), choose(rng, ("r8r8r8r8", "r.8.r.8.r.8.r.8.", "rr8rrr8r", "r-r-8-r-")), 40, 0.85, hold=0.85)
    drum(score, score.part("noise", "noise channel"), choose(rng, CHIP), rng)
