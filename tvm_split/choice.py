"""Which answers are looked at closely, which are good enough, and which one is chosen. No TVM."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from tvm_split.errors import PlanError
from tvm_split.jpeg import jpeg_candidate
from tvm_split.plan.bandwidths import Planner, turning_points
from tvm_split.plan.evaluate import evaluate, ranked
from tvm_split.plan.exact import search
from tvm_split.plan.memory import smallest_split_bytes
from tvm_split.plan.problem import ROUNDING, Candidate, Problem, Timing
from tvm_split.plan.question import Question

if TYPE_CHECKING:
    from tvm_split.accuracy import Accuracy

#: uplink rates between which turning points are looked for, in bytes a second: 50 kbit/s to 1 Gbit/s
SWEEP = (6_250.0, 125_000_000.0)
#: splits a width whose accuracy is looked at, besides those that win at another rate
SHORTLIST = 3


@dataclass(frozen=True)
class Scored:
    """A candidate with what is known of it beyond its prediction. `accuracy` is None where nothing is lost. One that
    does not fit the edge's memory (edge-only, which is always shown) is never chosen, nor is a baseline, which is there
    to compare with. predicted_drop: what its bits are expected to lose of the metric; None where nobody predicted it.
    """

    candidate: Candidate
    label: str
    accuracy: Accuracy | None = None
    measured: Timing | None = None
    fits: bool = True
    baseline: bool = False
    predicted_drop: float | None = None


def shortlist(problem: Problem, found: Sequence[Candidate], sweeper: Planner) -> list[Candidate]:
    """The splits whose accuracy is worth measuring: of each width, the soonest few and the winners at other rates.

    found: a planner's answers at the problem's own link, at which all are timed; sweeper: the planner that is asked at
    other rates.
    """
    if problem.precision is not None:
        return _with_bits(problem, sweeper, found)
    chosen: list[Candidate] = []
    for widths in {_widths(candidate) for candidate in found if candidate.kind == "split"}:
        chosen += [candidate for candidate in found if candidate.kind == "split" and _widths(candidate) == widths][
            :SHORTLIST
        ]
    for bits in problem.cut_bits:
        try:
            spans = turning_points(replace(problem, cut_bits=(bits,)), sweeper, SWEEP)
        except PlanError:  # this width alone fits nothing; another did
            continue
        chosen += [span.candidate for span in spans]
    return list(ranked(candidate for candidate in chosen if candidate.kind == "split"))


def _with_bits(problem: Problem, planner: Planner, found: Sequence[Candidate]) -> list[Candidate]:
    """The soonest few that have anything on the edge, and the winners at other rates."""
    chosen = [candidate for candidate in found if candidate.edge_layers][:SHORTLIST]
    try:
        chosen += [span.candidate for span in turning_points(problem, planner, SWEEP)]
    except PlanError:  # the sweeper has no answer; the planner had
        pass
    return list(ranked(c for c in chosen if c.kind == "split" or c.weight_bits or c.tensor_bits))


def _widths(candidate: Candidate) -> frozenset[int]:
    return frozenset(part.bits for part in candidate.crossing)


def baselines(problem: Problem, batches: Sequence[Mapping[str, Any]]) -> list[Candidate]:
    """Edge-only, cloud-only raw, and cloud-only JPEG when the only input is a frame of bytes; those that pins allow.

    Edge-only is there whether it fits the memory or not.
    """
    every = tuple(layer.name for layer in problem.graph.layers)
    sides = set(problem.pinned().values())
    found = []
    if "cloud" not in sides:
        found.append(evaluate(problem, every, problem.cut_bits[0]))
    if "edge" not in sides:
        raw = evaluate(problem, (), problem.cut_bits[0])
        coded = jpeg_candidate(problem, raw, batches)
        found += [raw] if coded is None else [raw, coded]
    return found


def no_split_warnings(problem: Problem) -> list[str]:
    """Why there is no split, when memory is the reason."""
    sides = problem.pinned()
    if problem.memory_bytes is None or all(sides.get(layer.name) == "cloud" for layer in problem.graph.layers):
        return []
    needed = _least_memory_bytes(problem)
    if needed is None or needed <= problem.memory_bytes:
        return []
    smallest = "the smallest" if problem.precision is None else "the smallest that was found"
    return [
        f"No split and no edge-only answer fits the edge memory of {problem.memory_bytes} bytes (--memory); {smallest} "
        f"needs {needed} bytes. Cloud-only is exempt: its edge only sends the frame that it has."
    ]


def _least_memory_bytes(problem: Problem) -> int | None:
    """Edge memory of the smallest answer with an edge; of those with bits the planner's, None where it found none."""
    if problem.precision is None:
        return smallest_split_bytes(problem)
    smallest = search(Question(problem, "memory", max_distortion=problem.precision.max_distortion)).best
    return None if smallest is None else smallest.edge_memory_bytes


