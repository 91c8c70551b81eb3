"""What a network needs besides x: raw for one call, or prepared once for a whole schedule and prompt."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

KeysValues = tuple[Tensor, Tensor]


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
    first, at most one for each of its `steps + 1` times. ValueError for more, since who asks for them has another schedule.
    """

    def __init__(self, times: Tensor, compute: Callable[[Tensor], Tensor]) -> None:
        self.compute, self.promised, self.table = compute, len(times), compute(times)  # (steps, UNet1d.table_width)
        self.rows = {time: index for index, time in enumerate(times.tolist())}

    def at(self, t: Tensor) -> Tensor:
        """The rows of the float32 tensor `t`: `(1, table_width)` for 0-d, else `(b, table_width)`."""
        times = t.reshape(-1).tolist()
        if more := [time for time in dict.fromkeys(times) if time not in self.rows]:
            self._add(more)
        row = self.rows[times[0]]
        return self.table[[self.rows[time] for time in times]] if t.ndim else self.table[row : row + 1]

    def _add(self, times: list[float]) -> None:
        if len(self.table) + len(times) > 2 * self.promised + 1:
            raise ValueError(f"t = {times[0]} is neither among the {self.promised} times that this cache was made for nor between them")
        self.rows |= {time: len(self.table) + index for index, time in enumerate(times)}
        self.table = torch.cat([self.table, self.compute(torch.tensor(times, dtype=torch.float32))])


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
