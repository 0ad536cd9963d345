"""Bits for an average against every choice there is."""

from collections.abc import Callable
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tvm_split.errors import PlanError

WIDTHS = (2, 4, 8)


@pytest.fixture(scope="module")
def bits_for_average(script) -> Callable[..., dict[str, int]]:
    return script("average_bits").bits_for_average


def test_a_sensitive_layer_gets_what_another_gives(bits_for_average) -> None:
    elements = {"small": 10, "large": 20}
    distortion = {"small": {2: 9.0, 4: 5.0, 8: 0.0}, "large": {2: 1.0, 4: 0.5, 8: 0.0}}
    assert bits_for_average(elements, distortion, 4) == {"small": 8, "large": 2}


def test_less_at_fewer_bits_is_noise(bits_for_average) -> None:
    """At 2 bits layer `a` seems as good as at 8: it counts as what it is at 4, so it is `a` that needs the 8 bits."""
    distortion = {"a": {2: 0.0, 4: 3.0, 8: 0.0}, "b": {2: 2.0, 4: 1.0, 8: 0.0}}
    assert bits_for_average({"a": 1, "b": 1}, distortion, 5) == {"a": 8, "b": 2}


def test_too_few_bits_name_the_least(bits_for_average) -> None:
    with pytest.raises(PlanError, match=r"1.5 bits on average.*at least 2"):
        bits_for_average({"a": 3, "b": 4}, {name: dict.fromkeys(WIDTHS, 0.0) for name in "ab"}, 1.5)


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(1, 50), st.lists(st.integers(0, 40), min_size=3, max_size=3)), min_size=1, max_size=5
    ),
    st.sampled_from([2, 3, 3.7, 4, 6, 8]),
)
def test_none_is_better(bits_for_average, layers: list[tuple[int, list[int]]], average: float) -> None:
    elements = {str(i): count for i, (count, _) in enumerate(layers)}
    distortion = {
        str(i): dict(zip(WIDTHS, sorted(map(float, values), reverse=True), strict=True))
        for i, (_, values) in enumerate(layers)
    }
    budget = average * sum(elements.values())

    def spent(bits: dict[str, int]) -> int:
        return sum(elements[name] * width for name, width in bits.items())

    def lost(bits: dict[str, int]) -> float:
        return sum(distortion[name][width] for name, width in bits.items())

    every = [dict(zip(elements, widths, strict=True)) for widths in product(WIDTHS, repeat=len(elements))]
    found = bits_for_average(elements, distortion, average)
    assert spent(found) <= budget
    assert lost(found) == pytest.approx(min(lost(bits) for bits in every if spent(bits) <= budget), abs=1e-6)
