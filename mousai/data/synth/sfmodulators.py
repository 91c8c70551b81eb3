"""SoundFont modulators written into generators, for a player that knows generators alone.

tinysoundfont leaves modulators out. Some fonts let velocity open the filter by them (MuseScore General's pianos, muffled
at 300 Hz without), so each zone gets what its modulators would add at the middle of its velocities and keys. After
SoundFont Technical Specification 2.04, sections 7 to 9.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

FILTER, ENVELOPE_TO_FILTER, ATTACKS_AND_RELEASES = 8, 11, (26, 28, 30, 34, 36, 38)
BAKED = (FILTER, ENVELOPE_TO_FILTER, *ATTACKS_AND_RELEASES)
DEFAULTS = {FILTER: 13500, ENVELOPE_TO_FILTER: 0} | dict.fromkeys(ATTACKS_AND_RELEASES, -12000)
LIMITS = {FILTER: (1500, 13500), ENVELOPE_TO_FILTER: (-12000, 12000)} | dict.fromkeys(ATTACKS_AND_RELEASES, (-12000, 8000))
KEYS, VELOCITIES, INSTRUMENT, SAMPLE = 43, 44, 41, 53  # generators that bound a zone or end it
USUAL_VELOCITY = 88
Generators = dict[int, int]  # by number, raw 16 bits
Modulator = tuple[int, int, int, int, int]  # source, destination, amount, source of the amount, transform


def baked(font: bytes) -> bytes:
    """The same SoundFont with every zone's modulators by velocity and key at their middle values.

    Raises ValueError where the file's tables cannot be followed.
    """
    at = font.rfind(b"LIST", 0, font.find(b"pdtaphdr") + 1)
    if font[:4] != b"RIFF" or at < 0:
        raise ValueError("its tables of presets are missing")
    try:
        tables = _tables(font[at + 12 :])
        for headers, size, bags, generators, modulators, ends in (
            ("phdr", 38, "pbag", "pgen", "pmod", INSTRUMENT), ("inst", 22, "ibag", "igen", "imod", SAMPLE),
        ):  # fmt: skip
            _bake(tables, headers, size, bags, generators, modulators, ends)
    except (struct.error, KeyError, IndexError) as error:
        raise ValueError(f"its tables of presets are damaged: {error}") from error
    body = b"pdta" + b"".join(name.encode() + struct.pack("<I", len(data)) + data for name, data in tables.items())
    whole = font[8:at] + b"LIST" + struct.pack("<I", len(body)) + body
    return b"RIFF" + struct.pack("<I", len(whole)) + whole


def _tables(data: bytes) -> dict[str, bytes]:
    found, at = {}, 0
    while at + 8 <= len(data) and len(found) < 9:
        size = struct.unpack_from("<I", data, at + 4)[0]
        found[data[at : at + 4].decode("latin-1")] = data[at + 8 : at + 8 + size]
        at += 8 + size
    return found


def _bake(tables: dict[str, bytes], headers: str, size: int, bags: str, generators: str, modulators: str, ends: int) -> None:
    """Rewrite the generators of all presets, or all instruments, and the indices to them."""
    bag = list(struct.iter_unpack("<HH", tables[bags]))
    gens = list(struct.iter_unpack("<HH", tables[generators]))
    mods = list(struct.iter_unpack("<HHhHH", tables[modulators]))
    firsts = [struct.unpack_from("<H", tables[headers], i + (24 if size == 38 else 20))[0] for i in range(0, len(tables[headers]), size)]
    new_gens: list[tuple[int, int]] = []
    new_bag: list[tuple[int, int]] = []
    for first, last in zip(firsts, firsts[1:]):
        common: Generators = {}
        common_mods: dict[tuple[int, int, int], Modulator] = {}
        for zone in range(first, last):
            here = dict(gens[bag[zone][0] : bag[zone + 1][0]])
            here_mods = {(m[0], m[1], m[3]): m for m in mods[bag[zone][1] : bag[zone + 1][1]]}
            if zone == first and ends not in here:
                common, common_mods = here, here_mods
            elif ends in here:
                here = _with_modulators(here, common, (common_mods | here_mods).values(), preset=ends == INSTRUMENT)
            new_bag.append((len(new_gens), bag[zone][1]))
            new_gens += sorted(here.items(), key=lambda item: (item[0] != KEYS, item[0] != VELOCITIES, item[0] == ends))
    new_bag.append((len(new_gens), bag[-1][1]))
    new_gens.append((0, 0))
    tables[bags] = b"".join(struct.pack("<HH", *pair) for pair in new_bag)
    tables[generators] = b"".join(struct.pack("<HH", *pair) for pair in new_gens)


def _with_modulators(here: Generators, common: Generators, modulators, preset: bool) -> Generators:
    """A zone's own generators and what its modulators add; a preset's are differences, an instrument's absolute."""
    velocity = _middle((common | here).get(VELOCITIES), USUAL_VELOCITY)
    key = _middle((common | here).get(KEYS), 60)
    added: dict[int, float] = {}
    for source, destination, amount, by, _ in modulators:
        if destination in BAKED:
            added[destination] = added.get(destination, 0.0) + amount * _source(source, velocity, key) * (_source(by, velocity, key) if by else 1.0)
    result = dict(here)
    for number, amount in added.items():
        if round(amount):
            raw = (common | here).get(number)
            value = (0 if preset else DEFAULTS[number]) if raw is None else _signed(raw)
            low, high = (-12000, 12000) if preset else LIMITS[number]
            result[number] = min(max(value + round(amount), low), high) & 0xFFFF
    return result


def _middle(span: int | None, usual: int) -> int:
    """What is played most within a range: the usual where it lies inside, else the nearest quarter from that end."""
    if span is None:
        return usual
    low, high = span & 255, span >> 8
    return usual if low <= usual <= high else (low + high) // 2


def _source(source: int, velocity: int, key: int) -> float:
    """A modulator's input in [-1, 1] (8.2): of velocity and key; controllers rest at 0."""
    read: Callable[[], float] | None = {2: lambda: velocity / 127, 3: lambda: key / 127}.get(source & 127)
    if read is None or source & 128:
        return 0.0
    value = 1 - read() if source & 256 else read()
    return 2 * value - 1 if source & 512 else value


def _signed(raw: int) -> int:
    return raw - 65536 if raw > 32767 else raw
