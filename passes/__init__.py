"""Passes: IRModule -> IRModule, one pass a file, each usable alone inside `tvm.transform.Sequential`."""

if __name__ != "tvm_split.passes":
    raise ImportError("import tvm_split.passes, not passes; run `pip install -e .` if it is missing")
