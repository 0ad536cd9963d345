"""Which planner a request asks for, and what it calls the best answer. No TVM."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from tvm_split.choice import Scored, shortlist
from tvm_split.errors import CostError, PlanError
from tvm_split.labels import distinct, label_of
from tvm_split.plan import PLANNERS, WITH_BITS
from tvm_split.plan.bandwidths import Planner
from tvm_split.plan.pareto import pareto_front
from tvm_split.plan.problem import Candidate, Link, Problem
from tvm_split.plan.question import Question
from tvm_split.request import FLOAT, Request
from tvm_split.targets import TargetSpec

#: the planner that has objectives; it is not asked at every link rate, but SWEEPER is
EXACT, SWEEPER = "exact", "auto-split"


def check(request: Request) -> None:
    """PlanError for an unknown planner, and for what it cannot do."""
    if request.strategy not in PLANNERS:
        raise PlanError(f"there is no planner '{request.strategy}'; the planners are {', '.join(sorted(PLANNERS))}")
    floats = tuple(request.edge_bits) == FLOAT
    if not floats and request.strategy not in WITH_BITS:
        raise PlanError(
            f"the planner '{request.strategy}' chooses no bits, but edge_bits (--edge-bits) is "
            f"{tuple(request.edge_bits)}; plan with {' or '.join(WITH_BITS)} (--strategy), or leave edge_bits at 32"
        )
    if request.objective != "latency" and request.strategy != EXACT:
        raise PlanError(
            f"the planner '{request.strategy}' knows no objective but latency; plan for {request.objective} "
            f"(--objective) with {EXACT} (--strategy)"
        )
    if request.pareto == "distortion" and floats:
        raise PlanError(
            "a front of distortion (--pareto distortion) needs bits to choose on the edge; give edge_bits "
            "(--edge-bits 8,32), or ask for the front of memory"
        )


def check_power(request: Request, edge: TargetSpec, link: Link) -> None:
    """CostError, naming target and link, when energy is asked for and a power is not known."""
    if request.objective != "energy":
        return
    if edge.active_w is None:
        raise CostError(
            f"target '{edge.name}' has no active_w, the watts that computing adds to what it draws idle, which energy "
            "(--objective energy) needs; plan for a Raspberry Pi, or copy its file, add active_w = WATTS and give that "
            "file as --edge"
        )
    if link.up_w is None or link.down_w is None:
        raise CostError(
            f"link '{link.name}' has no up_w and down_w, the watts of the edge's radio, which energy (--objective "
            "energy) needs; add them to its file, or plan for a link that has them: 3g, 4g, wifi, or one of these at "
            "your rate, such as wifi@3mbit"
        )


def planner_of(request: Request, edge: TargetSpec) -> Planner:
    """The planner, with its objective."""
    if request.strategy == EXACT:
        return partial(PLANNERS[EXACT], objective=request.objective, edge_w=edge.active_w)
    return PLANNERS[request.strategy]


def splits_of(request: Request, problem: Problem, found: Sequence[Candidate]) -> list[Candidate]:
    """The splits worth a close look, of what the planner found. Instead of the exact one, SWEEPER is asked at other
    link rates; its answers at the problem's own compete as well."""
    if request.strategy != EXACT:
        return shortlist(problem, found, PLANNERS[request.strategy])
    return shortlist(problem, (*found, *_answers(PLANNERS[SWEEPER], problem)), PLANNERS[SWEEPER])


def _answers(planner: Planner, problem: Problem) -> tuple[Candidate, ...]:
    """The planner's, () when it has none."""
    try:
        return planner(problem)
    except PlanError:
        return ()


def cost_of(request: Request, problem: Problem, edge: TargetSpec) -> Callable[[Candidate], float]:
    """What the chosen answer has least of: seconds, joules or bytes sent."""
    return Question(problem, request.objective, edge_w=edge.active_w).cost


def front_of(request: Request, problem: Problem, scored: Sequence[Scored] = ()) -> tuple[tuple[Scored, ...], bool]:
    """The front that the request asks for, as predicted, and whether it is whole; () when it asks for none.

    scored: what the plan's table shows; answers of it that nothing beats are in the front.
    """
    if request.pareto is None:
        return (), True
    known = [item.candidate for item in scored if item.fits and not item.baseline and not item.candidate.is_coded]
    front = pareto_front(problem, request.pareto, known=known)
    return _listed(front.answers), front.is_whole


def solutions_of(request: Request, found: Sequence[Candidate]) -> tuple[Scored, ...]:
    """All that the planner found, best first, if the request wants it; () otherwise."""
    return _listed(found) if request.every_solution else ()


def _listed(found: Sequence[Candidate]) -> tuple[Scored, ...]:
    labels = distinct(found, [label_of(each) for each in found])
    return tuple(Scored(each, label) for each, label in zip(found, labels, strict=True))
