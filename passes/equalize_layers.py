"""Balance the weights of two layers, channel by channel, so that few bits serve both: cross-layer equalisation.

    Given:   h = conv2d(x, w1);          a = add(h, bias);      r = relu(a);  y = conv2d(r, w2)
    Result:  h = conv2d(x, w1 / s);      a = add(h, bias / s);  r = relu(a);  y = conv2d(r, w2 * s)

with one s for each channel of the middle tensor: s = sqrt(r1 r2) / r2, where r1 and r2 are the largest weights that
make and that read the channel. M. Nagel, M. van Baalen, T. Blankevoort, M. Welling, "Data-free quantization through
weight equalization and bias correction", ICCV 2019, section 4.1. In a row of layers the pairs are balanced in turns
until all are.

A layer is a convolution, transposed or not, grouped or not, in any plain layout, or a matmul, with constant weights.
Between two may stand a bias, then relu or leaky relu, which let a positive factor through; nobody else may read what
lies between. A clip (relu6) does not: its upper bound would need a value for each channel. Such a pair stays.

Accuracy: by default s is the nearest power of two, so that every product, sum and output of the network has the same
bits as before (unless a number leaves the range of normal floats), and r1 / r2 is within a factor of 4 (2 for its own
s, 2 for those of the tensors before and after); a network that is so already stays. With exact=False s is what the
formula says: weights and bias are rounded once more, as FoldBatchNorm's are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import tvm
from tvm import relax

from tvm_split.passes.affine import affine_chain, next_step
from tvm_split.passes.bindings import Scope, operator, rewrite
from tvm_split.passes.fold_batch_norm import Layer, layer_of

#: let a positive factor through
ACTIVATIONS = ("relax.nn.relu", "relax.nn.leakyrelu")
#: the pairs are in balance when no log2(s) of a round is larger; at most so many rounds
BALANCED, ROUNDS = 1e-4, 200
#: largest log2(r1 / r2) that is left alone: what rounding s to powers of two leaves, and what rounding weights does
LEFT = {True: 2.001, False: 0.01}
#: log2(r1 / r2) beyond which a channel is as good as dead, and stays
LARGEST = 32.0


@tvm.transform.module_pass(opt_level=0, name="EqualizeLayers")
@dataclass(frozen=True)
class EqualizeLayers:
    """Equalise all pairs of a frontend's module, after FoldBatchNorm and before layers are made; see the docstring."""

    exact: bool = True

    def transform_module(self, mod: tvm.IRModule, _ctx: tvm.transform.PassContext) -> tvm.IRModule:
        plans: list[tuple[Scope, Mapping[relax.Var, relax.Expr]]] = []

        def visit(scope: Scope, binding: relax.VarBinding) -> relax.Expr | None:
            if not plans or plans[-1][0] is not scope:
                plans.append((scope, _new_values(scope, self.exact)))
            return plans[-1][1].get(binding.var)

        return rewrite(mod, "EqualizeLayers", visit, "pair of layers out of balance")


@dataclass(frozen=True)
class _Pair:
    """Two layers and the bias of the first: its variable, what it is added to, and the values, one a channel."""

    first: relax.Var
    second: relax.Var
    biased: relax.Var | None
    bias: np.ndarray | None


@dataclass
class _Weights:
    """Largest weight of each (group, output, input) of a layer, and log2 of what each axis has been scaled by."""

    layer: Layer
    largest: np.ndarray = field(init=False)
    out_log: np.ndarray = field(init=False)
    in_log: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.largest = np.abs(self.layer.blocks()).max(axis=3)
        groups, rows, columns = self.largest.shape
        self.out_log, self.in_log = np.zeros((groups, rows)), np.zeros((groups, columns))

    def made(self) -> np.ndarray:
        """Largest weight that makes each output channel, as scaled so far."""
        each = (self.largest * np.exp2(self.in_log)[:, np.newaxis, :]).max(axis=2)
        return np.asarray(each * np.exp2(self.out_log)).reshape(-1)

    def read(self) -> np.ndarray:
        """Largest weight that reads each input channel, as scaled so far."""
        each = (self.largest * np.exp2(self.out_log)[:, :, np.newaxis]).max(axis=1)
        return np.asarray(each * np.exp2(self.in_log)).reshape(-1)

    def ratio(self, reader: _Weights) -> np.ndarray:
        """log2(r1 / r2) of each channel between the two layers; 0 for one that is dead on either side."""
        made, read = self.made(), reader.read()
        alive = (made > 0) & (read > 0)
        log = np.zeros_like(made)
        log[alive] = np.log2(made[alive]) - np.log2(read[alive])
        return np.where(np.abs(log) <= LARGEST, log, 0)

    def imbalance(self, reader: _Weights) -> float:
        return float(np.abs(self.ratio(reader)).max(initial=0))


