"""Devices and links as TOML data, and the functions that read them."""

if __name__ != "tvm_split.targets":
    raise ImportError("import tvm_split.targets, not targets; run `pip install -e .` if it is missing")
