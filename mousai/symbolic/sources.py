"""Where scores come from: folders of MIDI files, or a manifest whose lines name them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mousai.data.folders import folder_files
from mousai.data.sources import manifest_line, manifest_lines
from mousai.files import parse_json
from mousai.randomness import seed_of
from mousai.symbolic import midi
from mousai.symbolic.harmony import key_of_score, moved
from mousai.symbolic.phrases import on_grid
from mousai.symbolic.score import Score

logger = logging.getLogger(__name__)

HELD_OUT = 10  # of files that name no split every so-manieth, by its name, is "valid"
Skip = Callable[[str, str], None]  # (key, reason)


@dataclass(frozen=True)
class Piece:
    """A MIDI file, by its path below its source, and what is known of it."""

    key: str
    path: Path
    metadata: dict[str, Any] = field(hash=False)

    @property
    def split(self) -> str:
        held_out = seed_of("held out", self.key) % HELD_OUT == 0
        return self.metadata.get("split") or ("valid" if held_out else "train")


def holds_scores(spec: str | Path) -> bool:
    """Whether most of what a source names are MIDI files."""
    if str(spec).endswith(".jsonl") and Path(spec).is_file():
        keys = [manifest_line(line, f"{spec}, line {number}")[0] for number, line in manifest_lines(Path(spec))]
    elif Path(spec).is_dir():
        keys = [key for key, _, _ in folder_files(Path(spec), _unheard)]
    else:
        return False
    return 2 * sum(_is_midi(key) for key in keys) > len(keys)


def open_scores(spec: str | Path, skip: Skip | None = None) -> list[Piece]:
    """The MIDI files of a folder or a manifest, whose lines name them under `score` or `file`; FileNotFoundError or ValueError where there are none."""
    place = Path(spec)
    if place.is_dir():
        found = [(key, path, metadata) for key, path, metadata in folder_files(place, skip or _log) if _is_midi(key)]
    elif str(spec).endswith(".jsonl"):
        found = [(score, place.parent / score, metadata) for _, score, metadata in _manifest_keys(place) if score and _is_midi(score)]
    elif not place.exists():
        raise FileNotFoundError(f"no such data source: {spec}")
    else:
        raise ValueError(f"{spec}: expected a folder of MIDI files or a .jsonl manifest")
    if not found:
        raise ValueError(f"{spec}: holds no MIDI files")
    return [Piece(key, path, metadata) for key, path, metadata in found]


def read_scores(pieces: list[Piece], skip: Skip | None = None) -> Iterator[tuple[Piece, Score]]:
    """The scores of files; `skip` hears of those that cannot be read."""
    for piece in pieces:
        try:
            yield piece, midi.read(piece.path)
        except (ValueError, OSError) as error:
            (skip or _log)(piece.key, str(error))


def in_home_key(score: Score) -> tuple[Score, int, str]:
    """A score on the grid in C major or A minor, the semitones that it was moved, and its mode: so all pieces learn from one another."""
    root, mode = key_of_score(score)
    up = ((9 if mode == "minor" else 0) - root + 6) % 12 - 6
    return moved(on_grid(score), up), up, mode


def _manifest_keys(manifest: Path) -> list[tuple[str, str | None, dict[str, Any]]]:
    """(file, score, metadata) of each line."""
    if not manifest.is_file():
        raise FileNotFoundError(f"no such manifest: {manifest}")
    found = []
    for number, line in manifest_lines(manifest):
        where = f"{manifest}, line {number}"
        fields = parse_json(line, where, dict)
        score = fields.get("score")
        if score is not None and not isinstance(score, str):
            raise ValueError(f"{where}: expected the path of a MIDI file as score, came {score!r}")
        key, metadata = manifest_line(line, where)
        found.append((key, score or key, metadata))
    return found


def _is_midi(name: str) -> bool:
    return name.lower().endswith(midi.SUFFIXES)


def _log(key: str, reason: str) -> None:
    logger.warning("skipped %s", reason if key in reason else f"{key}: {reason}")


def _unheard(key: str, reason: str) -> None:
    """For who only looks."""
