"""The finalists of a plan compiled and timed whole, so that clocks decide and not predictions: `compile --measure`.

First the soonest answers by prediction, of different cuts before different bits. Whole halves then show by how much
each side's predictions are off; with those factors every answer that is allowed is predicted again, and what would
now be sooner than the best one measured is measured, too, until nothing is.

Edges are timed on a board over TVM's RPC tracker, or here if the edge's target is this machine ("host"). A cloud that
cannot be timed stays as predicted; the link is always computed from its rates. `Final.stages` says which is which.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from tvm_split.assemble import compile_plan
from tvm_split.bundle import Bundle
from tvm_split.choice import Scored, in_order
from tvm_split.comparison import STAGES, Place, Stage, compare
from tvm_split.measure import measure_bundle, random_inputs
from tvm_split.plan.evaluate import identity
from tvm_split.plan.problem import Timing
from tvm_split.plot import Pair
from tvm_split.profile.queueing import waiting_factor
from tvm_split.profile.source import WAIT_S
from tvm_split.progress import Progress
from tvm_split.runtime.local import run_bundle
from tvm_split.spread import spread_of
from tvm_split.workflow import PlanResult

REPEATS = 9
#: finalists that corrected predictions may add, and times that those are timed again which the clock cannot tell apart
MOST_MORE, MOST_AGAIN = 3, 2
#: standard errors of a difference within which it is none
APART = 2.0


@dataclass(frozen=True)
class Final:
    """A finalist's halves as timed. stages: predicted beside measured, and where each was timed, nobody waiting.

    cloud_load: the share of time that the cloud is busy with others, as the plan has it. runs: seconds of single calls
    by stage.
    """

    scored: Scored
    stages: tuple[Stage, ...]
    cloud_load: float = 0.0
    runs: Runs = field(default_factory=dict)

    @property
    def timing(self) -> Timing:
        """Each stage as measured where it was for its own device or computed from the link, else as predicted; with the
        mean waiting for the cloud."""
        seconds = {
            stage.stage: stage.predicted_s if stage.basis == "elsewhere" else stage.measured_s for stage in self.stages
        }
        waited = seconds["cloud"] * waiting_factor(self.cloud_load)
        return Timing(seconds["edge"], seconds["uplink"], waited, seconds["downlink"])

    @property
    def error_s(self) -> float:
        """About one standard error of the total: of the medians of the stages that were timed."""
        factors = {"cloud": waiting_factor(self.cloud_load)}
        errors = [
            factors.get(stage.stage, 1.0) * statistics.median(runs) * spread_of(runs) / math.sqrt(len(runs))
            for stage in self.stages
            if stage.basis == "measured" and (runs := self.runs.get(stage.stage))
        ]
        return math.hypot(*errors)

    def again(self, stages: Sequence[Stage], runs: Runs) -> Final:
        """The same with what was timed once more."""
        every = {name: [*self.runs.get(name, ()), *more] for name, more in runs.items()}
        places = {stage.stage: Place(stage.predicted_for, stage.measured_on, stage.basis) for stage in stages}
        seconds = {stage.stage: stage.measured_s for stage in stages}
        seconds |= {name: statistics.median(each) for name, each in every.items() if each}
        measured = Timing(*(seconds[name] for name in STAGES))
        found = compare(self.scored.candidate.predicted, measured, places)
        return replace(self, stages=found, runs=every)


Runs = Mapping[str, Sequence[float]]
Take = Callable[[Bundle], tuple[Sequence[Stage], Runs]]


def by_the_clock(result: PlanResult, folder: Path, progress: Progress) -> tuple[PlanResult, tuple[Final, ...], Bundle]:
    """The plan with the finalist chosen that took least time when timed whole, all that were timed, soonest first, and
    the chosen one's bundle in `folder`, whose plan is not decided yet.

    LinkDownError: no tracker or board answers.
    """
    finals = measured_finals(result, result.request.measure, folder, progress)
    return decided(result, finals), tuple(finals), Bundle.open(_place(result, finals[0].scored, folder))


def measured_finals(result: PlanResult, count: int, folder: Path, progress: Progress) -> list[Final]:
    """At least `count` finalists, or all that are allowed, timed, soonest first; their bundles are left in `folder`.

    LinkDownError: no tracker or board answers.
    """
    take = _taker(result)
    allowed = [item for item in result.candidates if result.request.tolerance.allows(item)]
    finals: list[Final] = []
    for scored in different(allowed, count):
        finals.append(_timed(result, scored, _place(result, scored, folder), take, progress))
    for _ in range(MOST_MORE):
        more = _sooner(allowed, finals)
        if more is None:
            break
        progress(f"what was measured makes {more.label} the soonest by prediction")
        finals.append(_timed(result, more, _place(result, more, folder), take, progress))
    for _ in range(MOST_AGAIN):
        near = alike(finals)
        if len(near) < 2:
            break
        progress(f"the clock cannot tell {len(near)} finalists apart: timing them again")
        for final in near:
            timed = final.again(*take(Bundle.open(_place(result, final.scored, folder))))
            finals = [timed if each is final else each for each in finals]
    return sorted(finals, key=lambda final: final.timing.total_s)


def alike(finals: Sequence[Final]) -> list[Final]:
    """The soonest of the finals, and those that are as soon as far as their errors tell."""
    ordered = sorted(finals, key=lambda final: final.timing.total_s)
    best = ordered[0]
    return [best, *(
        final for final in ordered[1:]
        if final.timing.total_s - best.timing.total_s <= APART * math.hypot(final.error_s, best.error_s)
    )]  # fmt: skip


def decided(result: PlanResult, finals: Sequence[Final]) -> PlanResult:
    """The plan with the soonest of the finals (sorted) chosen, and their measured times."""
    times = {identity(final.scored.candidate): final.timing for final in finals}
    candidates = tuple(
        replace(item, measured=times.get(identity(item.candidate)) if not item.baseline else None)
        for item in result.candidates
    )
    best = identity(finals[0].scored.candidate)
    chosen = next(item for item in candidates if not item.baseline and identity(item.candidate) == best)
    return replace(result, chosen=chosen, candidates=candidates)


def different(allowed: Sequence[Scored], count: int) -> list[Scored]:
    """`count` of them, soonest first, the soonest of each cut before others of the same cut."""
    ordered = in_order(allowed)
    first = {item.candidate.edge_layers: item for item in reversed(ordered)}
    cuts = in_order(first.values())
    rest = [item for item in ordered if item not in cuts]
    return list(in_order([*cuts, *rest][:count]))


def corrections(finals: Sequence[Final]) -> tuple[float, float]:
    """What edge's and cloud's predictions are to be multiplied by: medians over what was measured, 1 for nothing."""
    factors = []
    for pairs in pairs_of(finals).values():
        known = [pair.measured_s / pair.predicted_s for pair in pairs if pair.predicted_s > 0]
        factors.append(statistics.median(known) if known else 1.0)
    return factors[0], factors[1]


def pairs_of(finals: Sequence[Final]) -> dict[str, list[Pair]]:
    """By side, what was predicted and timed of each finalist's half; without those timed on another device."""
    return {
        side: [
            Pair(final.scored.label, stage.predicted_s, stage.measured_s)
            for final in finals for stage in final.stages
            if stage.stage == side and stage.basis == "measured"
        ]
        for side in ("edge", "cloud")
    }  # fmt: skip


