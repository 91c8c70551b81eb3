"""What a listener hears of a clip: a beat and its tempo, a key, pitches; beside what was asked for, where anything was."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor

from mousai.evaluation.harmony import KEYS, concentration, key_fits, pitch_classes, relative, voiced_share
from mousai.evaluation.pulse import pulse_of, relation
from mousai.request.music import Music
from mousai.theory import key_name, key_of

MEASURES = {  # name: heading of the table
    "pulse": "pulse",
    "pulse_asked": "at the asked tempo",
    "pulse_elsewhere": "at others",
    "tempo_met": "tempo met",
    "tempo_exact": "no octave apart",
    "tempo_thirds": "thirds too",
    "key_correlation": "key correlation",
    "key_met": "key met",
    "key_relative": "or its relative",
    "voiced": "voiced",
    "chroma": "chroma",
}
SHARES = ("tempo_met", "tempo_exact", "tempo_thirds", "key_met", "key_relative", "voiced")  # shown in per cent
OF_TEMPO, OF_KEY = tuple(MEASURES)[1:6], tuple(MEASURES)[6:9]
Heard = Mapping[str, Any]  # of one clip: every name of MEASURES, and what was asked for and found


def hear(audio: Tensor, sample_rate: int, asked: Music = Music()) -> dict[str, Any]:
    """`MEASURES` of audio `(c, s)`, its `peak`, and the tempo and key that were `asked_…` for and `found_…`; None for what is not known.

    Without an asked tempo or key nothing is known of how well it is met.
    """
    found = {**_beat(audio, sample_rate, asked.bpm), **_pitch(audio, sample_rate, asked.key), "peak": audio.abs().max().item()}
    return {name: None if isinstance(value, float) and math.isnan(value) else value for name, value in found.items()}


def _beat(audio: Tensor, sample_rate: int, bpm: float | None) -> dict[str, Any]:
    pulse = pulse_of(audio, sample_rate)
    found = {"pulse": pulse.clarity, "asked_bpm": bpm, "found_bpm": round(pulse.tempo, 1)}
    if bpm is None:
        return found | dict.fromkeys(OF_TEMPO)
    how = relation(pulse.tempo, bpm)
    met = {"tempo_met": how in ("same", "octave"), "tempo_exact": how == "same", "tempo_thirds": how is not None}
    return found | {"pulse_asked": pulse.at(bpm), "pulse_elsewhere": pulse.elsewhere(bpm)} | met


def _pitch(audio: Tensor, sample_rate: int, key: str | None) -> dict[str, Any]:
    classes = pitch_classes(audio, sample_rate)
    fits = key_fits(classes)
    best = KEYS[int(fits.argmax())] if classes.sum() > 0 else None
    found = {"voiced": voiced_share(audio, sample_rate), "chroma": concentration(classes), "asked_key": key, "found_key": best and key_name(*best)}
    if key is None:
        return found | dict.fromkeys(OF_KEY)
    asked = key_of(key)
    return found | {"key_correlation": fits[KEYS.index(asked)].item(), "key_met": best == asked, "key_relative": best in (asked, relative(*asked))}


def by_chance(clips: Sequence[Heard]) -> dict[str, float | None]:
    """How often a clip meets what was asked of another, tempo (octaves allowed) and key (or its relative): what is met has to be more."""

    def share(name: str, meets: Callable[[Any, Any], bool]) -> float | None:
        known = [(clip[f"found_{name}"], clip[f"asked_{name}"]) for clip in clips if clip[f"asked_{name}"] is not None]
        pairs = [found is not None and meets(found, asked) for i, (found, _) in enumerate(known) for j, (_, asked) in enumerate(known) if i != j]
        return sum(pairs) / len(pairs) if pairs else None

    return {
        "tempo_by_chance": share("bpm", lambda found, asked: relation(found, asked) in ("same", "octave")),
        "key_by_chance": share("key", lambda found, asked: key_of(found) in (key_of(asked), relative(*key_of(asked)))),
    }


def summary(clips: Sequence[Heard]) -> dict[str, Any]:
    """Means of `MEASURES` over the clips of which each is known (None: of none), how many were asked for a tempo or a key, and chance."""
    means = {}
    for name in MEASURES:
        known = [float(clip[name]) for clip in clips if clip[name] is not None]
        means[name] = sum(known) / len(known) if known else None
    asked = {f"asked_{name}": sum(clip[f"asked_{name}"] is not None for clip in clips) for name in ("bpm", "key")}
    return {"clips": len(clips), **asked, **means, **by_chance(clips)}


def by_label(clips: Sequence[Heard], labels: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The summary of the clips of each label, in alphabetical order."""
    return {label: summary([clip for clip, own in zip(clips, labels, strict=True) if own == label]) for label in sorted(set(labels))}


def table(rows: Mapping[str, Mapping[str, Any]], last: Mapping[str, str] | None = None, heading: str = "") -> str:
    """Markdown of summaries by name; with `last`, a column of cells by name under a `heading`."""
    headings = ["", "clips", *MEASURES.values(), *([heading] if last is not None else [])]
    lines = [f"| {' | '.join(headings)} |", "|---" * len(headings) + "|"]
    for name, row in rows.items():
        cells = [name, str(row["clips"]), *(cell(measure, row) for measure in MEASURES), *([last.get(name, "–")] if last is not None else [])]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def cell(name: str, row: Mapping[str, Any]) -> str:
    """A mean as the table shows it: shares in per cent, the rest with two decimals, in brackets how many clips were asked, if not all; "–" for none."""
    if row[name] is None:
        return "–"
    asked = row["asked_bpm"] if name in OF_TEMPO else row["asked_key"] if name in OF_KEY else row["clips"]
    text = f"{100 * row[name]:.0f} %" if name in SHARES else f"{row[name]:.2f}"
    return text if asked == row["clips"] else f"{text} ({asked})"
