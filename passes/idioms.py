"""Recognise what is spelled as several operators: silu, hard_swish, hard_sigmoid, gelu; quantize and dequantize.

No pass by itself. A run of bindings is an activation when it computes the same function: all its operators work on each
element alone, its constants are single numbers, it reads one tensor, and at a row of points the result is the
activation's to 2e-4 (constants may be rounded to half precision). So a gate, y * sigmoid(x), is no silu; nor is
x * clip(x + 2, 0, 4) / 4 a hard_swish; and the order of factors does not matter.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from tvm import relax

from tvm_split.passes.bindings import operator, scalar

LONGEST = 5  # of an activation
LONGEST_INTEGER = 6
POINTS = np.array([-9, -4, -2.9, -1.5, -0.7, -0.1, 0, 0.3, 0.8, 1.9, 2.5, 3.1, 5, 8])
TOLERANCE = 2e-4

Function = Callable[..., np.ndarray]


def _erf(x: np.ndarray) -> np.ndarray:
    return np.array([math.erf(value) for value in x])


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-x)))


ACTIVATIONS: dict[str, Function] = {
    "silu": lambda x: x * _sigmoid(x),
    "hard_swish": lambda x: x * np.clip(x + 3, 0, 6) / 6,
    "hard_sigmoid": lambda x: np.clip(x / 6 + 0.5, 0, 1),
    "gelu": lambda x: x * (_erf(x / math.sqrt(2)) + 1) / 2,
}

OPERATORS: dict[str, Function] = {
    "add": np.add, "subtract": np.subtract, "multiply": np.multiply, "divide": np.divide, "minimum": np.minimum,
    "maximum": np.maximum, "clip": np.clip, "exp": np.exp, "negative": np.negative, "erf": _erf, "tanh": np.tanh,
    "sigmoid": _sigmoid, "nn.relu": lambda x: np.maximum(x, 0), "nn.relu6": lambda x: np.clip(x, 0, 6),
}  # fmt: skip

#: operators -> what they do when the first one reads integers of that dtype: the spellings of lower-qdq
INTEGER_IDIOMS = {
    ("int32", "astype multiply round add clip astype"): "quantize",
    ("int32", "astype multiply round clip astype"): "quantize",
    ("int32", "astype multiply"): "dequantize",
    ("int8", "astype add astype"): "recode",
    ("uint8", "astype subtract astype"): "recode",
}


def integer_idiom(bindings: Sequence[relax.VarBinding]) -> str | None:
    """The name of what the bindings do, in order, with sums or codes; None when they are no such run."""
    names = " ".join(operator(binding.value).removeprefix("relax.") for binding in bindings)
    if not names.startswith("astype "):
        return None
    return INTEGER_IDIOMS.get((str(bindings[0].value.args[0].ty.dtype), names))


def idiom(bindings: Sequence[relax.VarBinding]) -> str | None:
    """The name of the activation that the bindings, in order, compute together; None when they are none."""
    values: dict[relax.Var, np.ndarray] = {}
    read: set[relax.Var] = set()
    source: relax.Var | None = None
    for binding in bindings:
        function = OPERATORS.get(operator(binding.value).removeprefix("relax."))
        if function is None:
            return None
        operands = []
        for arg in binding.value.args:
            if not isinstance(arg, relax.Var):
                number = scalar(arg)
                if number is None:
                    return None
                operands.append(np.full_like(POINTS, number))
                continue
            if arg not in values:
                if source is not None and not arg.same_as(source):
                    return None
                source, values[arg] = arg, POINTS
            read.add(arg)
            operands.append(values[arg])
        with np.errstate(all="ignore"):
            values[binding.var] = function(*operands)
    if source is None or any(binding.var not in read for binding in bindings[:-1]):
        return None
    found = values[bindings[-1].var]
    near = (name for name, wanted in ACTIVATIONS.items() if np.allclose(found, wanted(POINTS), rtol=0, atol=TOLERANCE))
    return next(near, None)
