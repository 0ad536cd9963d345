"""What a user must know to read a plan's figures rightly: samples too few to tell, widths that do not apply. No TVM."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

from tvm_split.graph import DTYPE_BITS
from tvm_split.plan.problem import Candidate, Problem

if TYPE_CHECKING:
    from tvm_split.accuracy import Accuracy
    from tvm_split.quantised import Quantised

#: chance of being misled by samples that all agree
DOUBT = 0.05
#: a share of disagreement below this is not asked for: it would take hundreds of samples
FINEST = 0.01
#: samples that calibrate ranges well: with fewer, a new frame often leaves them
CALIBRATING = 16
#: names in one sentence
NAMED = 3


def constants(quantised: Quantised) -> list[str]:
    """What to say of crossing tensors that never varied on the samples."""
    return [
        f"'{name}' was {choice.low:g} on every sample, so its range is a guess; give more samples, or "
        f"--bits '{name}=32'."
        for name, choice in quantised.sent.items()
        if choice.low == choice.high
    ]


def few_samples(accuracies: Iterable[Accuracy | None], min_agreement: float) -> list[str]:
    """What to say of accuracy that was measured on too few samples; nothing where no answer loses any.

    Agreement is a share: were the true one p, n samples would all agree with chance p^n. They tell that it is
    `min_agreement` once that chance is below DOUBT.
    """
    measured = [accuracy for accuracy in accuracies if accuracy is not None and accuracy.max_abs_error != 0]
    if not measured:
        return []
    count = measured[0].samples
    has_classes = any(accuracy.top1_agreement is not None for accuracy in measured)
    wanted = max(CALIBRATING, enough(min_agreement)) if has_classes else CALIBRATING
    if count >= wanted:
        return []
    text = f"Accuracy was measured on {count} sample{'' if count == 1 else 's'}"
    if has_classes:
        sure = DOUBT ** (1 / count)
        text += (
            f"; a split that agrees on all of them may agree on {sure:.0%} of other frames only ({1 - DOUBT:.0%} sure)"
        )
    else:
        text += ", those that calibrated the ranges; other frames may leave these"
    return [f"{text}. Give {wanted} or more (--data, --samples {wanted})."]


def enough(agreement: float) -> int:
    """Samples that must all agree to tell, with DOUBT, that this share of frames does."""
    share = min(agreement, 1 - FINEST)
    return 1 if share <= DOUBT else math.ceil(math.log(DOUBT) / math.log(share))


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
