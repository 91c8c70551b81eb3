"""What a network needs besides x: raw for one call, or prepared once for a whole schedule and prompt."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

KeysValues = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Context:
    """What an item is told besides its input: raw (`time`, `tokens`, `inject`), or as `UNet1d.cache` prepared it."""

    time: Tensor | None = None  # (b | 1, modulation_features), activated
    tokens: Tensor | None = None  # (b, n, e)
    mask: Tensor | None = None  # (b, 1, 1, n)
    inject: dict[int, Tensor] | None = None  # depth -> (b, d, l at that depth)
    row: Tensor | None = None  # (1, UNet1d.table_width): every scale and shift for one t
    keys_values: list[KeysValues] | None = None
    injected: list[Tensor] | None = None  # projected, one an inject layer

    def modulation(self, linear: nn.Linear, start: int) -> Tensor:
        """The output of a modulation layer, whose columns in the table begin at `start`."""
        return linear(self.time) if self.row is None else self.row[:, start : start + linear.out_features]


class StepCache:
    """What a `UNet1d` needs besides x for each time of a schedule; `cache[:n]` is that of the first n items."""

    def __init__(self, times: Tensor, table: Tensor, context: Context) -> None:
        self.times, self.table, self.context = times, table, context
        self.rows = {time: index for index, time in enumerate(times.tolist())}

    def at(self, t: Tensor) -> Context:
        """The context for the 0-d float32 tensor `t`, which must be one of the times exactly."""
        if t.ndim:
            raise ValueError(f"a cache takes one time for the whole batch: t must be 0-d, came {tuple(t.shape)}")
        row = self.rows.get(float(t))
        if row is None:
            raise ValueError(f"t = {float(t)} is not among the {len(self.times)} times that this cache was made for")
        c = self.context
        return Context(mask=c.mask, row=self.table[row : row + 1], keys_values=c.keys_values, injected=c.injected)

    @property
    def items(self) -> int:
        """The batch that it was made for; 1 fits any."""
        batches = [k.shape[0] for k, _ in self.context.keys_values] + [y.shape[0] for y in self.context.injected]
        return max(batches, default=1)

    def __getitem__(self, index: slice) -> StepCache:
        c = self.context
        context = Context(
            mask=None if c.mask is None else c.mask[index],
            inject={depth: value[index] for depth, value in c.inject.items()},
            keys_values=[(k[index], v[index]) for k, v in c.keys_values],
            injected=[y[index] for y in c.injected],
        )
        return StepCache(self.times, self.table, context)
