"""What a half's call of a kernel takes beside the kernel: Relax's virtual machine looks it up and makes its output.

A chain of such calls is also the reference that tells a device's own pace: it slows down as soon as anything does.
"""

from __future__ import annotations

from functools import partial

import tvm
from tvm import relax

from tvm_split import lower, pipeline
from tvm_split.errors import CostError
from tvm_split.profile.noise import Timed, in_rounds
from tvm_split.profile.pace import Pace
from tvm_split.profile.timing import Bench

#: layers of the two chains that are compared, and elements of each: next to nothing to compute
SHORT, LONG, ELEMENTS = 1, 33, 4
#: where the clock cannot tell it from nothing
LEAST_S = 1e-9
REFERENCE = "the reference"


class Paces:
    """The pace of each board of a kind, by a chain of calls that is compiled once."""

    def __init__(self, bench: Bench) -> None:
        self._mod = pipeline.layers()(_chain(LONG))
        self._file = bench.exported(self._mod, REFERENCE, lower.pipeline(bench.target))
        self._known: dict[int, Pace] = {}

    def of(self, bench: Bench) -> Pace:
        """LinkDownError: the board is gone."""
        if id(bench) not in self._known:
            self._known[id(bench)] = Pace(bench.reference(bench.loaded(self._file), self._mod, REFERENCE))
        return self._known[id(bench)]


def call_seconds(bench: Bench, pace: Pace | None = None) -> float:
    """Seconds a call, from two chains of layers that do next to nothing. LinkDownError: the board is gone."""
    chains = {length: pipeline.layers()(_chain(length)) for length in (SHORT, LONG)}
    built = {
        length: bench.built(mod, f"a chain of {length} layers", lower.pipeline(bench.target))
        for length, mod in chains.items()
    }
    takes = {str(length): partial(bench.vm_times, built[length], mod, f"a chain of {length} layers")
             for length, mod in chains.items()}  # fmt: skip
    found = in_rounds(takes, pace=pace)
    short, long = (_seconds(found[str(length)]) for length in (SHORT, LONG))
    return max((long - short) / (LONG - SHORT), LEAST_S)


def _seconds(timed: Timed | CostError) -> float:
    if isinstance(timed, CostError):
        raise timed
    return timed.seconds


def _chain(length: int) -> tvm.IRModule:
    builder = relax.BlockBuilder()
    x = relax.Var("x", relax.TensorType((1, ELEMENTS), "float32"))
    with builder.function("main", [x]):
        with builder.dataflow():
            value = x
            for _ in range(length):  # a softmax is never fused with the next one
                value = builder.emit(relax.op.nn.softmax(value))
            out = builder.emit_output(value)
        builder.emit_func_output(out)
    mod = builder.get()
    mod["main"] = mod["main"].with_attr("num_input", 1)
    return mod
