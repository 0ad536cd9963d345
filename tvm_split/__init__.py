"""Split a trained network between an ARM edge device and a cloud machine, inside Apache TVM.

mod = tvm_split.load("model.onnx")
plan = tvm_split.plan(mod, edge="raspberry-pi-4", cloud="c5.xlarge", link="4g")
edge, cloud = tvm_split.partition(mod, plan)
bundle = tvm_split.build(plan, "bundle")
result = tvm_split.run(bundle, {"image": image})
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"
__all__ = ["build", "load", "partition", "run"]  # and `plan`, the package of planners, which can be called


def __getattr__(name: str) -> Any:
    # TVM calls our plugin while it is being imported, so nothing that needs TVM may be imported with the package.
    if name in __all__:
        return getattr(import_module("tvm_split.api"), name)
    if name == "plan":
        return import_module("tvm_split.plan")
    raise AttributeError(f"module 'tvm_split' has no attribute '{name}'")
