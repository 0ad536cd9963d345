"""Why no answer keeps the limits: which of them binds, and the nearest values that would do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from tvm_split.errors import PlanError
from tvm_split.plan.memory import does_not_fit, smallest_split
from tvm_split.plan.problem import Candidate
from tvm_split.plan.question import Question


def why_none(question: Question, best: Callable[[Question], Candidate | None]) -> PlanError:
    """The error of a planner whose question has no answer. `best` answers a question: here, for the least memory within
    the limit of distortion, and for the least distortion within that on memory."""
    if question.width is not None:
        needed = smallest_split(question.problem).edge_memory_bytes
        return does_not_fit(question.problem, "no cut", needed)
    smallest = best(replace(question, objective="memory", memory_bytes=None))
    finest = best(replace(question, objective="distortion", max_distortion=None))
    both = f"memory_bytes={question.memory_bytes} and max_distortion={question.max_distortion}"
    if smallest is None:
        finest = best(replace(question, objective="distortion", max_distortion=None, memory_bytes=None))
        if finest is None:
            return PlanError("no width is left of some layer that the pins put on the edge; remove a pin or allow more")
        return PlanError(
            f"no answer that the pins allow keeps max_distortion={question.max_distortion:g}, whatever memory it has; "
            f"{finest.distortion:.6g} would do: raise max_distortion, allow more bits, or remove a pin to the edge"
        )
    if finest is None:
        smallest = best(replace(question, objective="memory", memory_bytes=None, max_distortion=None)) or smallest
        return PlanError(
            f"no answer that the pins allow fits in memory_bytes={question.memory_bytes}, whatever its bits; "
            f"{smallest.edge_memory_bytes} bytes would do: raise memory_bytes, allow fewer bits, or remove a pin"
        )
    return PlanError(
        f"no answer that the pins allow keeps {both}: at this distortion {smallest.edge_memory_bytes} bytes would do, "
        f"and in this memory a distortion of {finest.distortion:.6g} would; raise one of them, or remove a pin"
    )
