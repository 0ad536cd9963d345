"""The pass lists, in order. Each entry that must stand where it stands says why."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import tvm
from tvm import relax

from tvm_split import lower
from tvm_split.passes.assign_cut import AssignCut
from tvm_split.passes.choose_winograd import ChooseWinograd
from tvm_split.passes.equalize_layers import EqualizeLayers
from tvm_split.passes.flush_subnormals import FlushSubnormals
from tvm_split.passes.fold_batch_norm import FoldBatchNorm
from tvm_split.passes.fuse_activation import FuseActivation
from tvm_split.passes.layering import WINOGRAD, layer_calls
from tvm_split.passes.lower_qdq import LowerQdq
from tvm_split.passes.pack_cut import PackCut
from tvm_split.passes.partition import Partition
from tvm_split.passes.quantize_cut import QuantizeCut
from tvm_split.passes.quantize_layers import QuantizeLayers
from tvm_split.passes.simplify import Simplify
from tvm_split.plan.problem import Side
from tvm_split.quantizer import Quantizer


def layers(winograd: bool = True, equalize: bool = False) -> tvm.transform.Sequential:
    """A frontend's module -> a module of layers. `winograd`: see choose-winograd; layers that are there keep theirs.
    `equalize`: whether equalize-layers balances their weights."""
    return tvm.transform.Sequential(
        [
            Simplify(),
            FoldBatchNorm(),  # after simplify, which takes away what stands between a convolution and its norm
            relax.transform.DeadCodeElimination(["main"]),
            *([EqualizeLayers()] if equalize else []),  # after the fold: a bias between two layers is one add then
            FlushSubnormals(),  # after the fold and the balance, whose products may be such numbers
            LowerQdq(),  # after the fold, which leaves quantised weights alone; before layers are made of its operators
            FuseActivation(),  # after the fold: a bias that the fold made belongs into the layer
            ChooseWinograd(winograd),  # after the layers are made, which it marks
        ],
        name="tvm_split.layers",
    )


def cpu(target: tvm.target.Target, winograd: bool = True) -> tvm.transform.Pass:
    """A Relax pipeline that makes a network fast on a CPU: `tvm.compile(mod, target, relax_pipeline=cpu(target))`.

    For any module whose `main` is a network, split or not; one without layers is made into `layers(winograd)` first.
    """

    @tvm.transform.module_pass(opt_level=0, name="tvm_split.pipeline.cpu")
    def run(mod: tvm.IRModule, _ctx: tvm.transform.PassContext) -> tvm.IRModule:
        return lower.pipeline(target)(mod if layer_calls(mod) else layers(winograd)(mod))

    return run


def at_cut(
    edge_layers: Iterable[str], quantizers: Mapping[str, Quantizer], result_at: Side = "edge"
) -> tvm.transform.Sequential:
    """A module of layers -> the same with the cut marked, crossing tensors quantised and the payload packed."""
    return tvm.transform.Sequential(
        [
            AssignCut(edge_layers, result_at),
            QuantizeCut(quantizers),
            PackCut(),  # after quantize-cut, whose widths it packs to
        ],
        name="tvm_split.at_cut",
    )


def quantized() -> tvm.transform.Pass:
    """A module of layers with its precision annotated, whole or a half -> the same with integer layers."""
    steps = [
        QuantizeLayers(),
        LowerQdq(),
        FuseActivation(),  # of what quantize-layers took apart
    ]

    @tvm.transform.module_pass(opt_level=0, name="tvm_split.quantized")
    def run(mod: tvm.IRModule, _ctx: tvm.transform.PassContext) -> tvm.IRModule:
        winograd = any(bool(callee.attrs.get(WINOGRAD)) for _, callee in layer_calls(mod))
        # a float layer beside quantised ones was taken apart, and its mark with it
        return tvm.transform.Sequential([*steps, ChooseWinograd(winograd)])(mod)

    return run


def halves(mod: tvm.IRModule) -> tuple[tvm.IRModule, tvm.IRModule]:
    """A marked module -> its edge half and its cloud half. A cloud with nothing to do returns an empty tuple."""
    return Partition("edge")(mod), Partition("cloud")(mod)
