"""The joins of a codec's windows (codecs/chunks.py) under test, in what it decodes and in what it encodes.

Three signals are looked at: the original, which has no joins and shows what chance does; the decoded audio; and the
error, decoded minus original in dB, from which the music's own changes are gone, so that it shows most.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mousai.audio.level import level_gain, rms_of
from mousai.audio.spectral import HOP, log_mel
from mousai.evaluation.joins import JoinTest, change_across, dip_within, flux_within, grid_test, join_places, mean_within

SIDES = 3  # times as much as half a fade is looked at before and after it
STEPS_DB = (0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.5, 2.0, 3.0, 5.0)
SIGNALS = {"original": "original (no joins)", "decoded": "decoded", "error": "decoded − original"}
CURVES = {  # name: (feature, curve)
    "spectrum, change across": ("spectrum", change_across),
    "spectrum, change from frame to frame within": ("spectrum", flux_within),
    "level, change across": ("level", change_across),
    "level, dip within (dB)": ("level", dip_within),
}


@dataclass(frozen=True)
class Grid:
    """Joins in frames of some kind: one every `period`, faded over `gap` frames to each side, `width` more looked at."""

    period: int
    gap: int
    width: int

    @property
    def margin(self) -> int:
        """From here on, what is looked at around a place holds nothing of a join's fade."""
        return 2 * self.gap + self.width