@dataclass(frozen=True, slots=True)
class Tolerance:
    """What may be lost. max_drop: of the metric's score, on average over the samples: 0.05 of top-1 are five points.
    max_error: where there is no metric, largest relative error of the outputs (L2 norm, as `Accuracy` has it)."""

    max_drop: float = 0.05
    max_error: float = 0.1

    def allows(self, item: Scored) -> bool:
        """Whether the candidate may be chosen: it fits, is no baseline, and loses no more than this."""
        return item.fits and not item.baseline and self.accepts(item.accuracy)

    def accepts(self, accuracy: Accuracy | None) -> bool:
        """Whether no more than this is lost, on the samples that were checked."""
        if accuracy is None:
            return True
        if accuracy.drop is not None:
            return accuracy.drop.drop <= self.max_drop + ROUNDING
        return accuracy.relative_error <= self.max_error


def in_order(
    scored: Iterable[Scored], cost: Callable[[Candidate], float] = lambda candidate: candidate.predicted.total_s
) -> tuple[Scored, ...]:
    """Soonest first, or cheapest; of equal ones what loses least, distorts least, takes least memory; then by label."""
    ordered: list[Scored] = []
    equal: list[Scored] = []
    for item in sorted(scored, key=lambda item: (cost(item.candidate), item.label)):
        if equal and not same(cost(equal[0].candidate), cost(item.candidate)):
            ordered += sorted(equal, key=_among_equals)
            equal = []
        equal.append(item)
    return (*ordered, *sorted(equal, key=_among_equals))


def same(one: float, other: float) -> bool:
    """Whether two costs differ by no more than rounding does."""
    return abs(one - other) <= ROUNDING * max(abs(one), abs(other))


def loss(item: Scored) -> float:
    """What it loses as measured: of the metric, or the outputs' relative error where there is none."""
    accuracy = item.accuracy
    if accuracy is None:
        return 0.0
    return accuracy.relative_error if accuracy.drop is None else accuracy.drop.drop


def _among_equals(item: Scored) -> tuple[float, float, int, str]:
    return loss(item), item.candidate.distortion, item.candidate.edge_memory_bytes, item.label


def choose(
    scored: Sequence[Scored],
    tolerance: Tolerance,
    cost: Callable[[Candidate], float] | None = None,
    lossless_bytes: Callable[[], int | None] = lambda: None,
) -> Scored:
    """The soonest that is good enough, or the one that costs least; of equal ones the first by `in_order`. PlanError
    when none is.

    lossless_bytes: edge memory that an answer takes which quantises nothing, for the error.
    """
    allowed = [item for item in scored if tolerance.allows(item)]
    if not allowed:
        own = [item.accuracy for item in scored if item.accuracy and item.fits and not item.baseline]
        raise PlanError(_too_inaccurate(own, tolerance, lossless_bytes()))
    return (in_order(allowed) if cost is None else in_order(allowed, cost))[0]


def _too_inaccurate(found: Sequence[Accuracy], tolerance: Tolerance, lossless_bytes: int | None) -> str:
    drops = [accuracy.drop for accuracy in found if accuracy.drop is not None]
    if drops:
        least_drop = min(drop.drop for drop in drops)
        lost = f"loses at most {tolerance.max_drop:.3g} of {drops[0].metric} (least: {least_drop:.3g})"
        less = "a larger drop (--max-drop)"
    else:
        least = min((accuracy.relative_error for accuracy in found), default=float("inf"))
        lost = f"keeps the outputs within a relative error of {tolerance.max_error:g} (best: {least:.3g})"
        less = "a larger error (--max-error)"
    enough = "" if lossless_bytes is None else f" ({lossless_bytes} bytes do for one that quantises nothing)"
    return (
        f"no candidate {lost}, and pins or memory leave no answer that quantises nothing; allow more bits "
        f"(--cut-bits, --edge-bits), more memory (--memory){enough} or {less}"
    )
