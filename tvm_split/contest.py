"""Candidates whose accuracy is measured, each once; and the search for the error budget that they are measured for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from tvm_split.choice import Scored, Tolerance
from tvm_split.errors import PlanError
from tvm_split.labels import distinct, label_of
from tvm_split.plan import baselines as rivals
from tvm_split.plan.bandwidths import Planner
from tvm_split.plan.budget import Answer, finest, search
from tvm_split.plan.evaluate import identity
from tvm_split.plan.memory import fits
from tvm_split.plan.mixed import precision_of
from tvm_split.plan.precision import Precision
from tvm_split.plan.problem import Candidate, Problem

if TYPE_CHECKING:
    from tvm_split.accuracy import Accuracy
    from tvm_split.quantised import Quantised

#: candidates and what to call them -> how their numbers are held, and each one's accuracy (None: none can lose any)
Look = Callable[[list[Candidate], list[str]], "tuple[Mapping[Candidate, Quantised], list[Accuracy | None]]"]


@dataclass
class Contest:
    """Scored candidates in the order in which they came, and how each one's numbers are held.

    predict: what a candidate's bits are expected to lose of the metric, if anybody knows.
    """

    problem: Problem
    look: Look
    predict: Callable[[Candidate], float | None] = lambda _: None
    scored: list[Scored] = field(default_factory=list)
    quantised: dict[Candidate, Quantised] = field(default_factory=dict)

    def add(self, candidates: Sequence[Candidate], names: Sequence[str] = ()) -> None:
        """Measure them and take them in; as baselines, if names are given."""
        labels = [*names] or [label_of(candidate) for candidate in candidates]
        quantised, accuracies = self.look([*candidates], labels)
        self.quantised |= quantised
        for candidate, label, accuracy in zip(candidates, labels, accuracies, strict=True):
            fit, lost = fits(self.problem, candidate), None if names else self.predict(candidate)
            scored = Scored(candidate, label, accuracy, fits=fit, baseline=bool(names), predicted_drop=lost)
            self.scored.append(scored)

    def search_budget(
        self, planner: Planner, planned: Sequence[Candidate], tolerance: Tolerance, progress: Callable[[str], None]
    ) -> None:
        """Add plans within smaller and smaller distortions until the soonest that is accurate enough is among them.

        planned: what the planner answers without a limit.
        """
        precision = precision_of(self.problem)

        def answer(limit: float | None) -> Answer | None:
            try:
                within = replace(self.problem, precision=replace(precision, max_distortion=limit))
                found = (planned if limit is None else planner(within))[0]
            except PlanError:  # nothing keeps the memory and this limit
                return None
            if not found.distortion:
                return Answer(0.0, True, is_new=False)
            known = self._known(found)
            if known is None:
                progress(f"checking {label_of(found)}, whose distortion of {found.distortion:.3g} is within the budget")
                self.add([found])
            accuracy = self.scored[-1].accuracy if known is None else known.accuracy
            return Answer(found.distortion, tolerance.accepts(accuracy), is_new=known is None)

        search(answer, finest(precision))

    def add_baselines(self, precision: Precision) -> None:
        """What planners are compared with, at the precision's widths; never chosen."""
        free = replace(self.problem, precision=precision, tensor_bits={})
        found = rivals.baselines(free)
        self.add([*found.values()], [*found])

    def named(self) -> list[Scored]:
        """The scored candidates, no two with one label."""
        labels = distinct([each.candidate for each in self.scored], [each.label for each in self.scored])
        return [replace(each, label=label) for each, label in zip(self.scored, labels, strict=True)]

    def _known(self, candidate: Candidate) -> Scored | None:
        same = (each for each in self.scored if not each.baseline and identity(each.candidate) == identity(candidate))
        return next(same, None)
