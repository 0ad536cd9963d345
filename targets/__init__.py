"""Devices and links as TOML data, and the functions that read them."""

if __name__ != "tvm_split.targets":
    raise ImportError("import tvm_split.targets, not targets; run `pip install -e .` if it is missing")

from tvm_split.targets.load import link_names, load_link, load_target, target_names
from tvm_split.targets.spec import TargetSpec

__all__ = ["TargetSpec", "link_names", "load_link", "load_target", "target_names"]