def join_grid(stride: int, context: int) -> Grid:
    """The grid of windows that yield `stride` frames and are faded over `context` frames."""
    gap = max(1, -(-context // 2))
    return Grid(stride, gap, max(4, min(SIDES * gap, stride // 4 - gap)))  # some places must lie far from every join


def features(original: Tensor, decoded: Tensor, sample_rate: int) -> dict[str, dict[str, Tensor]]:
    """Log-mel spectrum `(c * bands, l)` and its mean over bands, the level, `(1, l)`, in dB, of each signal; audio is `(c, s)`.

    Both are scaled by what brings the original to rms 0.1.
    """
    scale = level_gain(rms_of(original), 0.1)
    before, after = (log_mel(audio * scale, sample_rate).flatten(0, 1) for audio in (original, decoded))
    signals = {"original": before, "decoded": after, "error": after - before}
    return {who: {"spectrum": spectrum, "level": spectrum.mean(0, keepdim=True)} for who, spectrum in signals.items()}


@dataclass(frozen=True)
class JoinVerdict:
    """Tests by what was looked at (and, for decoding, of which signal)."""

    decoding: dict[str, dict[str, JoinTest]]
    encoding: dict[str, JoinTest]
    smallest_step_found_db: float | None  # in level, to and fro between windows; None = more than the greatest of STEPS_DB

    def to_dict(self) -> dict[str, Any]:
        return {
            "smallest_step_found_db": self.smallest_step_found_db,
            "decoding": {what: {who: test.to_dict() for who, test in row.items()} for what, row in self.decoding.items()},
            "encoding": {what: test.to_dict() for what, test in self.encoding.items()},
        }

    def table(self) -> str:
        """Markdown: change at the joins over change elsewhere, in brackets where 95 % of the moved grids lie."""
        lines = [
            f"{next(iter(self.encoding.values())).joins} joins. Change at the joins over change elsewhere (dips: in dB);"
            " in brackets where 95 % of grids lie that were moved to other places of the same pieces.",
            "",
            f"| decoding | {' | '.join(SIGNALS.values())} |",
            "|---" * (len(SIGNALS) + 1) + "|",
            *(f"| {what} | {' | '.join(_cell(row[who], 'dB' in what) for who in SIGNALS)} |" for what, row in self.decoding.items()),
            "",
            "| encoding | at the joins | elsewhere | ratio |",
            "|---|---|---|---|",
            *(f"| {what} | {test.at_joins:.4f} | {test.elsewhere:.4f} | {_cell(test)} |" for what, test in self.encoding.items()),
            "",
        ]
        least = self.smallest_step_found_db
        said = f"more than {STEPS_DB[-1]:g}" if least is None else f"{least:g}"
        return "\n".join([*lines, f"The least step in level, to and fro between windows, that would be found here: {said} dB."])


def _cell(test: JoinTest, signed: bool = False) -> str:
    if signed:
        return f"{test.at_joins:+.2f} ({test.low:+.2f} … {test.high:+.2f})"
    if test.ratio is None:
        return "nothing elsewhere" if test.found else "none at all"
    return f"{test.ratio:.2f} ({test.low / test.elsewhere:.2f} … {test.high / test.elsewhere:.2f})"


class JoinJudge:
    """Takes pieces one by one, then gives a verdict over all their joins; keeps curves, no audio."""

    def __init__(self, stride: int, context: int, hop: int, sample_rate: int) -> None:
        """Windows of `stride` latent frames of `hop` samples, crossfaded over `context` frames."""
        if stride * hop % HOP:
            raise ValueError(f"expected windows of a multiple of {HOP} samples, came {stride * hop}")
        self.stride, self.context, self.hop, self.sample_rate = stride, context, hop, sample_rate
        self.audio_grid, self.latent_grid = join_grid(stride * hop // HOP, -(-context * hop // HOP)), join_grid(stride, context)
        self.decoding: list[dict[str, dict[str, Tensor]]] = []
        self.encoding: list[dict[str, Tensor]] = []
        self.level_errors: list[Tensor] = []
        self.places: list[list[int]] = []  # in latent frames

    @property
    def stride_seconds(self) -> float:
        return self.stride * self.hop / self.sample_rate

    @property
    def fade_seconds(self) -> float:
        return self.context * self.hop / self.sample_rate

    def add(self, original: Tensor, decoded: Tensor, windowed: Tensor, whole: Tensor) -> None:
        """A piece: audio `(c, s)` and what became of it, its latents `(d, l)` from windows and as a whole."""
        signals, grid = features(original, decoded, self.sample_rate), self.audio_grid
        self.decoding.append(
            {what: {who: curve(signals[who][name], grid.gap, grid.width) for who in SIGNALS} for what, (name, curve) in CURVES.items()}
        )
        self.level_errors.append(signals["error"]["level"])
        grid = self.latent_grid
        distance = (windowed - whole).square().mean(0).sqrt()
        self.encoding.append(
            {
                "latents, change across": change_across(windowed, grid.gap, grid.width),
                "latents, rms distance of those of windows from those of the whole": mean_within(distance, grid.gap),
            }
        )
        self.places.append(join_places(windowed.shape[-1], self.stride, self.context))

    def verdict(self, seed: int = 0) -> JoinVerdict:
        """The tests over all pieces; ValueError if they hold no join."""
        test = lambda curves, places, grid: grid_test(curves, places, grid.period, grid.margin, seed)  # noqa: E731
        places = [[place * self.hop // HOP for place in piece] for piece in self.places]
        decoding = {what: {who: test([piece[what][who] for piece in self.decoding], places, self.audio_grid) for who in SIGNALS} for what in CURVES}
        encoding = {what: test([piece[what] for piece in self.encoding], self.places, self.latent_grid) for what in self.encoding[0]}
        return JoinVerdict(decoding, encoding, smallest_step_found(self.level_errors, places, self.audio_grid))


def smallest_step_found(errors: Sequence[Tensor], places: Sequence[Sequence[int]], grid: Grid) -> float | None:
    """The least of `STEPS_DB` by which neighbouring windows may differ in level, to and fro, so that their joins are found.

    `errors` are level errors `(1, l)` in dB. It says how fine the test is on these pieces.
    """
    for step in STEPS_DB:
        stepped = []
        for error, list_ in zip(errors, places):
            window = torch.bucketize(torch.arange(error.shape[-1]), torch.tensor(list_), right=True)
            stepped.append(change_across(error + step * (window % 2), grid.gap, grid.width))
        if grid_test(stepped, places, grid.period, grid.margin).found:
            return step
    return None
