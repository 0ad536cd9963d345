"""Why an answer was chosen, in sentences: by prediction, or by the clock where finalists were timed (--measure)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tvm_split import report_accuracy
from tvm_split.choice import in_order, loss, same
from tvm_split.plan.problem import ROUNDING, Candidate, Timing
from tvm_split.report_fronts import objective_reason
from tvm_split.units import capital, seconds, size

if TYPE_CHECKING:
    from tvm_split.choice import Scored
    from tvm_split.workflow import PlanResult


def reason(result: PlanResult) -> str:
    """Which answer was chosen and why, in one sentence; more when others were predicted sooner."""
    if result.request.objective != "latency":
        return objective_reason(result)
    chosen = result.chosen
    if chosen.measured is not None:
        return _reason_by_the_clock(result, chosen.measured)
    split = chosen.candidate.kind == "split"
    rivals = [
        s
        for s in result.candidates
        if (s.candidate.kind != "split" if split else s.label != chosen.label) and result.request.tolerance.allows(s)
    ]
    verdict = _verdict("Chosen", chosen, chosen.candidate.predicted)
    if not rivals:
        sentence = f"{verdict}; nothing else that memory, pins and accuracy allow is there to compare."
    else:
        rival = in_order(rivals)[0]
        sentence = _compared(verdict, chosen, rival, chosen.candidate.predicted, rival.candidate.predicted)
    return sentence + _passed_over(result)


def _reason_by_the_clock(result: PlanResult, measured: Timing) -> str:
    """The reason for a choice among finalists (--measure): the rivals are those that were timed, as they were."""
    chosen = result.chosen
    verdict = _verdict("Chosen by the clock", chosen, measured)
    timed = [(s, s.measured) for s in result.candidates if s.measured is not None and s is not chosen]
    if not timed:
        return f"{verdict}; no other answer was timed.{_passed_over(result)}"
    rival, rival_s = min(timed, key=lambda pair: pair[1].total_s)
    sentence = _compared(verdict, chosen, rival, measured, rival_s)
    first, first_s = min(timed, key=lambda pair: pair[0].candidate.predicted.total_s)
    predicted_s = first.candidate.predicted.total_s
    if predicted_s < chosen.candidate.predicted.total_s * (1 - ROUNDING):
        sentence += f" {capital(first.label)} was predicted sooner, {seconds(predicted_s)}, "
        sentence += f"but takes {seconds(first_s.total_s)}."
    return sentence + _passed_over(result)


def _verdict(how: str, chosen: Scored, takes: Timing) -> str:
    total = seconds(takes.total_s)
    if chosen.candidate.kind == "split":
        return f"{how}: {chosen.label}: {total}"
    return f"{how}: do not split. {capital(chosen.label)}: {total}"


def _compared(verdict: str, chosen: Scored, rival: Scored, won: Timing, lost: Timing) -> str:
    """The verdict, and why the chosen answer's times are sooner than its rival's."""
    if same(won.total_s, lost.total_s):
        return f"{verdict}, as soon as {rival.label}, {_among_equals(chosen, rival)}."
    ratio = lost.total_s / max(won.total_s, 1e-12)
    lead = f"{ratio:.3g}x sooner than" if ratio >= 1.05 else "barely sooner than"
    return f"{verdict}, {lead} {rival.label}, because {_because(chosen.candidate, rival.candidate, won, lost)}."


def _passed_over(result: PlanResult) -> str:
    """A second sentence when an answer that may not be chosen is predicted sooner."""
    predicted_s = result.chosen.candidate.predicted.total_s * (1 - ROUNDING)
    faster = [
        s
        for s in result.candidates
        if not s.baseline and s.candidate.predicted.total_s < predicted_s and not result.request.tolerance.allows(s)
    ]
    if not faster:
        return ""
    best = min(faster, key=lambda s: s.candidate.predicted.total_s)
    total = seconds(best.candidate.predicted.total_s)
    predicted = "" if result.chosen.measured is None else " by prediction"
    return f" {capital(best.label)} would take {total}{predicted}, but {_worse(best, result)}."


def _worse(scored: Scored, result: PlanResult) -> str:
    """Why a sooner answer was passed over."""
    if not scored.fits:
        needed, limit = size(scored.candidate.edge_memory_bytes), size(result.problem.memory_bytes or 0)
        return f"it takes {needed} of edge memory, and you allow {limit}"
    return report_accuracy.refusal(scored, result.request.tolerance)


def _among_equals(chosen: Scored, rival: Scored) -> str:
    """Why the first of two that take equally long was chosen."""
    if loss(chosen) < loss(rival):
        return "and loses less"
    if loss(chosen) > loss(rival):  # by the clock it was sooner (--measure)
        return "although it loses more"
    if chosen.candidate.distortion < rival.candidate.distortion:
        return "and distorts less"
    if chosen.candidate.edge_memory_bytes < rival.candidate.edge_memory_bytes:
        return "and takes less memory"
    return "and as good in all else"


def _because(chosen: Candidate, rival: Candidate, won: Timing, lost: Timing) -> str:
    """The stage in which the chosen answer, whose times have won, gains most on the rival."""
    gains = {
        "uplink": lost.uplink_s - won.uplink_s,
        "edge": lost.edge_s - won.edge_s,
        "cloud": lost.cloud_s - won.cloud_s,
        "downlink": lost.downlink_s - won.downlink_s,
    }
    stage = max(gains, key=lambda name: gains[name])
    if gains[stage] <= 0:
        return "nothing takes longer"
    if stage == "uplink":
        sent = size(chosen.payload_bytes) if chosen.payload_bytes else "nothing"
        return f"it sends {sent} instead of {size(rival.payload_bytes)}"
    if stage == "downlink":
        return "no result has to come back over the link"
    times = {"edge": (won.edge_s, lost.edge_s), "cloud": (won.cloud_s, lost.cloud_s)}[stage]
    return f"the {stage} computes for {seconds(times[0])} instead of {seconds(times[1])}"
