"""Numbers of tiles that share out well: what kernels and their schedules agree on. No pass by itself."""

from __future__ import annotations

#: so much more than the result may be computed for the sake of tasks of equal size
SPARE = 1 / 64


def even(tiles: int) -> int:
    """The number of tiles, or one up to SPARE larger, that has the most divisors: ways to share them out."""
    return max(range(tiles, tiles + int(tiles * SPARE) + 1), key=lambda n: (len(divisors(n)), -n))


def divisors(number: int) -> list[int]:
    """Ascending."""
    small = [n for n in range(1, int(number**0.5) + 1) if number % n == 0]
    return sorted({*small, *(number // n for n in small)})
