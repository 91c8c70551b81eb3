"""Side-cars: what lies beside a recording and says what it is, `.json` with fields and `.txt` with a caption."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mousai.data.metadata import normalise
from mousai.files import parse_json

KINDS = (".json", ".txt")
SIDECAR_BYTES = 2**22  # at most
MANIFEST_BYTES = 2**30
NEVER_AUDIO = (".json", ".jsonl", ".txt", ".md", ".csv")  # what lies beside the audio of a folder or shard


def decoded(text: bytes, where: Path | str) -> str:
    """A text in UTF-8; ValueError, beginning with `where`, for anything else."""
    try:
        return text.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{where}: not text in UTF-8 ({error.reason} at byte {error.start})") from None


def sidecar_metadata(sidecars: Mapping[str, str], where: str) -> dict[str, Any]:
    """Metadata of the texts of side-cars by suffix; a caption in the JSON goes before the .txt."""
    metadata = {"caption": sidecars[".txt"].strip()} if sidecars.get(".txt", "").strip() else {}
    if ".json" in sidecars:
        metadata |= normalise(parse_json(sidecars[".json"], f"side-car of {where}", dict), where)
    return metadata
