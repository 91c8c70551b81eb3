"""What a network needs besides x: raw for one call, or prepared once for a whole schedule and prompt."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

KeysValues = tuple[Tensor, Tensor]
MOST_TIMES = 16  # that a sampler may ask for, for each of its schedule


@dataclass(frozen=True)
class Context:
    """What an item is told besides its input: raw (`time`, `tokens`, `inject`), or as `UNet1d.cache` prepared it."""

    time: Tensor | None = None  # (b | 1, modulation_features), activated
    tokens: Tensor | None = None  # (b, n, e)
    mask: Tensor | None = None  # (b, 1, 1, n)
    inject: dict[int, Tensor] | None = None  # depth -> (b, d, l at that depth)
    row: Tensor | None = None  # (b | 1, UNet1d.table_width): every scale and shift for t
    keys_values: list[KeysValues] | None = None
    injected: list[Tensor] | None = None  # projected, one an inject layer

    def modulation(self, linear: nn.Linear, start: int) -> Tensor:
        """The output of a modulation layer, whose columns in the table begin at `start`."""
        return linear(self.time) if self.row is None else self.row[:, start : start + linear.out_features]


class ModulationRows:
    """Every scale and shift, a row for each time of a schedule.

    Solvers such as midpoint ask for times between those of the schedule: their rows are computed when they are asked for
    first. ValueError for more than `MOST_TIMES` times the schedule's: whoever asks for so many does not follow it.
    """

    def __init__(self, times: Tensor, compute: Callable[[Tensor], Tensor]) -> None:
        self.compute, self.promised = compute, len(times)
        self.table = dict(zip(times.tolist(), compute(times).split(1)))  # time -> (1, UNet1d.table_width)

    def at(self, t: Tensor) -> Tensor:
        """The rows of the float32 tensor `t`: `(1, table_width)` for 0-d, else `(b, table_width)`."""
        times = t.reshape(-1).tolist()
        if more := [time for time in dict.fromkeys(times) if time not in self.table]:
            self._add(more)
        rows = [self.table[time] for time in times]
        return torch.cat(rows) if len(rows) > 1 else rows[0]

    def _add(self, times: list[float]) -> None:
        if len(self.table) + len(times) > (most := MOST_TIMES * self.promised):
            raise ValueError(f"t = {times[0]}: this cache was made for {self.promised} times and keeps at most {most}; it was asked for more")
        self.table |= zip(times, self.compute(torch.tensor(times, dtype=torch.float32)).split(1))


class StepCache:
    """What a `UNet1d` needs besides x for each time of a schedule, and for times between.

    `cache[:n]` is that of the first n items, `cache[rows]`, a LongTensor `(b,)`, that of so many rows, each of any item.
    """

    def __init__(self, rows: ModulationRows, context: Context) -> None:
        self.rows, self.context = rows, context

    def at(self, t: Tensor) -> Context:
        """The context for the float32 tensor `t`, 0-d or `(b,)`."""
        c = self.context
        return Context(mask=c.mask, row=self.rows.at(t), keys_values=c.keys_values, injected=c.injected)

    @property
    def items(self) -> int:
        """The batch that it was made for; 1 fits any."""
        batches = [k.shape[0] for k, _ in self.context.keys_values] + [y.shape[0] for y in self.context.injected]
        return max(batches, default=1)

    def __getitem__(self, index: slice | Tensor) -> StepCache:
        c = self.context
        context = Context(
            mask=None if c.mask is None else c.mask[index],
            inject={depth: value[index] for depth, value in c.inject.items()},
            keys_values=[(k[index], v[index]) for k, v in c.keys_values],
            injected=[y[index] for y in c.injected],
        )
        return StepCache(self.rows, context)
