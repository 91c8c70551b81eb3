"""A piece on paper: bars with sections and chords, parts with notes, and the time of every beat.

Time is in beats while composing; `Score.seconds_of` turns it into seconds of the clip.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from mousai.data.synth.theory import Chord, has_flats
from mousai.theory import key_name


@dataclass(frozen=True)
class Metre:
    """A time signature. Compound ones count dotted quarters: 6/8 has two beats of three eighths."""

    name: str
    beats: int  # in a bar
    division: int  # eighths in a beat, 2 or 3


METRES = {metre.name: metre for metre in (Metre("4/4", 4, 2), Metre("3/4", 3, 2), Metre("6/8", 2, 3), Metre("12/8", 4, 3))}


@dataclass(frozen=True)
class Note:
    """One note of a part: start and length in beats, MIDI pitch (or a drum's name), velocity in (0, 1]."""

    start: float
    length: float
    pitch: int | str
    velocity: float


@dataclass(frozen=True)
class Span:
    """A chord's time within a piece, in beats."""

    start: float
    length: float
    chord: Chord


@dataclass(frozen=True)
class Bar:
    """A bar of the form: where it is in its section, and how much is going on."""

    start: float  # in beats
    section: str
    place: int  # 0 = the section's first
    last: bool  # of its section
    energy: float  # 0..1
    shift: int  # semitones from the piece's key
    spans: tuple[Span, ...]


@dataclass
class Score:
    """A piece: its bars, and parts by name, each a list of notes and the voice that plays them.

    `swing` moves the second of two notes of `swing_unit` beats later, by that share of both. The clip opens `lead` beats
    into the score.
    """

    bpm: float
    root: int  # pitch class 0..11
    mode: str  # "major" or "minor"
    metre: Metre
    bars: list[Bar]
    swing: float = 0.0  # 0 = straight, 1/6 = triplets
    swing_unit: float = 0.5
    lead: float = 0.0
    parts: dict[str, list[Note]] = field(default_factory=dict)
    voices: dict[str, str] = field(default_factory=dict)

    @property
    def beats(self) -> float:
        return float(len(self.bars) * self.metre.beats)

    @property
    def spans(self) -> list[Span]:
        return [span for bar in self.bars for span in bar.spans]

    def bar_at(self, beat: float) -> Bar:
        """The bar that a beat lies in."""
        return self.bars[min(int((beat + 1e-6) // self.metre.beats), len(self.bars) - 1)]

    @property
    def flats(self) -> bool:
        return has_flats(self.root, self.mode)

    def part(self, name: str, voice: str) -> str:
        """Declare who plays a part; returns its name."""
        self.voices[name] = voice
        self.parts.setdefault(name, [])
        return name

    def add(self, part: str, start: float, length: float, pitch: int | str, velocity: float) -> None:
        """Append a note; notes that would start after the piece's end are left out."""
        if start < self.beats:
            self.parts[part].append(Note(start, length, pitch, float(min(max(velocity, 0.05), 1.0))))

    def seconds_of(self, beat: float) -> float:
        """When a beat of the score comes, in seconds of the clip; before its beginning they are negative."""
        return (self._straight(beat) - self.lead) * 60.0 / self.bpm

    def _straight(self, beat: float) -> float:
        if not self.swing:
            return beat
        pair = 2 * self.swing_unit  # piecewise linear: the middle of a pair moves from 1/2 to 1/2 + swing
        whole, fraction = divmod(beat / pair, 1.0)
        middle = 0.5 + self.swing
        swung = fraction * 2 * middle if fraction < 0.5 else middle + (fraction - 0.5) * 2 * (1 - middle)
        return (whole + swung) * pair

    # What a manifest says of it

    def downbeats(self, seconds: float) -> list[float]:
        """The first beat of each bar that lies within the clip's `seconds`."""
        times = [self.seconds_of(bar.start) for bar in self.bars]
        return [round(time, 4) + 0.0 for time in times if 0 <= round(time, 4) < seconds]

    def first_beat(self) -> float:
        """The first beat, of any number, from the clip's beginning on."""
        return round((-self.lead % 1) * 60 / self.bpm, 4)

    def sections(self, seconds: float) -> list[list]:
        """[start, name] of each section heard in the clip, with its key where that is another."""
        found = []
        for bar in self.bars:
            if bar.place == 0 or bar is self.bars[0]:
                key = [key_name(self.root + bar.shift, self.mode)] if bar.shift else []
                found.append((self.seconds_of(bar.start), [bar.section, *key]))
        return _within(found, seconds)

    def chords(self, seconds: float) -> list[list]:
        """[start, symbol] of each chord heard in the clip, where it changes."""
        found: list[tuple[float, list]] = []
        for span in self.spans:
            symbol = span.chord.symbol(self.flats)
            if not found or found[-1][1] != [symbol]:
                found.append((self.seconds_of(span.start), [symbol]))
        return _within(found, seconds)


def _within(found: list[tuple[float, list]], seconds: float) -> list[list]:
    """Rows [start, *values] of what is on from 0 to `seconds`; what began before the clip starts at 0."""
    kept = []
    for i, (start, values) in enumerate(found):
        end = found[i + 1][0] if i + 1 < len(found) else float("inf")
        if end > 1e-4 and start < seconds:
            kept.append([round(max(start, 0.0), 4), *values])
    return kept
