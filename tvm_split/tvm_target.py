"""From a target file to TVM's own `Target`: tags, `native`, cores and the triple of another architecture."""

from __future__ import annotations

import warnings
from typing import Any

from tvm.target import Target, codegen

from tvm_split.errors import TargetError, last_line
from tvm_split.targets.host import machine
from tvm_split.targets.spec import TargetSpec

NATIVE = "native"
#: fields of a target that TVM's carries as `target.features.NAME`, None where the file does not state them
FEATURES = ("l1_bytes", "l2_bytes")


def resolve(spec: TargetSpec) -> Target:
    """TVM's target of the device, with `num-cores`, and its caches as `target.features.l1_bytes` and `l2_bytes`.

    `mcpu = "native"` becomes this machine's processor as LLVM names it. An x86-64 target without a triple gets one when
    this machine is no x86-64. A processor that TVM's LLVM does not know is left out, with a warning that names it: the
    target is then any processor of the architecture. Raises TargetError: a simulated device, a tag or option that TVM
    does not know, another `num-cores`.
    """
    config = spec.tvm_target_config
    options = _options(spec, config)
    if options.get("mcpu") == NATIVE:
        if spec.arch != machine():
            raise TargetError(
                f"target '{spec.name}' is {spec.arch} with mcpu 'native', but this machine is {machine()}"
            )
        options["mcpu"] = str(codegen.llvm_get_system_cpu())
    if "mtriple" not in options and spec.arch != machine():
        options["mtriple"] = f"{spec.arch}-linux-gnu"
    cores = options.setdefault("num-cores", spec.cores)
    if cores != spec.cores:
        raise TargetError(
            f"target '{spec.name}' has cores = {spec.cores}, but its tvm_target says {cores}; make them agree"
        )
    mcpu, mtriple = str(options.get("mcpu", "")), str(options.get("mtriple", ""))
    if options.get("kind") == "llvm" and mcpu and not codegen.llvm_is_valid_cpu(mcpu, mtriple):
        warnings.warn(
            f"target '{spec.name}': TVM's LLVM knows no processor '{mcpu}', so code and kernels are made for any "
            f"{spec.arch} processor; correct mcpu in its tvm_target",
            stacklevel=2,
        )
        del options["mcpu"]
    known = {f"feature.{name}": getattr(spec, name) for name in FEATURES if getattr(spec, name) is not None}
    return _target(spec, known | options)


def _options(spec: TargetSpec, config: str | dict[str, Any]) -> dict[str, Any]:
    """A tag's options, or the dict itself, without the features that TVM derives again."""
    exported = _target(spec, config).export() if isinstance(config, str) else config
    return {name: value for name, value in exported.items() if not name.startswith("feature.") and name != "tag"}


def _target(spec: TargetSpec, config: str | dict[str, Any]) -> Target:
    try:
        return Target(config)
    except (ValueError, TypeError, RuntimeError, AttributeError) as error:
        raise TargetError(f"target '{spec.name}': TVM refuses its tvm_target {config!r}: {last_line(error)}") from None
