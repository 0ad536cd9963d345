"""Passes: IRModule -> IRModule, one pass a file, each usable alone inside `tvm.transform.Sequential`."""

from importlib import import_module
from typing import Any

import tvm_ffi

from tvm_split import errors

if __name__ != "tvm_split.passes":
    raise ImportError("import tvm_split.passes, not passes; run `pip install -e .` if it is missing")

#: name on the command line -> class, which lives in the file of the same name with underscores
PASSES = {
    "simplify": "Simplify",
    "rewrite-sum": "RewriteSum",
    "rewrite-clip": "RewriteClip",
    "fold-pad": "FoldPad",
    "remove-identity": "RemoveIdentity",
    "fold-constant": "FoldConstant",
    "fold-batch-norm": "FoldBatchNorm",
    "flush-subnormals": "FlushSubnormals",
    "equalize-layers": "EqualizeLayers",
    "lower-qdq": "LowerQdq",
    "preprocess": "Preprocess",
    "fuse-activation": "FuseActivation",
    "choose-winograd": "ChooseWinograd",
    "annotate-cuts": "AnnotateCuts",
    "round-weights": "RoundWeights",
    "annotate-precision": "AnnotatePrecision",
    "quantize-layers": "QuantizeLayers",
    "assign-cut": "AssignCut",
    "quantize-cut": "QuantizeCut",
    "pack-cut": "PackCut",
    "partition": "Partition",
    "share-kernels": "ShareKernels",
    "channels-last": "ChannelsLast",
    "tabulate-codes": "TabulateCodes",
    "pack-weights": "PackWeights",
}

# Else our errors leave a pass as RuntimeError. It is done here so that it holds for every pass, however it is imported;
# tvm_ffi is a small package of its own (0.2 s), which does not import TVM.
for _kind in vars(errors).values():
    if isinstance(_kind, type) and issubclass(_kind, errors.SplitError):
        tvm_ffi.register_error(_kind)


def load_pass(name: str) -> Any:
    """The pass class of that name, imported when asked for: importing TVM takes a second. KeyError when unknown."""
    return getattr(import_module(f"tvm_split.passes.{name.replace('-', '_')}"), PASSES[name])
