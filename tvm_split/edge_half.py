"""A candidate's edge half: cut out, its layers on integers where the candidate says so; and what it computes here."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

import numpy as np
import tvm

from tvm_split import extract, pipeline
from tvm_split.layer_runner import LayerRunner
from tvm_split.passes.annotate_precision import AnnotatePrecision
from tvm_split.passes.assign_cut import AssignCut
from tvm_split.passes.layering import LAYER, layer_calls
from tvm_split.passes.partition import Partition, side_outputs
from tvm_split.passes.quantize_cut import QUANTIZED, QuantizeCut
from tvm_split.passes.round_weights import RoundWeights
from tvm_split.plan.precision import HALF_BITS
from tvm_split.plan.problem import Candidate, Side
from tvm_split.quantised import Quantised
from tvm_split.quantizer import Quantizer


def has_bits(candidate: Candidate) -> bool:
    """Whether the candidate's edge half computes or holds anything at fewer bits than the network does."""
    return bool(candidate.weight_bits or candidate.tensor_bits)


def rounded_module(mod: tvm.IRModule, quantised: Quantised) -> tvm.IRModule:
    """The network with the weights that the candidate's integer layers are rounded to."""
    return tvm.transform.Sequential([RoundWeights(quantised.rounded)])(mod) if quantised.rounded else mod


def with_precision(half: tvm.IRModule, candidate: Candidate, held: Mapping[str, Quantizer]) -> tvm.IRModule:
    """The edge half with the candidate's bits: integer layers, floats of 16 bits; itself where nothing is quantised."""
    return on_bits(half, candidate.weight_bits, held, halves_of(candidate))


def on_bits(
    half: tvm.IRModule, weight_bits: Mapping[str, int], held: Mapping[str, Quantizer], halves: Iterable[str] = ()
) -> tvm.IRModule:
    """The edge half with weights of so many bits by layer, tensors as these quantisers have them or as float16."""
    network = extract.graph(half)
    readers = network.readers
    halves = [name for name in halves if name in network.tensor]
    senders = {str(callee.attrs[LAYER]) for _, callee in layer_calls(half) if QUANTIZED in callee.attrs}
    # what is only sent is quantised once, for that
    inside = {name: quantizer for name, quantizer in held.items() if not senders.issuperset(readers.get(name, ()))}
    if not weight_bits and not inside and not halves:
        return half
    marks = AnnotatePrecision(weight_bits, inside, halves)
    return tvm.transform.Sequential([marks, pipeline.quantized()])(half)


def halves_of(candidate: Candidate) -> list[str]:
    """Tensors that the candidate's edge half holds as float16."""
    return [name for name, bits in candidate.tensor_bits.items() if bits == HALF_BITS]


class EdgeHalf:
    """The half, compiled for this machine. BuildError as LayerRunner has it."""

    def __init__(
        self, mod: tvm.IRModule, candidate: Candidate, held: Mapping[str, Quantizer], sent: Mapping[str, Quantizer],
        result_at: Side,
    ) -> None:  # fmt: skip
        steps = [AssignCut(candidate.edge_layers, result_at), QuantizeCut(sent)]
        marked = tvm.transform.Sequential(steps)(mod)
        self._crossing, self._at_edge, _ = side_outputs(marked)
        self._names = tuple(dict.fromkeys((*self._crossing, *self._at_edge)))
        self._quantizers = {
            str(callee.attrs[LAYER]): json.loads(str(callee.attrs[QUANTIZED]))
            for _, callee in layer_calls(marked)
            if QUANTIZED in callee.attrs
        }
        self._runner = LayerRunner(with_precision(Partition("edge")(marked), candidate, held))

    def run(self, sample: Mapping[str, np.ndarray]) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """What the cloud reads of each crossing tensor, and the network outputs made on the edge, by tensor name.

        A tensor may be both: the cloud reads its levels, the output is what was computed.
        """
        outputs = self._runner.graph.outputs
        inputs = {name: sample[name] for name in self._runner.graph.inputs}
        made = self._runner.run(inputs, outputs)
        values = {name: made[held] for name, held in zip(self._names, outputs, strict=True)}
        sent = {}
        for name in self._crossing:
            facts = self._quantizers.get(name)
            if facts is None:
                sent[name] = values[name]
            else:
                centred = values[name].astype(np.float32) - np.float32(facts["zero_point"])
                sent[facts["tensor"]] = centred * np.float32(facts["scale"])
        return sent, {name: values[name] for name in self._at_edge}
