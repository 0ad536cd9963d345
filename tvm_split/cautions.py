"""What a user must know to read a plan's figures rightly: samples too few to tell, widths that do not apply. No TVM."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from scipy import stats

from tvm_split.choice import Scored
from tvm_split.drop import LEVEL, Drop, samples_needed
from tvm_split.graph import DTYPE_BITS, Graph
from tvm_split.metrics import TOP
from tvm_split.plan.problem import ROUNDING, Candidate, Problem
from tvm_split.units import score

if TYPE_CHECKING:
    from tvm_split.quantised import Quantised

#: samples that calibrate ranges well: with fewer, a new frame often leaves them
CALIBRATING = 16
#: fewer labelled samples do not tell whether labels fit
LABELLED = 10
#: names in one sentence
NAMED = 3


def constants(quantised: Quantised) -> list[str]:
    """What to say of quantised tensors that never varied on the samples."""
    return [
        f"'{name}' was {choice.low:g} on every sample, so its range is a guess; give more samples, or "
        f"--bits '{name}=32'."
        for name, choice in {**quantised.held, **quantised.sent}.items()
        if choice.low == choice.high
    ]


def few_samples(
    scored: Sequence[Scored], chosen: Scored, max_drop: float, calibrating: int, shared: bool = False
) -> list[str]:
    """What to say of accuracy that was measured on too few samples; nothing where no answer loses any.

    Said of the chosen answer, or of the soonest that loses any when the chosen one does not; the drop's width only of
    one that loses no more than max_drop, or that has no interval. calibrating: samples that set the quantisers;
    shared: the only one checked them too.
    """
    lossy = [item for item in (chosen, *scored) if item.accuracy is not None and item.accuracy.max_abs_error != 0]
    if not lossy:
        return []
    warnings = []
    if shared:
        warnings.append("The only sample calibrated and checked, so accuracy on other frames is not known; give more.")
    elif calibrating < CALIBRATING:
        few = f"{calibrating} sample{'' if calibrating == 1 else 's'}"
        warnings.append(f"The quantisers follow from {few}; {CALIBRATING} or more are better (--data, --samples).")
    drops = [(each.label, each.accuracy.drop) for each in lossy if each.accuracy is not None and each.fits]
    for label, drop in drops:
        if drop is not None and (drop.low is None or drop.drop <= max_drop + ROUNDING):
            if drop.width > max_drop:
                warnings.append(_too_wide(label, drop, max_drop))
            break
    return warnings


def unfit_labels(item: Scored, classes: int | None) -> list[str]:
    """What to say of labels on which the float network itself does no better than a guess among its classes.

    That is when chance explains its score (binomial test), and half way from chance to perfect does not; of few samples
    or few classes neither can be told.
    """
    drop = None if item.accuracy is None else item.accuracy.drop
    if drop is None or classes is None or drop.metric not in TOP or drop.samples < LABELLED:
        return []
    chance, right = min(TOP[drop.metric] / classes, 1.0), round(drop.float_score * drop.samples)
    guessed = stats.binomtest(right, drop.samples, chance, "greater").pvalue
    fitting = stats.binomtest(right, drop.samples, (1 + chance) / 2, "less").pvalue
    if guessed <= 1 - LEVEL or fitting > 1 - LEVEL:
        return []
    return [
        f"The float network's own {drop.metric} is {drop.float_score:.1%} on {drop.samples} samples, no better than "
        f"guessing one of {classes} classes ({chance:.1%}), so a drop says nothing here: the labels do not seem to be "
        "this network's. Look whether they count from 0 in its order of classes, and whether --preprocess is right."
    ]


def _too_wide(label: str, drop: Drop, allowed: float) -> str:
    """The interval, and how many samples would make it narrow enough."""
    on = f"on the {drop.samples} sample{'' if drop.samples == 1 else 's'} checked"
    if drop.low is None or drop.high is None:
        return f"The drop of '{label}' in {drop.metric} has no interval {on}; give more (--data, --check)."
    low, high = (score(bound, drop.metric) for bound in (drop.low, drop.high))
    text = f"The drop of '{label}' in {drop.metric} is between {low} and {high} ({LEVEL:.0%} sure) {on}"
    needed = samples_needed(drop, allowed)
    would = "no number of samples makes" if needed is None else f"about {needed} samples (--check {needed}) would make"
    return f"{text}, wider than the {score(allowed, drop.metric)} that may be lost; {would} it as narrow."


def without_classes(graph: Graph, given: float | None) -> list[str]:
    """What to say of --max-drop where the network gives nothing that it applies to."""
    if given is None:
        return []
    return [
        f"'{graph.name}' gives no class scores, so --max-drop says nothing of it and --max-error decides; give a "
        "metric of your own (--metric module:function)."
    ]


def fixed_widths(problem: Problem, candidates: Iterable[Candidate]) -> list[str]:
    """What to say of crossing integers, which keep their width, where a narrower one was given."""
    given = min((*problem.cut_bits, *problem.tensor_bits.values()))
    crossing = dict.fromkeys(part.tensor for each in candidates if each.kind == "split" for part in each.crossing)
    tensors = [problem.graph.tensor[name] for name in crossing if name not in problem.graph.inputs]
    found = [each for each in tensors if not each.is_float and DTYPE_BITS[each.dtype] > given]
    if not found:
        return []
    names = ", ".join(f"'{each.name}' ({each.dtype})" for each in found[:NAMED])
    more = f" and {len(found) - NAMED} more" if len(found) > NAMED else ""
    return [
        f"{names}{more}: tensors of integers cross as they are; --cut-bits and --bits are for floating-point tensors."
    ]
