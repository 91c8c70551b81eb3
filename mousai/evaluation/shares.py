"""Shares of clips, in words and with what chance leaves open."""

from __future__ import annotations


def wilson(right: int, total: int) -> tuple[float, float]:
    """The 95 % interval of a share of `right` in `total` (Wilson, JASA 22, 1927)."""
    from scipy.stats import binomtest

    interval = binomtest(right, total).proportion_ci(method="wilson")
    return float(interval.low), float(interval.high)


def in_percent(right: int, total: int) -> str:
    """"88 %"."""
    return f"{100 * right / total:.0f} %"


def with_interval(right: int, total: int) -> str:
    """"88 % of 96 (95 % interval 79 … 93 %)"."""
    low, high = wilson(right, total)
    return f"{in_percent(right, total)} of {total} (95 % interval {100 * low:.0f} … {100 * high:.0f} %)"
