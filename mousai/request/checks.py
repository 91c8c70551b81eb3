"""What each value of a section and of a piece may be, and the line that is said of one that it may not."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from mousai.checks import check_name, check_number, checked_text, short
from mousai.config import check_keys
from mousai.request.clip import MAX_SECONDS, SEEDS
from mousai.request.music import MUSIC_CHECKS
from mousai.types import SETTING_CHECKS

MIN_SECTION_SECONDS = 1.0
MIN_WINDOW_SECONDS = 1.0
MAX_PIECE_SECONDS = 86400.0
METHODS = ("joint", "continuation")

Check = Callable[[str, Any], Any]  # (name, value) → the value as it is kept; ValueError in one line


def came(value: Any) -> str:
    """What a message says of a value, short whatever it is."""
    kind = {type(None): "null", dict: "a mapping", list: "a list", tuple: "a list"}.get(type(value))
    return kind or short(value)


def settle(values: Mapping[str, Any], checks: Mapping[str, Check]) -> tuple[dict[str, Any], list[str]]:
    """The values that pass their checks, as these give them back, and a line for each that does not."""
    settled, lines = {}, []
    for name, check in checks.items():
        if name not in values:
            continue
        value = values[name]
        try:
            if isinstance(value, (Mapping, list, tuple)) and name != "interval":
                raise ValueError(f"{name}: expected one value, came {came(value)}")
            settled[name] = check(name, value)
        except ValueError as error:
            lines.append(str(error))
    return settled, lines


def unknown_keys(values: Mapping[str, Any], valid: Iterable[str], elsewhere: Iterable[str] = (), place: str = "") -> list[str]:
    """A line for each key of `values` that is not in `valid`: that its `place` is another, or the nearest one that is."""
    lines = []
    for key in [key for key in values if key not in valid]:
        try:
            check_keys({key: None}, valid)
        except ValueError as error:
            lines.append(f"{key}: belongs to {place}, not here" if key in elsewhere else str(error))
    return lines


def missing(values: Mapping[str, Any], lines: list[str], *names: str) -> list[str]:
    """The line that none of `names` is there, unless one of the `lines` asks whether one of them was meant."""
    if any(name in values or is_meant(name, lines) for name in names):
        return []
    give = f"; give {' or '.join(names)}" if len(names) > 1 else ""
    return [f"{names[0]}: is missing{give}"]


def is_meant(name: str, lines: list[str]) -> bool:
    """Whether a line of `unknown_keys` asks for `name`."""
    return any(f"did you mean {name!r}" in line for line in lines)


def in_seconds(values: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """`values` with `minutes` made `seconds`, and the line of what is wrong with them, which are left out then."""
    if "minutes" not in values:
        return dict(values), []
    rest = {key: value for key, value in values.items() if key not in ("seconds", "minutes")}
    if "seconds" in values:
        return rest, ["seconds and minutes: give one of the two"]
    bounds = _number(MIN_SECTION_SECONDS / 60, MAX_PIECE_SECONDS / 60, unit=" min", null=False)
    settled, lines = settle({"minutes": values["minutes"]}, {"minutes": bounds})
    return rest | {"seconds": round(minutes * 60, 6) for minutes in settled.values()}, lines


def _number(low: float, high: float, *, null: bool = True, **how: Any) -> Check:
    def checked(name: str, value: Any) -> float | int | None:
        if value is None and not null:
            raise ValueError(f"{name}: expected a number, came null")
        check_number(name, value, low, high, **how)
        return value if value is None or how.get("whole") else float(value)

    return checked


def _title(name: str, value: Any) -> str | None:
    if value is None:
        return None
    text = " ".join(checked_text(value, name, may_be_empty=True).split())
    if not text:
        raise ValueError(f"{name}: is empty; leave it away, and the piece is called after its prompt")
    if any(unicodedata.category(character) == "Cc" for character in text):
        raise ValueError(f"{name}: expected a line of text, came {came(value)}")
    return text


def _prompt(name: str, value: Any) -> str:
    return checked_text("" if value is None else value, name, may_be_empty=True)  # a piece that extends a recording may do without


def _negative(name: str, value: Any) -> str | None:
    return None if value is None else checked_text(value, name, may_be_empty=True) or None


def _sampler(name: str, value: Any) -> str | None:
    check_name(name, value, ("ddim",))  # windows are sampled by it
    return value


def _interval(name: str, value: Any) -> tuple[float, float] | None:
    if isinstance(value, (list, tuple)) and any(isinstance(each, (Mapping, list, tuple)) for each in value):
        raise ValueError(f"{name}: expected two numbers, came a list of other things")
    return SETTING_CHECKS[name](name, value)


def _method(name: str, value: Any) -> str | None:
    check_name(name, value, METHODS)
    return value


def _format(name: str, value: Any) -> str | None:
    if value is not None:
        from mousai.audio.write import FORMATS

        check_name(name, value, FORMATS)
    return value


def _loop(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"{name}: expected true or false, came {came(value)}")
    return value


def _flag(name: str, value: Any) -> bool | None:
    return None if value is None else _loop(name, value)


def _extend(name: str, value: Any) -> str | None:
    if value is not None and (not isinstance(value, (str, Path)) or not str(value).strip()):
        raise ValueError(f"{name}: expected the path of a recording, came {came(value)}")
    if value is not None and any("\ud800" <= character <= "\udfff" for character in str(value)):
        raise ValueError(f"{name}: the recording's path is not valid UTF-8; rename it")
    return None if value is None else str(value)


SECTION_CHECKS: dict[str, Check] = {
    "prompt": _prompt,
    "seconds": _number(MIN_SECTION_SECONDS, MAX_PIECE_SECONDS, unit=" s", null=False),
    "negative": _negative,
    "transition": _number(0, MAX_PIECE_SECONDS, unit=" s"),
    "bpm": MUSIC_CHECKS["bpm"],
}
PIECE_CHECKS: dict[str, Check] = {
    "title": _title,
    "seed": _number(0, SEEDS - 1, whole=True, null=False),
    **{name: check for name, check in SETTING_CHECKS.items() if name != "negative"},
    "sampler": _sampler,
    "interval": _interval,
    **MUSIC_CHECKS,
    "glide": _flag,
    "listen": _flag,
    "method": _method,
    "window": _number(MIN_WINDOW_SECONDS, MAX_SECONDS, unit=" s"),
    "overlap": _number(0, MAX_SECONDS, above=True, unit=" s"),
    "loop": _loop,
    "extend": _extend,
    "loudness": _number(-70, 0, unit=" LUFS"),
    "true_peak": _number(-60, 0, unit=" dBTP", null=False),
    "level_sections": _flag,
    "format": _format,
    "number": _number(1, 10**6, whole=True, null=False),
}
