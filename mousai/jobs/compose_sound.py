"""The sound of composed scores: rendered by instruments, and varied by an audio model."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mousai.audio.write import FORMATS
from mousai.checks import check_number, short
from mousai.files import writing_folder
from mousai.jobs.places import free, taken
from mousai.request.clip import MAX_SECONDS
from mousai.request.music import Music
from mousai.request.piece import slug
from mousai.symbolic.harmony import NO_CHORD, chord_class, tonic
from mousai.symbolic.score import Score
from mousai.theory import METRES, key_name

STEMS = "-stems"  # behind a score's name: the folder of its parts' sound
VARIED = "-varied"  # the sound as an audio model has varied it
TITLE_CHARACTERS = 60  # of a section's name, in a chapter's title


@dataclass(frozen=True)
class Cascading:
    """How an audio model varies a score's sound: which, and by how much, near 0: as it is, 1: nothing left of it but its loudness."""

    model: str | Path = "starter"
    strength: float = 0.5

    def __post_init__(self) -> None:
        check_number("strength", self.strength, 0, 1, above=True)


@dataclass(frozen=True)
class Rendering:
    """How scores are made to sound: the file format, who plays (a SoundFont's file, "auto", or None for the own instruments), stems, LUFS, and whether an audio model varies what is heard."""

    format: str
    soundfont: str | Path | None = None
    stems: bool = False
    loudness: float | None = None
    cascade: Cascading | None = None

    def __post_init__(self) -> None:
        if self.format not in FORMATS:
            raise ValueError(f"render: expected one of {', '.join(FORMATS)}, came {short(self.format)}")
        check_number("loudness", self.loudness, -70, 0, unit=" LUFS")


def check_sound(rendering: Rendering, seconds: float) -> None:
    """ValueError for a score of so many seconds that cannot be rendered, or whose sound is too long to be varied in one go."""
    from mousai.symbolic.sound import TAIL_SECONDS, check_length

    check_length(seconds)
    if rendering.cascade is not None and seconds + TAIL_SECONDS > MAX_SECONDS:
        raise ValueError(f"through-cascade: an audio model varies at most {MAX_SECONDS - TAIL_SECONDS:g} s in one go, the score has about {seconds:.0f} s; ask for fewer bars or seconds, or leave it away")


def font_of(rendering: Rendering | None) -> Any:
    if rendering is None or rendering.soundfont is None:
        return None
    from mousai.data.synth.soundfont import load as load_font, locate

    return load_font(str(locate(rendering.soundfont)))


def render(score: Score, path: Path, rendering: Rendering, font: Any, seed: int) -> tuple[Path, tuple[Path, ...]]:
    """Writes the sound of a score beside its file, `NAME.FORMAT`, and where asked for `NAME-stems/PART.FORMAT`."""
    import torch

    from mousai.audio import io
    from mousai.audio.loudness import brought_to
    from mousai.symbolic.sound import SAMPLE_RATE, play

    sound = play(score, font, stems=rendering.stems, seed=seed)
    audio = torch.from_numpy(sound.audio)
    if rendering.loudness is not None:
        audio = brought_to(audio, SAMPLE_RATE, rendering.loudness)
    place = path.with_suffix(f".{rendering.format}")
    chapters = [io.Chapter(sample, name) for sample, name in sections_at(score, SAMPLE_RATE, audio.shape[1])]
    said = dict(score.recipe or {}) | {"score": path.name}
    place = io.write(place, audio, SAMPLE_RATE, said, otherwise=lambda: free(path.parent, path.stem, rendering.format), chapters=chapters).path
    return place, _stems(score, path, sound.stems, rendering.format) if sound.stems else ()


def sections_at(score: Score, sample_rate: int, num_samples: int) -> list[tuple[int, str]]:
    """(sample, name) of each section of a score that begins within so many samples, where there are several; as many as a file has chapters."""
    from mousai.audio.chapters import MAX_CHAPTERS

    starts = score.seconds_at(np.array([tick for tick, _ in score.sections]))
    found = {round(start * sample_rate): name[:TITLE_CHARACTERS] for start, (_, name) in zip(starts.tolist(), score.sections, strict=True)}
    inside = [(sample, name) for sample, name in found.items() if 0 <= sample < num_samples]
    return inside[:MAX_CHAPTERS] if len(inside) > 1 else []


def _stems(score: Score, path: Path, sounds: Sequence[np.ndarray], format: str) -> tuple[Path, ...]:
    """Writes the sound of each part to a folder beside the score's file, which is there when all of it is."""
    import torch

    from mousai.audio import io
    from mousai.symbolic.sound import SAMPLE_RATE

    names = [f"{number}-{slug(part.name)}.{format}" for number, part in enumerate(score.parts, 1)]

    def write(folder: Path) -> None:
        with writing_folder(folder, new=True) as new:
            for name, sound in zip(names, sounds, strict=True):
                io.write(new / name, torch.from_numpy(sound), SAMPLE_RATE)

    folder = taken(path.parent, f"{path.stem}{STEMS}", None, write)
    return tuple(folder / name for name in names)


class Varying:
    """An audio model that varies sounds, read once for many."""

    def __init__(self, how: Cascading) -> None:
        from mousai.pipelines.cascade import load

        self.how, self.cascade = how, load(how.model)

    def vary(self, sound: Path, score: Score, prompt: str, seed: int, format: str) -> Path:
        """Writes what the model makes of a score's sound, by its prompt, in its tempo, metre and key where these stay, over its chords; returns the file."""
        from mousai.jobs.generate import clips_of
        from mousai.request.clip import Request

        told = told_of(score) if self.cascade.hears_music else {}
        made = clips_of(Request(prompts=(prompt,), init=str(sound), strength=self.how.strength, seed=seed, **told), self.cascade, sound.parent, f"{sound.stem}{VARIED}", format)
        return next(made).path


def told_of(score: Score) -> dict[str, Any]:
    """Tempo, metre and key of a score as an audio model can be told them, where they stay; and, where tempo and metre do, a chord for each bar."""
    said: dict[str, Any] = {}
    name = "/".join(map(str, score.metres[0][1:])) if len(score.metres) == 1 else ""
    if name in METRES:
        said |= {"metre": name, "downbeat": 0.0}
        bpm = score.tempos[0][1] / (1.5 if score.metres[0][2] == 8 else 1.0) if len(score.tempos) == 1 else 0.0
        if can_be("bpm", bpm):
            said |= {"bpm": bpm} | chords_told(score)
    if len(score.keys) == 1:
        said["key"] = key_name(tonic(*score.keys[0][1:]), "minor" if score.keys[0][2] else "major")
    return said


def chords_told(score: Score) -> dict[str, str]:
    """A chord for each bar, where all have one and they are not too many to be told."""
    ticks = [tick for tick, _ in score.chords]
    holding = [score.chords[place - 1][1] for start, _ in score.bars() if (place := bisect_right(ticks, start))]
    chords = " ".join(holding)
    clear = len(holding) == len(score.bars()) and all(chord_class(symbol) != NO_CHORD for symbol in holding)
    return {"chords": chords} if clear and can_be("chords", chords) else {}


def can_be(name: str, value: Any) -> bool:
    """Whether a field of `request.music.Music` may have a value."""
    try:
        Music(**{name: value})
    except ValueError:
        return False
    return True
