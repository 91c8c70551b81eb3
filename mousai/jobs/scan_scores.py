"""Looking through a data set of scores before anything is trained on it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from mousai.data.sources import in_words
from mousai.request.instruments import FAMILIES
from mousai.symbolic.harmony import key_of_score
from mousai.symbolic.phrases import gridded
from mousai.symbolic.score import DRUMS
from mousai.symbolic.sources import open_scores, read_scores
from mousai.theory import key_name

SHOWN = 12  # of the most frequent values


@dataclass(frozen=True)
class ScoreReport:
    """What a data set of scores holds; every count is of files unless it says otherwise, and only whole ones count."""

    source: str
    files: int
    hours: float
    bars: int
    notes: int
    median_parts: float
    metres: dict[str, int]
    keys: dict[str, int]
    instruments: dict[str, int]  # parts of each family
    splits: dict[str, int]
    moved: int  # notes whose start the grid changes
    stretched: int  # notes whose length it changes
    lost: int  # notes that it has no room for
    on_grid: int  # files of which it changes nothing
    skipped: list[tuple[str, str]]  # (file, why)

    def __str__(self) -> str:
        def counts(values: dict[str, int]) -> str:
            rest = len(values) - SHOWN
            return ", ".join(f"{count}× {value}" for value, count in list(values.items())[:SHOWN]) + (f" and {rest} more" if rest > 0 else "")

        lines = [
            f"{self.source}: {self.files} scores, {self.hours:.2f} h, {self.bars:,} bars, {self.notes:,} notes, {self.median_parts:g} parts each",
            f"metres    {counts(self.metres)}",
            f"keys      {counts(self.keys)}",
            f"parts     {counts(self.instruments)}",
            f"splits    {counts(self.splits)}",
            f"the grid moves {self.moved:,} notes, stretches {self.stretched:,}, loses {self.lost:,}; {self.on_grid} scores lie on it, skipped {len(self.skipped)}",
        ]
        return "\n".join(lines + [f"skipped: {in_words(key, reason)}" for key, reason in self.skipped])


def scan_scores(source: str | Path, split: str | None = None, progress: Callable[[int, int], None] | None = None) -> ScoreReport:
    """Read every MIDI file of a data set and report what it holds; ValueError if none of them is whole."""
    skipped: list[tuple[str, str]] = []

    def skip(key: str, reason: str) -> None:
        skipped.append((key, reason))

    pieces = [piece for piece in open_scores(source, skip) if split in (None, piece.split)]
    counts: dict[str, Counter[str]] = {name: Counter() for name in ("metres", "keys", "instruments", "splits")}
    total: Counter[str] = Counter()
    parts, seconds = [], 0.0
    for piece, score in read_scores(pieces, skip):
        grid = gridded(score)
        total.update(files=1, bars=len(grid.bars), notes=grid.cost.notes, moved=grid.cost.moved, stretched=grid.cost.stretched, lost=grid.cost.lost)
        total["on_grid"] += grid.cost.moved + grid.cost.stretched + grid.cost.lost == 0
        seconds += score.seconds
        parts.append(len(score.parts))
        counts["metres"].update({f"{top}/{bottom}" for top, bottom in {bar.metre for bar in grid.bars}})
        counts["keys"][key_name(*key_of_score(score))] += 1
        counts["instruments"].update("drums" if part.family == DRUMS else FAMILIES[part.family] for part in score.parts)
        counts["splits"][piece.split] += 1
        if progress:
            progress(total["files"] + len(skipped), len(pieces))
    if not total["files"]:
        raise ValueError(f"{source}: holds no usable score ({len(skipped)} files were skipped)")
    ordered = {name: dict(count.most_common()) for name, count in counts.items()}
    return ScoreReport(
        source=str(source), hours=seconds / 3600, median_parts=median(parts), skipped=skipped, **ordered,
        **{name: total[name] for name in ("files", "bars", "notes", "moved", "stretched", "lost", "on_grid")},
    )  # fmt: skip
