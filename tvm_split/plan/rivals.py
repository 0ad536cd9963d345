"""What the exact planner has beside its programmes: other planners' answers, and a bound that a minimum cut gives."""

from __future__ import annotations

from dataclasses import replace

from tvm_split.errors import PlanError
from tvm_split.plan.auto_split import plan_auto_split
from tvm_split.plan.min_cut import plan_min_cut
from tvm_split.plan.precision import INTEGER_BITS
from tvm_split.plan.problem import Candidate
from tvm_split.plan.question import Question


def relaxed(question: Question) -> Candidate:
    """The soonest cut if there were no limits: each layer at its fastest, and what crosses at its narrowest."""
    problem, precision, width = question.problem, question.problem.precision, question.width
    free = replace(problem, memory_bytes=None, precision=None)
    if width is not None or precision is None:
        return plan_min_cut(replace(free, cut_bits=problem.cut_bits if width is None else (width,)))[0]
    fastest = {name: min(edge_s, precision.integer_s(name)) for name, edge_s in problem.edge.layer_s.items()}
    narrow = (min(*problem.cut_bits, INTEGER_BITS),)
    edge = replace(problem.edge, layer_s=fastest)
    return plan_min_cut(replace(free, edge=edge, cut_bits=narrow, tensor_bits={}))[0]


def others(question: Question) -> list[Candidate]:
    """Answers that need no programme, if they keep the limits: Auto-Split's, or min-cut's for floats."""
    planner = plan_auto_split if question.width is None else plan_min_cut
    problem = question.problem if question.width is None else replace(question.problem, cut_bits=(question.width,))
    try:
        answers = planner(problem)
    except PlanError:
        return []
    return [answer for answer in answers if answer.edge_layers and question.allows(answer)]
