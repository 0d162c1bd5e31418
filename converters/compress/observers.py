"""Which range of an activation its integers should cover, from what calibration saw of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

Observer = Literal["minmax", "percentile", "mse", "entropy"]
BINS = 2048
PERCENTILE = 0.9999
Range = tuple[float, float]


class Histogram:
    """The distribution of a tensor over many batches: first its extremes, then counts between them."""

    def __init__(self) -> None:
        self.low, self.high = 0.0, 0.0  # 0 is always in the range: padding is exact
        self.counts: Tensor | None = None

    def see_extremes(self, x: Tensor) -> None:
        self.low, self.high = min(self.low, float(x.min())), max(self.high, float(x.max()))

    def see_counts(self, x: Tensor) -> None:
        counts = torch.histc(x.float(), BINS, self.low, self.high).double()
        self.counts = counts if self.counts is None else self.counts + counts

    def centres(self) -> Tensor:
        step = (self.high - self.low) / BINS
        return self.low + step * (torch.arange(BINS, dtype=torch.float64) + 0.5)

    def range(self, observer: Observer) -> Range:
        """The range to cover, 0 included. An activation that is always 0 gets (0, 1)."""
        if self.high == self.low or self.counts is None or not self.counts.sum():
            return 0.0, 1.0
        return RANGES[observer](self)


def _minmax(h: Histogram) -> Range:
    return h.low, h.high


def _percentile(h: Histogram) -> Range:
    """All but 0.01 % of the values, the tails cut by equal numbers."""
    assert h.counts is not None
    mass = h.counts.cumsum(0) / h.counts.sum()
    tail = (1 - PERCENTILE) / (1 if h.low == 0 or h.high == 0 else 2)
    centres = h.centres()
    low = float(centres[int((mass > tail).nonzero()[0])]) if h.low < 0 else 0.0
    high = float(centres[int((mass >= 1 - tail).nonzero()[0])]) if h.high > 0 else 0.0
    return min(low, 0.0), max(high, 0.0)


def _candidates(h: Histogram) -> list[Range]:
    return [(h.low * r, h.high * r) for r in torch.linspace(0.2, 1.0, 81).tolist()]


def _mse(h: Histogram) -> Range:
    """The least squared error of rounding and clipping."""
    assert h.counts is not None
    x, weight = h.centres(), h.counts

    def error(bounds: Range) -> float:
        low, high = bounds
        step = (high - low) / 255
        rounded = ((x / step).round() * step).clamp(low, high)
        return float((weight * (x - rounded) ** 2).sum())

    return min(_candidates(h), key=error)


def _entropy(h: Histogram) -> Range:
    """The least Kullback-Leibler divergence of the quantized distribution (Migacz, GTC 2017)."""
    assert h.counts is not None
    x, counts = h.centres(), h.counts

    def divergence(bounds: Range) -> float:
        low, high = bounds
        inside = (x >= low) & (x <= high)
        p = counts * inside
        # What is clipped counts at the ends.
        kept = inside.nonzero()
        p[kept[0]] += counts[: int(kept[0])].sum()
        p[kept[-1]] += counts[int(kept[-1]) + 1 :].sum()
        level = ((x - low) / (high - low) * 255).round().clamp(0, 255).long()
        used = (counts * inside > 0).double()
        mass = torch.zeros(256, dtype=torch.float64).index_add_(0, level, counts * inside)
        bins = torch.zeros(256, dtype=torch.float64).index_add_(0, level, used)
        q = (mass / bins.clamp(min=1))[level] * used
        p, q = p / p.sum(), q / q.sum()
        both = p > 0
        return float((p[both] * (p[both] / q[both].clamp(min=1e-12)).log()).sum())

    return min(_candidates(h), key=divergence)


RANGES: dict[Observer, Callable[[Histogram], Range]] = {
    "minmax": _minmax,
    "percentile": _percentile,
    "mse": _mse,
    "entropy": _entropy,
}
