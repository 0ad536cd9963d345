"""Labels of answers: short where no other has the same, else told apart by what differs."""

import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from random import Random

import pytest

from tvm_split import labels
from tvm_split.labels import distinct, label_of
from tvm_split.plan.problem import Candidate, Crossing, Timing


def split(
    layers: str = "abc", sent: tuple[tuple[str, int], ...] = (("c", 8),), weights: str = "", tensors: str = ""
) -> Candidate:
    """Widths of the layers in order, e.g. "448": a and b at 4 bits, c at 8."""
    crossing = tuple(Crossing(name, (4,), bits, bits // 2) for name, bits in sent)
    widths = (dict(zip(layers, map(int, found), strict=False)) for found in (weights, tensors))
    return Candidate("split", tuple(layers), crossing, 100, Timing(1, 1, 1, 1), *widths)


def named(*found: Candidate) -> list[str]:
    return distinct(found, [label_of(each) for each in found])


def test_a_label_that_no_other_has_stays_short() -> None:
    assert named(split(), split(sent=(("c", 4),))) == ["split after c, 8 bits", "split after c, 4 bits"]


MIXED = "split after c, 8 bits, W4/8"
BOTH = (("b", 4), ("c", 8)), (("b", 8), ("c", 4))


@pytest.mark.parametrize(
    "found, wanted",
    [
        ((split("abc"), split("bc")), ["(3 layers on the edge)", "(2 layers on the edge)"]),
        ((split("abxc"), split("abyc")), ["(with x)", "(without x)"]),
        ((split(sent=BOTH[0]), split(sent=BOTH[1])), ["(b sent at 4 bits)", "(b sent at 8 bits)"]),
        ((split(weights="448"), split(weights="488")), ["(W4 in 2 layers, W8 in 1)", "(W4 in 1 layer, W8 in 2)"]),
        ((split(tensors="448"), split(tensors="488")), ["(A4 in 2 tensors, A8 in 1)", "(A4 in 1 tensor, A8 in 2)"]),
        ((split(weights="448"), split(weights="484")), ["(b W4)", "(b W8)"]),
        ((split(tensors="448"), split(tensors="844")), ["(a A4)", "(a A8)"]),
        ((split(), split()), ["(number 1)", "(number 2)"]),
    ],
)
def test_what_differs_tells_answers_of_one_label_apart(found: tuple[Candidate, ...], wanted: list[str]) -> None:
    labels = {label_of(each) for each in found}
    assert len(labels) == 1
    assert named(*found) == [f"{labels.copy().pop()} {words}" for words in wanted]


def test_only_as_many_words_as_tell_each_apart() -> None:
    assert named(split(weights="448"), split(weights="484"), split(weights="488"), split()) == [
        f"{MIXED} (W4 in 2 layers, W8 in 1, b W4)",
        f"{MIXED} (W4 in 2 layers, W8 in 1, b W8)",
        f"{MIXED} (W4 in 1 layer, W8 in 2)",
        "split after c, 8 bits",
    ]


def test_no_two_of_many_answers_have_one_label() -> None:
    cuts = ("abc", "abxc", "abyc", "abxyc")
    widths = ("448", "484", "844", "488")
    found = [split(cut, BOTH[i], w, t) for cut, i, w, t in itertools.product(cuts, (0, 1), widths, widths)]
    assert len(set(named(*found))) == len(found)


class Unsearched(tuple[str, ...]):
    """A search among 2,000 layers for each of them takes seconds."""

    __slots__ = ()

    def __contains__(self, name: object) -> bool:
        raise AssertionError(f"{name} was searched among all layers")


def test_each_layer_is_looked_at_once_for_all_answers_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred answers of one label and 2,000 layers: not once more for each group that a layer's width divides."""
    random = Random(0)
    names = [f"l{i}" for i in range(2000)]
    crossing, times = (Crossing("t", (4,), 8, 4),), Timing(1, 1, 1, 1)
    found = [
        Candidate("split", Unsearched(names), crossing, 1, times, {name: random.choice((4, 8)) for name in names})
        for _ in range(100)
    ]
    looked = Counter[str]()
    really = labels._features

    def counted(group: Sequence[Candidate]) -> Iterator[list[str]]:
        for words in really(group):
            looked[words[0]] += 1
            yield words

    monkeypatch.setattr(labels, "_features", counted)
    assert len(set(distinct(found, ["same"] * len(found)))) == len(found)
    assert set(looked.values()) == {1} and 2000 < looked.total() < 2100
