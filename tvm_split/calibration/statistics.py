"""What one run tells of a tensor: range, sum, zeros, and a histogram that grows as samples arrive. Pure NumPy.

Bin i holds the values x with i <= x / 2^exponent < i + 1. All bins are as wide and begin at multiples of that width, a
power of two; when the range outgrows `BINS` of them, neighbours are joined in pairs. So nothing is lost, and counts
depend on the values alone, not on their order nor on how they were split in batches.

Values count as even in their bin. Where one far away makes the bins so wide that the two beside 0 hold nearly all of
them, that would be far from the truth: the sum of these values' squares is kept as well, and says how far they reach.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

#: most bins that a histogram has; between half of them and all are used, unless the values are few steps of floats
BINS = 4096
#: no bin is narrower than 2^LEAST, so that float32 holds 2^-exponent
LEAST = -120
#: bits of the largest bin number: float32 counts to 2^24 without a gap
NUMBER_BITS = 22
#: elements that are binned at a time: they stay in the cache
CHUNK = 65536
#: neighbours are counted in tables of their own, because two additions to one counter wait for each other
LANES = 4
#: share of the values that are not 0 above which the squares of those in the two bins beside 0 are summed
CROWDED = 1 / 16


@dataclass(frozen=True, eq=False)
class Statistics:
    """Values of one tensor over `samples` runs. `merge` joins two.

    counts[j] values are in bin `first + j`, so in [first + j, first + j + 1) * 2^exponent; `zeros` of all are exactly
    0. `centre` is the sum of squares in the two bins beside 0, as if they were even there where those are not crowded.
    `channel_totals` is the sum of each channel, None where no channel axis was given. Sums of one run are made in
    float32 (pairwise), those over runs in float64.
    """

    samples: int
    elements: int
    low: float
    high: float
    total: float
    zeros: int
    exponent: int
    first: int
    counts: np.ndarray
    centre: float
    channel_totals: np.ndarray | None = None

    @classmethod
    def of(cls, array: np.ndarray, channel_axis: int | None = None) -> Statistics:
        """Statistics of one run's array, of any number type. ValueError when it is empty or has a NaN or infinity."""
        exact = np.can_cast(array.dtype, np.float32, "safe") or array.dtype.itemsize < 4
        x = np.ascontiguousarray(array, np.float32 if exact else np.float64)
        low, high = (float(x.min()), float(x.max())) if x.size else (math.nan, math.nan)
        if not (math.isfinite(low) and math.isfinite(high)):
            raise ValueError(f"values from {low} to {high}")
        totals = None if channel_axis is None else _channel_totals(x, channel_axis)
        total = _sum(x.reshape(1, -1)) if totals is None else totals
        exponent = exponent_for(low, high)
        first, counts, zeros = _histogram(x.reshape(-1), low, high, exponent)
        centre = _centre(x.reshape(-1), zeros, exponent, first, counts)
        return cls(1, x.size, low, high, float(total.sum()), zeros, exponent, first, counts, centre, totals)

    def merge(self, other: Statistics) -> Statistics:
        """Of both runs' values; ValueError when their channels are not as many."""
        channels = [None if each.channel_totals is None else len(each.channel_totals) for each in (self, other)]
        if channels[0] != channels[1]:
            raise ValueError(f"the one has {channels[0]} channels, the other {channels[1]}")
        low, high = min(self.low, other.low), max(self.high, other.high)
        exponent = exponent_for(low, high)
        parts = [_coarser(each, exponent) for each in (self, other)]
        first = min(start for start, _ in parts)
        counts = np.zeros(max(start + len(part) for start, part in parts) - first, np.int64)
        for start, part in parts:
            counts[start - first : start - first + len(part)] += part
        totals = self.channel_totals
        if totals is not None and other.channel_totals is not None:
            totals = totals + other.channel_totals
        return Statistics(
            self.samples + other.samples, self.elements + other.elements, low, high, self.total + other.total,
            self.zeros + other.zeros, exponent, first, counts,
            _joined_centre(self, exponent) + _joined_centre(other, exponent), totals,
        )  # fmt: skip

    @property
    def mean(self) -> float:
        return self.total / self.elements

    @property
    def channel_means(self) -> np.ndarray:
        """Mean of each channel, float64 (C,). ValueError where no channel axis was given."""
        if self.channel_totals is None:
            raise ValueError("no channel axis was given for this tensor, so there are no means of channels")
        return self.channel_totals * (len(self.channel_totals) / self.elements)

    @property
    def edges(self) -> np.ndarray:
        """Ends of the bins, float64: multiples of the width, but the first is `low` and the last `high`; and where the
        bins beside 0 are crowded, how far their values reach."""
        return self._shape[0]

    @property
    def inside(self) -> np.ndarray:
        """How many values are between one edge and the next."""
        return self._shape[1]

    @cached_property
    def nonzero_counts(self) -> np.ndarray:
        """`inside` without the exact zeros, which are a level of any quantiser; float64."""
        counts = self.inside.astype(np.float64)
        if self.zeros:
            counts[int(np.searchsorted(self.edges[:-1], 0.0, side="right")) - 1] -= self.zeros
        return counts

    @cached_property
    def _shape(self) -> tuple[np.ndarray, np.ndarray]:
        width, counts = 2.0**self.exponent, self.counts
        edges = (self.first + np.arange(len(counts) + 1)) * width
        edges[0], edges[-1] = self.low, self.high
        number = counts[_beside_zero(self.first, len(counts))].sum() - self.zeros
        reach = math.sqrt(3 * self.centre / number) if number > 0 else width
        if 0 < reach < width / 2:
            for side in (reach, -reach):
                at = int(np.searchsorted(edges, side))
                if 0 < at < len(edges) and edges[at - 1] <= 0 <= edges[at] and edges[at - 1] < side < edges[at]:
                    edges, counts = np.insert(edges, at, side), np.insert(counts, at if side > 0 else at - 1, 0)
        return edges, counts

    def moments(self, centre: float = 0.0) -> tuple[float, float]:
        """Mean of |x - centre| and of (x - centre)^2 over all values but the exact zeros; (0, 0) when there are none.

        Values lie evenly in their bin here, so that both are within about a bin's width of the truth.
        """
        counts, (left, right) = self.nonzero_counts, (self.edges[:-1] - centre, self.edges[1:] - centre)
        number = counts.sum()
        if not number:
            return 0.0, 0.0
        # a bin around the centre is counted as if all of it were on its middle's side: less than a bin off
        absolute, square = np.abs(left + right) / 2, (left * left + left * right + right * right) / 3
        return float((counts * absolute).sum() / number), float((counts * square).sum() / number)


