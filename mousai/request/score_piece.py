"""Scores in sections, and files of them: what may change on the way, checked before any model is read.

A file is YAML or JSON, as those of `mousai render`: one piece with `sections`, or several under `pieces`, which take what they leave away from `defaults`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mousai.checks import checked_text, short
from mousai.config import check_keys, read_yaml
from mousai.request.piece import slug
from mousai.request.score import ScoreRequest

OF_PIECE = ("title", "seed", "instruments", "guidance", "temperature", "spread")
OF_RECIPE = (*OF_PIECE, "candidates", "reading")  # that what is composed carries
OF_SECTION = ("name", "prompt", "bars", "seconds", "key", "bpm", "metre", "chords", "density")


@dataclass(frozen=True)
class ScorePiece:
    """Sections one after another, by the players of the first: what a section does not say stays as it was before; its marker is its name.

    ValueError in one line for whatever cannot be.
    """

    sections: tuple[ScoreRequest, ...]
    names: tuple[str, ...]
    title: str = ""

    def __post_init__(self) -> None:
        if not self.sections or len(self.sections) != len(self.names):
            raise ValueError("sections: expected one at least, with a name each")
        for number, section in enumerate(self.sections, 1):
            if section.bars is None and section.seconds is None:
                raise ValueError(f"section {number}: missing key 'bars', or 'seconds'")

    @property
    def seed(self) -> int:
        return self.sections[0].seed

    @property
    def prompt(self) -> str:
        """What it is called by: its title, or the first thing that is asked for."""
        return self.title or self.words or "score"

    @property
    def words(self) -> str:
        """The first thing that is asked for."""
        return next((section.prompt for section in self.sections if section.prompt), "")

    @property
    def name(self) -> str:
        return slug(self.title) if self.title else f"{slug(self.prompt)}-{self.seed}"

    def with_seed(self, seed: int) -> ScorePiece:
        """The same by another seed."""
        return replace(self, sections=tuple(replace(section, seed=seed) for section in self.sections))

    def to_dict(self) -> dict[str, Any]:
        """The piece as files carry it; `from_dict` gives the same piece back."""
        said = [each.to_dict() for each in self.sections]
        common = {name: value for each in reversed(said) for name, value in each.items() if name in OF_RECIPE}
        sections = [{"name": name, **{key: value for key, value in each.items() if key in OF_SECTION}} for name, each in zip(self.names, said, strict=True)]
        return {"title": self.title, **common, "sections": sections}

    @classmethod
    def from_dict(cls, data: Any, names: Sequence[str] = OF_RECIPE) -> ScorePiece:
        """A piece of a mapping as `to_dict` gives it, which may say `names` beside its sections."""
        if not isinstance(data, Mapping) or not isinstance(data.get("sections"), list) or not data["sections"]:
            raise ValueError(f"expected a mapping with sections, a list of them; came {short(data)}")
        check_keys(data, (*names, "sections"))
        common = {name: data[name] for name in names if name != "title" and data.get(name) is not None}
        if isinstance(common.get("instruments"), list):
            common["instruments"] = tuple(common["instruments"])
        sections, names = [], []
        for number, section in enumerate(data["sections"], 1):
            try:
                if not isinstance(section, Mapping):
                    raise ValueError(f"expected a mapping with bars, came {short(section)}")
                check_keys(section, OF_SECTION)
                own = {name: value for name, value in section.items() if name != "name"}
                sections.append(ScoreRequest(**{"prompt": "", **common, **own}))
                names.append(checked_text(section.get("name") or f"section {number}", "name", such_as="name the section, or leave it away"))
            except ValueError as error:
                raise ValueError(f"section {number}: {error}") from None
        return cls(tuple(sections), tuple(names), checked_text(data.get("title") or "", "title", may_be_empty=True))


def read_pieces(path: str | Path, defaults: Mapping[str, Any] | None = None) -> list[ScorePiece]:
    """The pieces of a file; `defaults` are what the command line says of those that do not say it themselves. ValueError in one line, which begins with where."""
    data = read_yaml(path)
    try:
        if "pieces" in data:
            check_keys(data, ("pieces", "defaults"))
        own = data.get("defaults") or {}
        if not isinstance(own, Mapping) or not isinstance(data.get("pieces", []), list):
            raise ValueError("expected defaults as a mapping, and pieces as a list")
        check_keys(own, [name for name in OF_PIECE if name != "title"], "defaults")
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    pieces = data.get("pieces") or [{name: value for name, value in data.items() if name != "defaults"}]
    found = []
    for number, piece in enumerate(pieces, 1):
        try:
            found.append(ScorePiece.from_dict({**(defaults or {}), **own, **piece} if isinstance(piece, Mapping) else piece, OF_PIECE))
        except ValueError as error:
            raise ValueError(f"{path}: {f'piece {number}, ' if len(pieces) > 1 else ''}{error}") from None
    return found