def _new_values(scope: Scope, exact: bool) -> dict[relax.Var, relax.Expr]:
    """What layers and biases are bound to after all pairs of the function are balanced; the others have no entry."""
    pairs = [pair for var in scope.original if (pair := _pair(scope, var)) is not None]
    weights = {
        var: _Weights(layer)
        for pair in pairs
        for var in (pair.first, pair.second)
        if (layer := layer_of(scope.was(var))) is not None
    }
    if all(weights[pair.first].imbalance(weights[pair.second]) <= LEFT[exact] for pair in pairs):
        return {}
    for _ in range(ROUNDS):
        if max((_balance(weights[pair.first], weights[pair.second]) for pair in pairs), default=0.0) <= BALANCED:
            break
    values: dict[relax.Var, relax.Expr] = {}
    changed: set[relax.Var] = set()
    for pair in pairs:
        first, second = weights[pair.first], weights[pair.second]
        log = np.round(second.in_log) if exact else second.in_log
        second.in_log, first.out_log = log, -log.reshape(first.out_log.shape)
        if log.any():
            changed |= {pair.first, pair.second}
            if pair.biased is not None and pair.bias is not None:
                values[pair.biased] = _biased(pair, first)
    return values | {var: _scaled_layer(weights[var]) for var in changed}


def _balance(first: _Weights, second: _Weights) -> float:
    """Scale the channels between the two; the largest |log2(s)|."""
    before = second.in_log.copy()
    second.in_log = before + first.ratio(second).reshape(before.shape) / 2
    first.out_log = -second.in_log.reshape(first.out_log.shape)
    return float(np.abs(second.in_log - before).max(initial=0))


def _pair(scope: Scope, second: relax.Var) -> _Pair | None:
    """The pair that ends in the layer `second`."""
    reader = layer_of(scope.was(second))
    if reader is None or not isinstance(reader.call.args[0], relax.Var):
        return None
    var = reader.call.args[0]
    if scope.readers.get(var) != [second]:
        return None
    value = scope.was(var)
    if operator(value) == "relax.clip" and isinstance(value.args[0], relax.Var):
        scope.skip(second, f"'{var.name}' is a clip, which does not let a factor through")
        return None
    if operator(value) in ACTIVATIONS:
        activated, var = var, value.args[0]
        if not isinstance(var, relax.Var) or scope.readers.get(var) != [activated]:
            return None
    chain, first, biased, bias = affine_chain(scope, var), var, None, None
    maker = layer_of(scope.was(first))
    if maker is None and chain is not None and not chain.scales and next_step(scope, chain.root) == chain.members[0]:
        first, biased = chain.root, var
        maker = layer_of(scope.was(first))
        if maker is None or chain.axis not in (None, maker.out_axis):
            return None
        bias = chain.shift
    if maker is None or maker.out_axis != reader.in_axis or maker.weight.dtype != reader.weight.dtype:
        return None
    return _Pair(first, second, biased, bias)


def _scaled_layer(weights: _Weights) -> relax.Expr:
    layer, log = weights.layer, weights.out_log[:, :, np.newaxis] + weights.in_log[:, np.newaxis, :]
    array = layer.from_blocks(layer.blocks() * np.exp2(log)[..., np.newaxis])
    call = layer.call
    return relax.Call(call.op, [call.args[0], relax.const(array, str(array.dtype)), *call.args[2:]], call.attrs)


def _biased(pair: _Pair, first: _Weights) -> relax.Expr:
    layer, factors = first.layer, np.exp2(first.out_log.reshape(-1))
    shape = [1] * int(pair.first.ty.ndim)
    shape[layer.out_axis] = factors.size
    dtype = str(layer.weight.dtype)
    return relax.op.add(pair.first, relax.const((pair.bias * factors).reshape(shape).astype(dtype), dtype))
