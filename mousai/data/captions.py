"""Training captions from metadata, after Moûsai (arXiv 2301.11757, section 4): fields shuffled, dropped and joined."""

from __future__ import annotations

import random
from typing import Any

CAPTION_ALONE = 0.5  # how often a track's own caption, where it has one, stands in for the fields


def caption(
    metadata: dict[str, Any], rng: random.Random, segment: tuple[int, int] | None = None, drop: float = 0.1
) -> str:
    """One caption for a track, another one at each call, the same for the same state of `rng`.

    Title, artist, album, genre, year, mood, instruments, key, metre (unless 4/4), tempo (in beats per minute or as a word) and the
    `segment` (i, n), as "i of n", are each left out with probability `drop`, shuffled, and joined all by spaces or all
    by commas. Where the metadata has a caption of its own, half of the captions are that one as it is written. With
    nothing known or everything dropped the caption is "". Raises ValueError for a segment outside 1 ≤ i ≤ n.
    """
    if segment is not None and not 1 <= segment[0] <= segment[1]:
        raise ValueError(f"expected a segment (i, n) with 1 <= i <= n, came {segment}")
    joiner = rng.choice((" ", ", "))
    parts = field_texts(metadata, rng, joiner)
    own = metadata.get("caption")
    if own and (not parts or rng.random() < CAPTION_ALONE):
        return own
    if segment is not None:
        parts.append(f"{segment[0]} of {segment[1]}")
    kept = [part for part in parts if rng.random() >= drop]
    rng.shuffle(kept)
    return joiner.join(kept)


def field_texts(metadata: dict[str, Any], rng: random.Random, joiner: str) -> list[str]:
    """The text of each field that there is."""
    known = dict(metadata)
    if not known.get("genre") and known.get("style"):
        known["genre"] = [known["style"]]
    texts = [str(known[name]) for name in ("title", "artist", "album", "year", "key") if known.get(name)]
    if known.get("metre") not in (None, "", "4/4"):
        texts.append(known["metre"])
    for name in ("genre", "mood", "instruments"):
        if known.get(name):
            texts.append(joiner.join(rng.sample(known[name], len(known[name]))))
    if bpm := known.get("bpm"):
        texts.append(rng.choice((f"{bpm:.0f} BPM", known.get("tempo") or tempo_word(bpm))))
    elif known.get("tempo"):
        texts.append(known["tempo"])
    return texts


def tempo_word(bpm: float) -> str:
    """"slow" below 80 beats a minute, "fast" from 120 on, "medium tempo" between."""
    return "slow" if bpm < 80 else "fast" if bpm >= 120 else "medium tempo"