def exponent_for(low: float, high: float) -> int:
    """Logarithm of the bins' width for values in [low, high]: the least that needs at most `BINS`; grows with both."""
    exponent, largest, half = LEAST, max(abs(low), abs(high)), high / 2 - low / 2  # the whole may overflow
    if largest:
        exponent = max(exponent, math.frexp(largest)[1] - NUMBER_BITS)
    if half:
        exponent = max(exponent, math.frexp(half)[1] - BINS.bit_length() + 1)
    while math.floor(math.ldexp(high, -exponent)) - math.floor(math.ldexp(low, -exponent)) >= BINS:
        exponent += 1
    return exponent


def _beside_zero(first: int, bins: int) -> slice:
    """The two bins beside 0, as far as there are any."""
    return slice(max(-1 - first, 0), max(min(1 - first, bins), 0))


def _centre(x: np.ndarray, zeros: int, exponent: int, first: int, counts: np.ndarray) -> float:
    width = 2.0**exponent
    number = int(counts[_beside_zero(first, len(counts))].sum()) - zeros
    if number <= CROWDED * (x.size - zeros):
        return number * width * width / 3
    near = x[np.abs(x) < width].astype(np.float64)
    return float(near @ near)


def _joined_centre(statistics: Statistics, exponent: int) -> float:
    """`centre` when bins are joined until they are 2^exponent wide."""
    numbers = statistics.first + np.arange(len(statistics.counts))
    reach = 2.0 ** (exponent - statistics.exponent)
    more = (numbers >= -reach) & (numbers < reach) & (numbers != 0) & (numbers != -1)
    left, counts = numbers[more].astype(np.float64), statistics.counts[more]
    squares = float((counts * (left * left + left + 1 / 3)).sum())
    return statistics.centre + squares * 4.0**statistics.exponent


def _coarser(statistics: Statistics, exponent: int) -> tuple[int, np.ndarray]:
    """First bin and counts when bins are joined until they are 2^exponent wide."""
    shift = exponent - statistics.exponent
    if not shift:
        return statistics.first, statistics.counts
    numbers = (statistics.first + np.arange(len(statistics.counts))) >> min(shift, 63)
    starts = np.flatnonzero(np.diff(numbers, prepend=numbers[0] - 1))
    return int(numbers[0]), np.add.reduceat(statistics.counts, starts)


def _histogram(x: np.ndarray, low: float, high: float, exponent: int) -> tuple[int, np.ndarray, int]:
    """First bin, counts, and how many values are 0. A value's bin is exact: it is scaled by a power of two."""
    first = math.floor(math.ldexp(low, -exponent))
    bins = math.floor(math.ldexp(high, -exponent)) - first + 1
    scale = x.dtype.type(math.ldexp(1.0, -exponent))
    lanes = np.tile(np.arange(LANES) * bins - first, CHUNK // LANES).astype(x.dtype)
    scaled, numbers = np.empty(min(CHUNK, x.size), x.dtype), np.empty(min(CHUNK, x.size), np.intp)
    counts, zeros = np.zeros(LANES * bins, np.int64), 0
    for begin in range(0, x.size, CHUNK):
        chunk = x[begin : begin + CHUNK]
        some, these = scaled[: chunk.size], numbers[: chunk.size]
        zeros += int(np.count_nonzero(chunk == 0))
        np.floor(np.multiply(chunk, scale, out=some), out=some)
        np.add(some, lanes[: chunk.size], out=these, casting="unsafe")
        counts += np.bincount(these, minlength=LANES * bins)
    return first, counts.reshape(LANES, bins).sum(axis=0), zeros


def _channel_totals(x: np.ndarray, axis: int) -> np.ndarray:
    axis %= x.ndim
    channels, inner = x.shape[axis], math.prod(x.shape[axis + 1 :])
    if inner == 1:
        return np.asarray(x.reshape(-1, channels).sum(axis=0, dtype=np.float64))
    return np.asarray(_sum(x.reshape(-1, inner)).reshape(-1, channels).sum(axis=0))


def _sum(rows: np.ndarray) -> np.ndarray:
    """Sum of each row, float64; rows whose sum overflows their own type are summed in float64."""
    with np.errstate(over="ignore", invalid="ignore"):
        sums = rows.sum(axis=1).astype(np.float64)
    return np.asarray(sums if np.isfinite(sums).all() else rows.sum(axis=1, dtype=np.float64))
