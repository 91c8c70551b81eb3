"""The practice set's eight classes: tempo ranges, moods that follow from mode and tempo, and honest captions.

The classes differ in long-term spectrum and in temporal envelope alike (decaying, plucked, swelling, pulsing, dense,
bowed, gated, swung), so that even a small model can keep them apart.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mousai.data.captions import tempo_word
from mousai.data.synth.compose import Score, key_name


@dataclass(frozen=True)
class Style:
    """One class of the practice set."""

    name: str  # class identifier
    genre: tuple[str, ...]
    instruments: tuple[str, ...]
    bpm: tuple[int, int]  # lowest and highest tempo
    minor: float  # probability of a minor key
    moods: dict[str, tuple[str, ...]]  # by mode: words that are true of all its pieces
    phrase: str  # caption with {mood}, e.g. "{mood} piano piece"


STYLES = {
    style.name: style
    for style in (
        Style(
            "piano", ("classical",), ("piano",), (54, 78), 0.6,
            {"minor": ("melancholic", "sad"), "major": ("peaceful", "tender")}, "{mood} solo piano",
        ),
        Style(
            "folk_guitar", ("folk",), ("acoustic guitar",), (84, 132), 0.4,
            {"minor": ("wistful", "nostalgic"), "major": ("warm", "happy")}, "{mood} folk, fingerpicked acoustic guitar",
        ),
        Style(
            "ambient", ("ambient",), ("synthesizer pad",), (50, 70), 0.5,
            {"minor": ("dark", "mysterious"), "major": ("dreamy", "calm")}, "{mood} ambient synthesizer pad without beat",
        ),
        Style(
            "techno", ("techno", "electronic"), ("drum machine", "synth bass"), (122, 138), 0.8,
            {"minor": ("hypnotic", "driving"), "major": ("euphoric", "driving")}, "{mood} techno with four-on-the-floor kick",
        ),
        Style(
            "rock", ("rock",), ("electric guitar", "bass", "drums"), (104, 164), 0.6,
            {"minor": ("aggressive", "energetic"), "major": ("triumphant", "energetic")},
            "{mood} rock with distorted electric guitar and drums",
        ),
        Style(
            "strings", ("orchestral", "classical"), ("strings",), (66, 112), 0.5,
            {"minor": ("dramatic", "sad"), "major": ("romantic", "uplifting")}, "{mood} orchestral string ensemble",
        ),
        Style(
            "chiptune", ("chiptune", "video game"), ("square wave synthesizer",), (124, 176), 0.35,
            {"minor": ("tense", "adventurous"), "major": ("happy", "playful")}, "{mood} 8-bit chiptune, square waves",
        ),
        Style(
            "jazz", ("jazz",), ("electric piano", "double bass", "drums"), (92, 168), 0.4,
            {"minor": ("moody", "cool"), "major": ("relaxed", "smooth")},
            "{mood} jazz trio with electric piano, walking bass and ride cymbal",
        ),
    )
}  # fmt: skip


def describe(style: Style, score: Score, rng: np.random.Generator) -> dict:
    """Metadata fields of a piece: genre, mood, instruments, bpm, pace, key, style and a caption made of them."""
    moods = list(style.moods[score.mode])
    mood = moods[int(rng.integers(len(moods)))]
    tempo = tempo_word(score.bpm)
    caption = f"{tempo} {style.phrase.format(mood=mood)}, {key_name(score.root, score.mode)}, {score.bpm:.0f} BPM"
    return {
        "style": style.name,
        "genre": list(style.genre),
        "mood": moods,
        "instruments": list(style.instruments),
        "bpm": round(score.bpm),
        "pace": tempo,
        "key": key_name(score.root, score.mode),
        "caption": caption,
    }
