"""`mousai library`: which recordings of a folder sound like a text or like a file. Each is heard once."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from mousai.audio import io
from mousai.checks import check_number, checked_text
from mousai.conditioners.joint import Joint, JointConfig
from mousai.data.library import nearest, open_library, stacked
from mousai.data.sources import Source, Track, open_source
from mousai.device import choose_device
from mousai.types import Callback

SAVE_SECONDS = 60.0
MOST_SECONDS = 600.0  # of a recording that are heard


@dataclass(frozen=True)
class Heard:
    """The tracks of a place with their vectors `(n, e)`."""

    source: Source
    tracks: list[Track]
    vectors: Tensor
    joint: Joint
    new: int

    def near(self, wanted: Tensor, k: int) -> list[dict[str, Any]]:
        """The k tracks nearest to a unit vector `(e,)`, plain enough for JSON."""
        return [{"file": self.tracks[place].key, "cosine": round(cosine, 4), **told(self.tracks[place])} for place, cosine in nearest(self.vectors, wanted, k)]


def told(track: Track) -> dict[str, Any]:
    """What of a track's metadata is worth a line."""
    return {name: track.metadata[name] for name in ("title", "artist", "caption") if track.metadata.get(name)}


def hear(place: str | Path, joint: Joint, progress: Callback | None = None) -> Heard:
    """Every track of a folder, manifest or shards, each with its vector; errors as of `open_source`, ValueError for none that can be heard."""
    source, library = open_source(place), open_library(joint.space, joint.features)
    tracks, contents, new, saved = [], [], 0, time.monotonic()
    try:
        for number, track in enumerate(source):
            content = source.content_hash(track)
            if content not in library.vectors:
                try:
                    vector = listen(source, track, joint)
                except (io.AudioError, ValueError) as error:
                    source.skip(track.key, str(error))
                    continue
                library.add(content, vector)
                new += 1
                if time.monotonic() - saved > SAVE_SECONDS:
                    library.save()
                    saved = time.monotonic()
            tracks.append(track)
            contents.append(content)
            if progress:
                progress(number + 1, len(source))
    finally:
        library.save()
        source.index.save()
    if not tracks:
        raise ValueError(f"{place}: the library is empty, none of its {len(source.skipped)} files could be heard")
    return Heard(source, tracks, stacked(library, contents), joint, new)


def listen(source: Source, track: Track, joint: Joint) -> Tensor:
    """The vector `(e,)` of a track, of its first ten minutes."""
    num_samples = round(min(MOST_SECONDS, track.seconds) * joint.sample_rate)
    return joint.audio(source.read(track, 0.0, max(1, num_samples), joint.sample_rate, 1)[None])[0].cpu()


def library(
    place: str | Path, *, text: str | None = None, like: str | Path | None = None, k: int = 10, joint: JointConfig = JointConfig(), device: str = "auto",
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """What of a folder sounds like `text`, or like the file `like`; with neither, how much there is."""
    if text is not None and like is not None:
        raise ValueError("text and like: give one of the two")
    check_number("k", k, 1, 10_000, whole=True)
    wanted = None if text is None else checked_text(text, "text", such_as="say what it sounds like")
    encoder = Joint(joint).to(choose_device(device))
    vector = None
    if like is not None:
        audio = io.read(like, encoder.sample_rate, 1, num_samples=round(MOST_SECONDS * encoder.sample_rate))
        vector = encoder.audio(audio[None])[0].cpu()
    elif wanted is not None:
        vector = encoder.texts([wanted])[0].cpu()
    heard = hear(place, encoder, progress)
    found = [] if vector is None else heard.near(vector, k)
    return {"library": str(place), "files": len(heard.tracks), "new": heard.new, "skipped": heard.source.missed, "text": text, "like": like and str(like), "nearest": found}


def in_words(found: dict[str, Any]) -> str:
    """The nearest, a line each; or how much there is."""
    lines = [f"{row['cosine']:6.3f}  {row['file']}{''.join(f'  ({row[name]})' for name in ('title', 'caption') if name in row)}" for row in found["nearest"]]
    lines.append(f"{found['files']} files, {found['new']} of them heard now, {found['skipped']} skipped: {found['library']}")
    return "\n".join(lines)