def _sooner(allowed: Sequence[Scored], finals: Sequence[Final]) -> Scored | None:
    """The answer that corrected predictions make sooner than the best measured one, if it was not measured yet."""
    edge, cloud = corrections(finals)
    done = {identity(final.scored.candidate) for final in finals}
    best = min(final.timing.total_s for final in finals)

    def corrected(item: Scored) -> float:
        predicted = item.candidate.predicted
        return predicted.edge_s * edge + predicted.uplink_s + predicted.cloud_s * cloud + predicted.downlink_s

    left = [item for item in allowed if identity(item.candidate) not in done and corrected(item) < best]
    return min(left, key=corrected, default=None)


def _timed(result: PlanResult, scored: Scored, folder: Path, take: Take, progress: Progress) -> Final:
    progress(f"finalist: {scored.label}")
    bundle = compile_plan(replace(result, chosen=scored), folder, progress)
    progress(f"timing {scored.label}")
    stages, runs = take(bundle)
    return Final(scored, tuple(stages), result.request.cloud_load, runs)


def _place(result: PlanResult, scored: Scored, folder: Path) -> Path:
    """Where the finalist's bundle is."""
    return folder / str(result.candidates.index(scored))


def _taker(result: PlanResult) -> Take:
    """What times a bundle: on the boards that were named, or here, which `early` saw to."""
    request = result.request
    tracker, key = request.tracker, request.edge_key

    def on_boards(bundle: Bundle) -> tuple[Sequence[Stage], Runs]:
        assert tracker is not None and key is not None
        found = measure_bundle(bundle, tracker, key, request.cloud_key, REPEATS, None, WAIT_S)
        return found.stages, {"edge": found.edge_runs_s, "cloud": found.cloud_runs_s}

    def here(bundle: Bundle) -> tuple[Sequence[Stage], Runs]:
        found = run_bundle(bundle, random_inputs(bundle), REPEATS, shaped=False)
        edge_s, cloud_s = [each.edge_s for each in found.runs], [each.cloud_s for each in found.runs]
        return found.stages, {"edge": edge_s, "cloud": cloud_s}

    return here if tracker is None or key is None else on_boards
