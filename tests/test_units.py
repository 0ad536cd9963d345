"""Numbers for people: three digits and a unit."""

import pytest

from tvm_split import units


@pytest.mark.parametrize(
    "value, text",
    [(0, "0 ms"), (8.5e-4, "850 us"), (0.00812, "8.12 ms"), (0.9994, "999 ms"), (3.25, "3.25 s"), (1234.0, "1234 s")],
)
def test_seconds(value: float, text: str) -> None:
    assert units.seconds(value) == text


@pytest.mark.parametrize("value, text", [(0, "0 B"), (999, "999 B"), (38_400, "38.4 KB"), (3_210_000, "3.21 MB")])
def test_size(value: int, text: str) -> None:
    assert units.size(value) == text


@pytest.mark.parametrize(
    "value, text",
    [(0, "0 J"), (8.5e-4, "850 uJ"), (0.00812, "8.12 mJ"), (0.9994, "999 mJ"), (3.25, "3.25 J"), (1234.0, "1234 J"),
     (None, "unknown")],
)  # fmt: skip
def test_joules(value: float | None, text: str) -> None:
    assert units.joules(value) == text


@pytest.mark.parametrize("value, text", [(6250, "50 kbit/s"), (731_250, "5.85 Mbit/s"), (125e6, "1 Gbit/s")])
def test_rate(value: float, text: str) -> None:
    assert units.rate(value) == text
