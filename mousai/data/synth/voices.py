"""Who can play: every voice with its own tone, its General MIDI programmes, and its place in the mix."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from mousai.data.synth import drums, effects, electronics, instruments, winds
from mousai.data.synth.instruments import filtered
from mousai.data.synth.score import Score

Rng = np.random.Generator
Tone = Callable[[float, float, float, Rng], np.ndarray]  # (pitch, seconds, velocity, rng) -> (s,) or (2, s)
Effect = Callable[[np.ndarray, Score, Rng], np.ndarray]  # on a part's bus (2, s) at an RMS of 0.3 where it plays
Hit = tuple[Callable[[Rng], np.ndarray], float, float]  # a drum, its gain in the kit and its pan


@dataclass(frozen=True)
class Voice:
    """How a part sounds: by `tone` or `kit` of the set's own, or by a SoundFont's programme.

    Without programmes it is always the own one; with a SoundFont, `own` says how often the own one plays all the same.
    """

    words: str  # in captions and metadata; "" is not named
    tone: Tone | None = None
    kit: dict[str, Hit] | None = None
    programs: tuple[tuple[int, int], ...] = ()  # (bank, preset); of kits the preset alone counts
    own: float = 0.0
    width: float = 0.0  # how far pitch moves the pan: low left, high right
    reverb: float = 0.15  # send
    jitter: float = 0.006  # seconds, standard deviation of a note's start
    late: float = 0.0  # seconds behind the beat
    amp: Effect | None = None  # of the own tone alone
    effect: Effect | None = None


def _quiet(tone: Callable[[float, float, float], np.ndarray]) -> Tone:
    """A tone in which nothing is left to chance."""
    return lambda pitch, seconds, velocity, rng: tone(pitch, seconds, velocity)


def _kit(**changed: Hit) -> dict[str, Hit]:
    """A drum kit: what all have, and what this one changes."""
    plain: dict[str, Hit] = {
        "kick": (lambda r: drums.kick(r, 55, 120, 0.12, 0.8), 0.95, 0.0),
        "snare": (drums.snare, 0.7, 0.05),
        "rim": (drums.rim, 0.35, 0.1),
        "clap": (drums.clap, 0.5, 0.0),
        "closed": (drums.hat, 0.22, 0.25),
        "pedal": (drums.hat, 0.14, 0.25),
        "open": (lambda r: drums.hat(r, True), 0.22, 0.25),
        "ride": (drums.ride, 0.22, -0.25),
        "ride_bell": (drums.ride, 0.3, -0.25),
        "crash": (drums.crash, 0.25, 0.3),
        "china": (drums.crash, 0.22, -0.4),
        "cymbals": (drums.crash, 0.22, 0.2),
        "tom_high": (lambda r: drums.tom(r, 150), 0.65, 0.25),
        "tom_mid": (lambda r: drums.tom(r, 115), 0.65, 0.0),
        "tom_low": (lambda r: drums.tom(r, 85), 0.65, -0.3),
        "bass_drum": (lambda r: drums.kick(r, 62, 30, 0.28, 0.1), 0.8, 0.0),
        "shaker": (drums.shaker, 0.16, -0.3),
        "tambourine": (drums.tambourine, 0.22, -0.2),
        "conga_high": (lambda r: drums.conga(r, 310), 0.35, 0.35),
        "conga_low": (lambda r: drums.conga(r, 205), 0.4, 0.2),
    }
    return {**plain, **changed}


_MACHINE = _kit(
    kick=(lambda r: drums.kick(r, r.uniform(43, 54), r.uniform(120, 230), r.uniform(0.16, 0.26), 0.3), 0.95, 0.0),
    snare=(lambda r: drums.snare(r, r.uniform(170, 260), 0.09), 0.55, 0.0),
)
_JAZZ = _kit(
    kick=(lambda r: drums.kick(r, 62, 60, 0.14, 0.2), 0.7, 0.0),
    snare=(lambda r: filtered(drums.snare(r, 210, 0.09, 0.8), "band", 250.0, 7000.0, order=1), 0.6, 0.05),
)
_HEAVY = _kit(kick=(lambda r: drums.kick(r, 58, 160, 0.08, 1.2), 0.95, 0.0), snare=(lambda r: drums.snare(r, 180, 0.16, 1.2), 0.8, 0.0))
_BREAKS = _kit(snare=(lambda r: drums.snare(r, r.uniform(210, 280), 0.08, 1.2), 0.75, 0.0), kick=(lambda r: drums.kick(r, 60, 140, 0.09, 0.8), 0.9, 0.0))
_CHIP: dict[str, Hit] = {
    "low": (lambda r: drums.chip_noise(r, 0.05, 10), 0.9, 0.0),
    "noise": (lambda r: drums.chip_noise(r, 0.07, 3), 0.8, 0.0),
    "high": (lambda r: drums.chip_noise(r, 0.015, 1), 0.6, 0.0),
}

VOICES: dict[str, Voice] = {
    # keys
    "piano": Voice("piano", instruments.piano, programs=((0, 0), (0, 0), (0, 1), (8, 0)), width=0.5, reverb=0.2, jitter=0.01),
    "mellow piano": Voice("piano", instruments.piano, programs=((8, 0),), width=0.4, reverb=0.15, jitter=0.012, effect=effects.dusty),
    "house piano": Voice("piano", instruments.piano, programs=((0, 1), (0, 2)), width=0.4, reverb=0.15, jitter=0.002),
    "electric piano": Voice("electric piano", instruments.electric_piano, programs=((0, 4), (0, 4), (0, 5), (8, 4)), own=0.25, width=0.3, jitter=0.009, effect=effects.tremolo),
    "organ": Voice("organ", winds.organ, programs=((0, 16), (0, 17)), own=0.3, width=0.2, jitter=0.005, effect=effects.rotate),
    "rock organ": Voice("organ", winds.organ, programs=((0, 18), (0, 16)), own=0.3, width=0.2, effect=effects.rotate),
    "harp": Voice("harp", winds.harp, programs=((0, 46),), width=0.5, reverb=0.3),
    "vibraphone": Voice("vibraphone", winds.vibraphone, programs=((0, 11),), own=0.1, width=0.4, reverb=0.2, effect=effects.tremolo),
    "celesta": Voice("celesta", winds.bells, programs=((0, 8),), width=0.3, reverb=0.4),
    "glass bells": Voice("bells", winds.bells, programs=((0, 98), (0, 14)), own=0.6, width=0.3, reverb=0.6),
    "music box": Voice("music box", winds.bells, programs=((0, 10),), width=0.3, reverb=0.2),
    # plucked
    "acoustic guitar": Voice("acoustic guitar", instruments.guitar, programs=((0, 25),), own=0.1, width=0.2, reverb=0.12, jitter=0.007),
    "twelve-string guitar": Voice("acoustic guitar", instruments.guitar, programs=((8, 25),), width=0.2, reverb=0.12, jitter=0.007),
    "nylon guitar": Voice("nylon guitar", instruments.guitar, programs=((0, 24),), width=0.2, reverb=0.14, jitter=0.008),
    "jazz guitar": Voice("jazz guitar", instruments.guitar, programs=((0, 26),), width=0.2, reverb=0.12, jitter=0.008),
    "clean guitar": Voice("electric guitar", instruments.guitar, programs=((0, 27), (8, 28)), width=0.2, reverb=0.12, jitter=0.006),
    "mandolin": Voice("mandolin", instruments.guitar, programs=((8, 25), (0, 105)), width=0.1, reverb=0.12),
    "distorted guitar": Voice("electric guitar", instruments.electric_guitar, programs=((0, 29), (0, 30)), own=0.45, reverb=0.08, jitter=0.007, amp=effects.distort),
    "metal guitar": Voice("electric guitar", instruments.electric_guitar, programs=((0, 30),), own=0.55, reverb=0.05, jitter=0.004, amp=effects.distort),
    "lead guitar": Voice("electric guitar", instruments.electric_guitar, programs=((0, 30), (0, 29)), own=0.35, reverb=0.2, amp=effects.sing),
    # basses
    "double bass": Voice("double bass", instruments.upright_bass, programs=((0, 32),), own=0.1, reverb=0.06, jitter=0.007),
    "bass guitar": Voice("bass guitar", instruments.electric_guitar, programs=((0, 33), (0, 34), (0, 33)), reverb=0.02, jitter=0.004, amp=effects.crunch),
    "picked bass": Voice("bass guitar", instruments.electric_guitar, programs=((0, 34),), reverb=0.0, jitter=0.003, amp=effects.crunch),
    "fretless bass": Voice("bass guitar", instruments.upright_bass, programs=((0, 35),), reverb=0.05, jitter=0.006),
    "synth bass": Voice("synth bass", _quiet(instruments.synth_bass), programs=((0, 38), (0, 39), (8, 38)), own=0.6, reverb=0.0, jitter=0.0, effect=effects.duck),
    "acid bass": Voice("synth bass", electronics.acid_bass, reverb=0.05, jitter=0.0, effect=effects.duck),
    "deep bass": Voice("bass", electronics.deep_bass, reverb=0.0, jitter=0.002),
    "reese bass": Voice("synth bass", electronics.reese_bass, reverb=0.0, jitter=0.0),
    # bowed
    "violin": Voice("violin", winds.solo_bowed, programs=((0, 40),), reverb=0.25, jitter=0.012),
    "fiddle": Voice("fiddle", winds.solo_bowed, programs=((0, 110),), reverb=0.15, jitter=0.01),
    "viola": Voice("viola", winds.solo_bowed, programs=((0, 41),), reverb=0.25, jitter=0.012),
    "cello": Voice("cello", winds.solo_bowed, programs=((0, 42),), reverb=0.25, jitter=0.012),
    "violin section": Voice("violins", instruments.bowed, programs=((20, 48), (20, 48), (0, 48)), own=0.05, reverb=0.3, jitter=0.015, late=-0.03),
    "cello section": Voice("cellos", instruments.bowed, programs=((0, 48), (0, 42)), reverb=0.3, jitter=0.015, late=-0.03),
    "contrabass": Voice("double basses", instruments.bowed, programs=((0, 43),), reverb=0.25, jitter=0.015),
    "strings": Voice("strings", instruments.bowed, programs=((0, 48), (0, 49), (8, 48)), own=0.05, reverb=0.3, jitter=0.02, late=-0.03),
    "strings short": Voice("strings", lambda p, s, v, rng: instruments.bowed(p, s, v, rng, attack=0.02), programs=((0, 48), (0, 45)), reverb=0.28, jitter=0.01),
    # blown and sung
    "flute": Voice("flute", winds.flute, programs=((0, 73),), reverb=0.25, jitter=0.01),
    "whistle": Voice("whistle", winds.flute, programs=((0, 78), (0, 74)), reverb=0.2, jitter=0.01),
    "harmonica": Voice("harmonica", winds.reed, programs=((0, 22),), reverb=0.15, jitter=0.01),
    "saxophone": Voice("saxophone", winds.reed, programs=((0, 66), (0, 65)), reverb=0.2, jitter=0.01),
    "clarinet": Voice("clarinet", winds.clarinet, programs=((0, 71),), reverb=0.2, jitter=0.01),
    "trumpet": Voice("trumpet", winds.brass, programs=((0, 56),), reverb=0.2, jitter=0.008),
    "muted trumpet": Voice("muted trumpet", winds.reed, programs=((0, 59),), reverb=0.2, jitter=0.01),
    "trombone": Voice("trombone", winds.brass, programs=((0, 57),), reverb=0.2, jitter=0.01),
    "french horn": Voice("french horn", winds.brass, programs=((0, 60),), reverb=0.3, jitter=0.012),
    "tuba": Voice("tuba", winds.brass, programs=((0, 58),), reverb=0.15, jitter=0.008),
    "brass section": Voice("brass section", winds.brass, programs=((0, 61), (8, 61)), reverb=0.2, jitter=0.008),
    "choir": Voice("choir", winds.choir, programs=((0, 52), (0, 53)), reverb=0.35, jitter=0.015),
    # synthesisers
    "synth pad": Voice("synthesizer pad", instruments.pad, programs=((0, 89), (0, 95), (0, 90)), own=0.6, reverb=0.5, jitter=0.02),
    "warm pad": Voice("synthesizer pad", instruments.pad, programs=((0, 89), (0, 50)), own=0.5, reverb=0.4, jitter=0.01, effect=effects.duck),
    "choir pad": Voice("choir", winds.choir, programs=((0, 52), (0, 94), (0, 91)), own=0.2, reverb=0.5, jitter=0.02),
    "drone": Voice("", instruments.pad, own=1.0, reverb=0.4, jitter=0.0),
    "air": Voice("", instruments.air, reverb=0.5, jitter=0.0),
    "soft pluck": Voice("synthesizer", electronics.pluck, programs=((0, 99), (0, 46)), own=0.6, width=0.3, reverb=0.5, effect=effects.echo),
    "pluck": Voice("synthesizer", electronics.pluck, programs=((0, 90),), own=0.8, width=0.5, reverb=0.25, jitter=0.0, effect=effects.echo),
    "synth stab": Voice("synthesizer", lambda p, s, v, rng: instruments.synth_bass(p, s, v, 2200.0), programs=((0, 62), (0, 90)), own=0.7, width=1.0, reverb=0.3, jitter=0.0, effect=effects.sweep),
    "synth lead": Voice("synth lead", electronics.saw_lead, programs=((0, 81), (0, 80)), own=0.6, reverb=0.2, jitter=0.0, effect=effects.echo),
    "soft lead": Voice("synth lead", electronics.soft_lead, programs=((8, 80), (0, 79)), own=0.5, reverb=0.4, jitter=0.005, effect=effects.echo),
    "vinyl crackle": Voice("", electronics.crackle, reverb=0.0, jitter=0.0),
    # 8-bit
    "narrow pulse": Voice("square wave synthesizer", lambda p, s, v, rng: instruments.pulse(p, s, v, 25, vibrato=True), reverb=0.0, jitter=0.0),
    "thin pulse": Voice("square wave synthesizer", lambda p, s, v, rng: instruments.pulse(p, s, v, 12, vibrato=True), reverb=0.0, jitter=0.0),
    "square pulse": Voice("square wave synthesizer", lambda p, s, v, rng: instruments.pulse(p, s, v, 50), reverb=0.0, jitter=0.0),
    "triangle": Voice("square wave synthesizer", _quiet(instruments.triangle), reverb=0.0, jitter=0.0),
    "noise channel": Voice("", kit=_CHIP, reverb=0.0, jitter=0.0),
    # drums
    "drums": Voice("drums", kit=_kit(), programs=((128, 0), (128, 8), (128, 16), (128, 2)), reverb=0.1, jitter=0.004),
    "heavy drums": Voice("drums", kit=_HEAVY, programs=((128, 16), (128, 17), (128, 0)), reverb=0.1, jitter=0.003),
    "jazz drums": Voice("drums", kit=_JAZZ, programs=((128, 32), (128, 33), (128, 8)), reverb=0.12, jitter=0.006),
    "brush drums": Voice("drums", kit=_JAZZ, programs=((128, 40), (128, 41)), reverb=0.12, jitter=0.006),
    "lo-fi drums": Voice("drums", kit=_BREAKS, programs=((128, 8), (128, 32), (128, 25)), own=0.35, reverb=0.06, jitter=0.004, late=0.012, effect=effects.dusty),
    "breakbeat drums": Voice("drums", kit=_BREAKS, programs=((128, 0), (128, 16), (128, 24)), own=0.35, reverb=0.06, jitter=0.002),
    "drum machine": Voice("drum machine", kit=_MACHINE, programs=((128, 25), (128, 24)), own=0.7, reverb=0.05, jitter=0.0005),
    "house drums": Voice("drum machine", kit=_MACHINE, programs=((128, 25), (128, 24)), own=0.4, reverb=0.08, jitter=0.001),
    "marching drums": Voice("drums", kit=_kit(), programs=((128, 48),), reverb=0.2, jitter=0.005),
    "timpani": Voice("timpani", winds.timpani, programs=((0, 47),), reverb=0.3, jitter=0.006),
}  # fmt: skip

# General MIDI's keys of what kits are made of
DRUM_KEYS = {
    "kick": 36, "rim": 37, "snare": 38, "clap": 39, "closed": 42, "pedal": 44, "tom_low": 45, "open": 46, "tom_mid": 47, "crash": 49,
    "tom_high": 50, "ride": 51, "china": 52, "ride_bell": 53, "tambourine": 54, "cymbals": 59, "conga_high": 63, "conga_low": 64,
    "shaker": 70, "bass_drum": 36,
}  # fmt: skip

# Loudness of a part where it plays, in LU beside a kit of drums, and its pan
LEVELS = {
    "drums": 0.0, "noise": -2.0, "bass": -2.0, "triangle bass": -3.0, "lead": -3.0, "pulse lead": -1.0, "pulse chords": -6.0, "keys": -5.0,
    "comp": -6.0, "guitar": -5.0, "guitar left": -5.0, "guitar right": -5.0, "stabs": -5.0, "sequence": -8.0, "arpeggio": -7.0, "pad": -9.0,
    "drone": -6.0, "air": -22.0, "bells": -9.0, "crackle": -26.0, "strings": -9.0, "choir": -9.0, "brass": -4.0, "organ": -8.0,
    "piano": 0.0, "violins": -1.0, "violas": -5.0, "cellos": -3.0, "basses": -6.0, "harp": -8.0, "horns": -6.0, "timpani": -5.0,
    "violin 1": -2.0, "violin 2": -5.0, "viola": -5.0, "cello": -4.0, "cornets": -2.0, "second cornets": -5.0, "trombones": -6.0,
}  # fmt: skip
PANS = {
    "guitar left": -0.8, "guitar right": 0.8, "guitar": -0.25, "lead": 0.1, "keys": 0.15, "comp": -0.2, "organ": -0.3, "brass": 0.35, "strings": -0.2,
    "violins": -0.4, "violas": 0.15, "cellos": 0.4, "basses": 0.5, "harp": -0.5, "horns": -0.2, "violin 1": -0.5, "violin 2": -0.2, "viola": 0.2,
    "cello": 0.45, "cornets": -0.35, "second cornets": -0.1, "trombones": 0.4, "pulse chords": 0.35, "pulse lead": -0.15, "arpeggio": 0.3,
    "sequence": -0.3, "stabs": 0.2, "bells": 0.4,
}  # fmt: skip
