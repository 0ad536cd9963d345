"""Times, sizes, rates, energies and scores for people: three digits and a unit."""

from __future__ import annotations


def seconds(value: float) -> str:
    """A time with three digits: 850 us, 8.12 ms, 812 ms, 3.25 s."""
    if value >= 0.9995:
        return f"{value:.3g} s" if value < 999.5 else f"{value:.0f} s"
    if value >= 0.9995e-3 or value == 0:
        return f"{value * 1e3:.3g} ms"
    return f"{value * 1e6:.3g} us"


def size(value: float) -> str:
    """A size with three digits, 1 KB = 1000 bytes: 999 B, 38.4 KB, 3.21 MB."""
    for limit, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "KB")):
        if value >= limit * 0.9995:
            return f"{value / limit:.3g} {unit}" if value < limit * 999.5 else f"{value / limit:.0f} {unit}"
    return f"{value:.0f} B"


def rate(bytes_per_s: float) -> str:
    """A link's rate in bits: 50 kbit/s, 5.85 Mbit/s, 1 Gbit/s."""
    bits = bytes_per_s * 8
    for limit, unit in ((1e9, "Gbit/s"), (1e6, "Mbit/s"), (1e3, "kbit/s")):
        if bits >= limit * 0.9995:
            return f"{bits / limit:.3g} {unit}"
    return f"{bits:.3g} bit/s"


def joules(value: float | None) -> str:
    """An energy with three digits: 850 uJ, 8.12 mJ, 3.25 J, 1200 J; unknown for None."""
    if value is None:
        return "unknown"
    for factor, unit in ((1.0, "J"), (1e-3, "mJ")):
        if value >= factor * 0.9995:
            return f"{value / factor:.3g} {unit}" if value < factor * 999.5 else f"{value / factor:.0f} {unit}"
    return f"{value * 1e6:.3g} uJ" if value else "0 J"


def score(value: float, metric: str) -> str:
    """A score or a difference of scores: 86.4 % for shares of samples, as it is for a user's own metric."""
    return f"{value:.4g}" if ":" in metric else f"{value * 100:.3g} %"


def capital(text: str) -> str:
    return text[:1].upper() + text[1:]
