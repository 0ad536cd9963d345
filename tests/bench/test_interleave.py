"""Engines by turns: the order, what is counted, who sits out."""

import pytest

from tvm_split.bench.interleave import MOST_CALLS, TURN_S, calls_of_a_turn, interleave
from tvm_split.errors import CostError


class Fake:
    """An engine whose calls take a given time; every request is noted in a list that all engines share."""

    def __init__(self, name: str, seconds: float, asked: list[tuple[str, int]]) -> None:
        self.name, self.seconds, self.asked = name, seconds, asked

    def times(self, count: int) -> list[float]:
        self.asked.append((self.name, count))
        return [self.seconds] * count


def test_each_round_has_one_turn_of_each_engine_in_order() -> None:
    asked: list[tuple[str, int]] = []
    engines = {name: Fake(name, TURN_S, asked) for name in ("ours", "onnxruntime", "default")}
    times = interleave(engines, 3)
    warm_up, turns = asked[:3], asked[3:]
    assert [name for name, _ in warm_up] == ["ours", "onnxruntime", "default"]
    assert [name for name, _ in turns] == ["ours", "onnxruntime", "default"] * 3
    assert times == {name: [TURN_S] * 3 for name in engines}


def test_a_fast_engine_has_more_calls_a_turn_and_its_warm_up_is_not_counted() -> None:
    asked: list[tuple[str, int]] = []
    times = interleave({"fast": Fake("fast", TURN_S / 10, asked)}, 2)
    assert asked == [("fast", 1), ("fast", 3), ("fast", 10), ("fast", 10)]
    assert len(times["fast"]) == 20


def test_a_slow_engine_sits_out_when_its_time_is_up_and_the_others_go_on() -> None:
    asked: list[tuple[str, int]] = []
    engines = {"ours": Fake("ours", TURN_S, asked), "default": Fake("default", 20.0, asked)}
    times = interleave(engines, 5, {"default": 30.0})
    assert times == {"ours": [TURN_S] * 5, "default": [20.0, 20.0]}


def test_every_engine_has_one_turn_whatever_its_limit() -> None:
    assert interleave({"default": Fake("default", 90.0, [])}, 4, {"default": 0.0}) == {"default": [90.0]}


@pytest.mark.parametrize(
    "call_s, calls", [(0.0, MOST_CALLS), (1e-6, MOST_CALLS), (TURN_S / 4, 4), (TURN_S, 1), (3.4, 1)]
)
def test_calls_of_a_turn(call_s: float, calls: int) -> None:
    assert calls_of_a_turn(call_s) == calls


def test_no_rounds_is_an_error() -> None:
    with pytest.raises(CostError, match="repeats is 0; expected 1 or more"):
        interleave({}, 0)
