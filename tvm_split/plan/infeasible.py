"""Why no answer keeps the limits: which of them binds, and values that would do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from tvm_split.errors import PlanError
from tvm_split.plan.memory import does_not_fit, smallest_split
from tvm_split.plan.problem import Candidate
from tvm_split.plan.question import Question

Best = Callable[[Question], Candidate | None]


@dataclass(frozen=True)
class Nearest:
    """What comes nearest to the limits of a question that seems to have no answer. None where nothing was found.

    smallest: of least memory within the limit of distortion; finest: of least distortion within that on memory. Where
    the one is None, `anyway` is the other's best without that limit.
    """

    smallest: Candidate | None
    finest: Candidate | None
    anyway: Candidate | None = None

    @classmethod
    def of(cls, question: Question, best: Best) -> Nearest:
        """best: answers a question. Without bits to choose nothing is asked: every cut was priced."""
        if question.width is not None:
            return cls(None, None)
        smallest = best(replace(question, objective="memory", memory_bytes=None))
        finest = best(replace(question, objective="distortion", max_distortion=None))
        anyway = None
        if smallest is None:
            anyway = best(replace(question, objective="distortion", max_distortion=None, memory_bytes=None))
        elif finest is None:
            anyway = best(replace(question, objective="memory", memory_bytes=None, max_distortion=None))
            if anyway is not None and anyway.edge_memory_bytes <= (question.memory_bytes or 0):
                return cls(smallest, anyway)  # not found when it was asked for
        return cls(smallest, finest, anyway)

    @property
    def candidates(self) -> list[Candidate]:
        """All of them: they may keep limits between which the planner found nothing."""
        return [found for found in (self.smallest, self.finest, self.anyway) if found is not None]

    def error(self, question: Question, proven: bool) -> PlanError:
        """The error of a planner. proven: that there is no answer; else none was found."""
        if question.width is not None:
            return does_not_fit(question.problem, "no cut", smallest_split(question.problem).edge_memory_bytes)
        none = "no answer that the pins allow" if proven else "no answer was found that the pins allow and that"
        both = f"memory_bytes={question.memory_bytes} (--memory) and max_distortion={question.max_distortion}"
        if self.smallest is None:
            if self.anyway is None:
                return PlanError(
                    "no width is left of some layer that the pins put on the edge; remove a pin or allow more"
                )
            return PlanError(
                f"{none} keeps max_distortion={question.max_distortion:g}, whatever memory it has; "
                f"{self.anyway.distortion:.6g} would do: raise max_distortion, allow more bits, or remove a pin to the "
                "edge"
            )
        if self.finest is None:
            smallest = self.anyway or self.smallest
            return PlanError(
                f"{none} fits in memory_bytes={question.memory_bytes} (--memory), whatever its bits; "
                f"{smallest.edge_memory_bytes} bytes would do: raise memory_bytes, allow fewer bits, or remove a pin"
            )
        return PlanError(
            f"{none} keeps {both}: at this distortion {self.smallest.edge_memory_bytes} bytes would do, and in this "
            f"memory a distortion of {self.finest.distortion:.6g} would; raise one of them, or remove a pin"
        )
