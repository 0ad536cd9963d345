"""Schedule rules in dlight's protocol, one kind of kernel a file. The first in `RULES` that answers wins.

Given:   kernels without schedules, as TVM legalises them: each loop as written, on one core
Result:  the same kernels, each scheduled by a rule
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import tvm
from tvm import s_tir, tirx
from tvm.s_tir.dlight.base import ScheduleRule

from tvm_split.errors import last_line
from tvm_split.passes.schedule.batch_matmul import BatchMatmul
from tvm_split.passes.schedule.conv2d_transpose import TransposedConvolution
from tvm_split.passes.schedule.depthwise import Depthwise
from tvm_split.passes.schedule.depthwise_int8 import DepthwiseInt8
from tvm_split.passes.schedule.depthwise_wide import DepthwiseWide
from tvm_split.passes.schedule.elementwise import Default, Elementwise
from tvm_split.passes.schedule.exponential import expand
from tvm_split.passes.schedule.lookup import Lookup
from tvm_split.passes.schedule.packed import Packed
from tvm_split.passes.schedule.pool import Pool
from tvm_split.passes.schedule.reduction import Reduction
from tvm_split.passes.schedule.rounding import round_by_addition
from tvm_split.passes.schedule.row_softmax import RowSoftmax
from tvm_split.passes.schedule.several import Several
from tvm_split.passes.schedule.softmax import Softmax
from tvm_split.passes.schedule.table import look_up_by_permutation
from tvm_split.passes.schedule.transpose import Transpose
from tvm_split.passes.schedule.winograd import Winograd

log = logging.getLogger(__name__)

#: attributes of a scheduled kernel: TVM's own mark, and the rule that took it
SCHEDULED, RULE = "tirx.is_scheduled", "tvm_split.rule"
#: what a rule or a step of a schedule raises where it does not fit: TVM's own errors, and Python's in a rule
FAILED = (
    s_tir.ScheduleError, tvm.error.InternalError, ValueError, RuntimeError, TypeError, KeyError, IndexError,
    AttributeError,
)  # fmt: skip

RULES: tuple[ScheduleRule, ...] = (
    Packed(),  # by annotation: before all that go by shape
    Winograd(),  # likewise
    Depthwise(),  # likewise
    DepthwiseInt8(),  # likewise
    DepthwiseWide(),  # likewise
    TransposedConvolution(),  # likewise
    BatchMatmul(),  # likewise
    RowSoftmax(),  # likewise
    Pool(),  # a reduction in windows, before any reduction
    Softmax(),  # several reductions on a row, before one
    Reduction(),
    Transpose(),  # what is contiguous changes, before any copy
    Lookup(),  # before the arithmetic is done for each element
    Elementwise(),
    Several(),  # what no rule takes as a whole, block by block
    Default(),  # takes what is left, and says so
)


@tvm.transform.module_pass(opt_level=0, name="ScheduleKernels")
class ScheduleKernels:
    """Schedule each function that is not marked as scheduled, by the first rule that knows it.

    The target is the function's own, or that of `with target:`. A rule that fails is logged by name, and the next one
    is asked: a kernel without a schedule is slow, not wrong.
    """

    def __init__(self, rules: Sequence[ScheduleRule] = RULES) -> None:
        self.rules = tuple(rules)

    def transform_module(self, mod: tvm.IRModule, _ctx: tvm.transform.PassContext) -> tvm.IRModule:
        scheduled = {}
        for gvar, func in mod.functions_items():
            if isinstance(func, tirx.PrimFunc) and not bool((func.attrs or {}).get(SCHEDULED, False)):
                target = func.attrs.get("target") or tvm.target.Target.current(allow_none=False)
                scheduled[gvar] = schedule(gvar.name_hint, func, target, self.rules)
        out = mod.clone()
        out.update(tvm.IRModule(scheduled))
        return out


def prepared(func: tirx.PrimFunc) -> tirx.PrimFunc:
    """What the rules are shown."""
    return expand(func)


def finished(func: tirx.PrimFunc, target: tvm.target.Target) -> tirx.PrimFunc:
    """What is made of a schedule that a rule or tuning found, before it is compiled for the target."""
    return look_up_by_permutation(round_by_addition(func), target)


def schedule(name: str, func: tirx.PrimFunc, target: tvm.target.Target, rules: Sequence[ScheduleRule]) -> tirx.PrimFunc:
    """The function as the first rule that knows it schedules it; itself when none does."""
    func = prepared(func)
    for rule in rules:
        try:
            found = rule.apply(func, target, False)
        except FAILED as error:
            log.warning("%s: rule %s failed, the next one is asked: %s", name, type(rule).__name__, last_line(error))
            continue
        if found is not None:
            if isinstance(rule, Default):
                log.info("%s: no rule but the default one knows it", name)
            return finished(found.mod["main"], target).with_attrs({SCHEDULED: True, RULE: type(rule).__name__})
    log.info("%s: no rule knows it; it stays as it is", name)
    return func
