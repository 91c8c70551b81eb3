"""`log.jsonl`, what a run writes about itself: a JSON object a line, with the step that it is of."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mousai.files import read_bytes, write_text

LOG_BYTES = 2**30  # at most
Row = dict[str, float]


def read_log(path: str | Path) -> tuple[list[Row], int]:
    """The rows of a log, and how many lines are none: cut by a kill, or damaged; nothing of a log that is not there."""
    path = Path(path)
    if not path.exists():
        return [], 0
    lines = [line for line in read_bytes(path, LOG_BYTES).decode(errors="replace").splitlines() if line.strip()]
    rows = [row for line in lines if (row := row_of(line)) is not None]
    return rows, len(lines) - len(rows)


def row_of(line: str) -> Row | None:
    """A line's row: a step, and numbers under their names; None if it is no such thing."""
    try:
        row: Any = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(row, dict) or type(row.get("step")) is not int or any(type(value) not in (int, float) for value in row.values()):
        return None
    return row


def cut_log(path: str | Path, step: int) -> None:
    """Drops what a log says of steps after `step`, which a killed run had not saved and which come again, and damaged lines."""
    path = Path(path)
    if path.exists():
        rows, _ = read_log(path)
        write_text(path, "".join(json.dumps(row) + "\n" for row in rows if row["step"] <= step))
